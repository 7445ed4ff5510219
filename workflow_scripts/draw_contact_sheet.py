"""A sheet of example images with questions and answers."""

from typing import TYPE_CHECKING

from lxmert_tickets.data.scenes.dataset import read_images
from lxmert_tickets.data.vqa_json import read_annotations, read_questions
from lxmert_tickets.jobs.job import job
from lxmert_tickets.report.contact_sheet import N_PAIRS, contact_sheet, example_pairs
from lxmert_tickets.report.style import save_figure

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    paths, params = snakemake.input, snakemake.params
    asked = read_questions(paths.questions[0]).questions
    pairs = example_pairs(asked, read_annotations(paths.annotations[0]), N_PAIRS)
    images = {int(name.rsplit("_", 1)[1]): pixels for name, pixels in read_images(paths.images[0])}
    save_figure(contact_sheet(pairs, images, params.width_inches), snakemake.output, params.dpi)

"""Draw the images of one set of the embedded data from its scenes."""

from typing import TYPE_CHECKING

from lxmert_tickets.data.scenes.dataset import read_scenes, write_images
from lxmert_tickets.jobs.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    write_images(snakemake.output.images, read_scenes(snakemake.input.scenes))

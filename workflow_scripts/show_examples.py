"""Example questions with pictures, and what people and networks answer."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import write_text
from lxmert_tickets.data.parts import read_split, source_files
from lxmert_tickets.data.pictures import read_pictures
from lxmert_tickets.evaluation.accuracy import read_score
from lxmert_tickets.evaluation.predictions import load_predictions
from lxmert_tickets.jobs.job import job
from lxmert_tickets.report.examples import N_EXAMPLES, Answers, choose_examples, examples_page

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    paths, params = snakemake.input, snakemake.params
    answers = []
    for model, predicted, scored in zip(params.models, paths.predictions, paths.scores, strict=True):
        given = dict(load_predictions(predicted)[0].pairs())
        answers.append(Answers(model, given, read_score(scored).per_question))
    asked = read_split(source_files(paths.questions), source_files(paths.get("annotations", ())), params.subtypes)
    chosen = choose_examples(asked, N_EXAMPLES)
    pictures: dict[str, bytes] = {}
    for place in paths.get("pictures", ()):
        pictures |= read_pictures(place, {question.image for question in chosen})
    write_text(snakemake.output.page, examples_page(params.split, chosen, answers, pictures))

"""Predictions on the test splits as EvalAI takes them: an answer to every question, and to no other."""

from typing import TYPE_CHECKING

from lxmert_tickets.data.parts import read_split, source_files
from lxmert_tickets.evaluation.predictions import load_predictions, write_submission
from lxmert_tickets.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    paths, outputs = snakemake.input, snakemake.output.submissions
    questions = source_files(paths.questions)
    subtypes = snakemake.params.get("subtypes") or [None] * len(questions)
    for predicted, asked_in, subtype, output in zip(paths.predictions, questions, subtypes, outputs, strict=True):
        asked = {question.question_id for question in read_split([asked_in], subtypes=[subtype])}
        predictions, _ = load_predictions(predicted)
        write_submission(output, predictions.question_ids, predictions.answers, asked)
        log.info("%s: %d answers", output, len(asked))

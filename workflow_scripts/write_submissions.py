"""Predictions on the test splits as EvalAI takes them."""

from typing import TYPE_CHECKING

from lxmert_tickets.evaluation.predictions import load_predictions, write_submission
from lxmert_tickets.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    for predicted, output in zip(snakemake.input.predictions, snakemake.output.submissions, strict=True):
        predictions, _ = load_predictions(predicted)
        write_submission(output, predictions.question_ids, predictions.answers)

"""Official VQA accuracy of a model's predictions on every evaluated split."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance, write_json
from lxmert_tickets.data.vqa_json import check_belong_together, read_annotations, read_questions
from lxmert_tickets.evaluation.accuracy import score_predictions
from lxmert_tickets.evaluation.predictions import load_predictions
from lxmert_tickets.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    paths = snakemake.input
    for predicted, asked, annotated, output in zip(
        paths.predictions, paths.questions, paths.annotations, snakemake.output.scores, strict=True
    ):
        annotations = read_annotations(annotated)
        check_belong_together(read_questions(asked), annotations, asked, annotated)
        predictions, _ = load_predictions(predicted)
        score = score_predictions(annotations, predictions.pairs(), predicted)
        origin = provenance(snakemake.rule, "", int(snakemake.wildcards.seed), [predicted, asked, annotated])
        write_json(output, score.as_json() | {"provenance": origin})
        log.info("%s: %.2f %%", predicted, score.overall)

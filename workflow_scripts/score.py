"""VQA accuracy of predictions on every evaluated split: official, or by soft labels for prepared questions."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance, write_json
from lxmert_tickets.data.parts import read_split, source_files
from lxmert_tickets.data.vqa_json import check_belong_together, read_annotations, read_questions
from lxmert_tickets.evaluation.accuracy import score_by_soft_labels, score_predictions
from lxmert_tickets.evaluation.predictions import load_predictions
from lxmert_tickets.jobs.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    paths = snakemake.input
    questions, annotations = source_files(paths.questions), source_files(paths.get("annotations", ()))
    parts = zip(paths.predictions, questions, annotations or [None] * len(questions), strict=True)
    for (predicted, asked, annotated), output in zip(parts, snakemake.output.scores, strict=True):
        predictions, _ = load_predictions(predicted)
        if annotated is None:
            score = score_by_soft_labels(read_split([asked]), predictions.pairs(), predicted, asked)
        else:
            answers = read_annotations(annotated)
            check_belong_together(read_questions(asked), answers, asked, annotated)
            score = score_predictions(answers, predictions.pairs(), predicted, annotated)
        parents = [predicted, asked, *([annotated] if annotated else [])]
        origin = provenance(snakemake.rule, "", int(snakemake.wildcards.seed), parents)
        write_json(output, score.as_json() | {"provenance": origin})
        log.info("%s: %.2f %% (%s)", predicted, score.overall, score.measure)

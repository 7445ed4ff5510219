"""List the answers that the network can give: those with enough training questions."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.data.answers import build_vocabulary, write_answers
from lxmert_tickets.data.vqa_json import read_annotations
from lxmert_tickets.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    annotations = [annotation for path in snakemake.input.annotations for annotation in read_annotations(path)]
    min_count = snakemake.params.min_count
    answers = build_vocabulary(annotations, min_count)
    origin = provenance(snakemake.rule, str(min_count), None, snakemake.input.annotations)
    write_answers(snakemake.output.answers, answers, origin)
    log.info("%d answers of at least %d questions each", len(answers), min_count)

"""List the answers that the network can give: those with enough questions, or a published list."""

from itertools import chain
from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.data.answers import build_vocabulary, read_answers, write_answers
from lxmert_tickets.data.parts import source_files
from lxmert_tickets.data.vqa_json import open_annotations
from lxmert_tickets.errors import ConfigError
from lxmert_tickets.jobs.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    paths, min_count = snakemake.input, snakemake.params.min_count
    published, annotated = source_files(paths.get("published", ())), source_files(paths.get("annotations", ()))
    if published:
        answers = read_answers(published[0])
        log.info("%d answers, as they were published", len(answers))
    else:
        parts = zip(annotated, snakemake.params.subtypes, strict=True)
        answers = build_vocabulary(chain.from_iterable(open_annotations(*part) for part in parts), min_count)
        if not answers:
            raise ConfigError("text.min_answer_count", str(min_count), "as many as some answer has", "Lower it.")
        log.info("%d answers of at least %d questions each", len(answers), min_count)
    origin = provenance(snakemake.rule, "" if published else str(min_count), None, paths)
    write_answers(snakemake.output.answers, answers, origin)

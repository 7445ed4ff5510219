"""Questions to token ids, their images to rows of the features, their answers to soft labels."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.data.answers import read_answers
from lxmert_tickets.data.encoding import encode_questions
from lxmert_tickets.data.features import open_features
from lxmert_tickets.data.parts import read_split, source_files
from lxmert_tickets.data.questions import save_questions
from lxmert_tickets.data.tokens import load_tokenizer
from lxmert_tickets.jobs.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    paths, params = snakemake.input, snakemake.params
    asked = read_split(
        source_files(paths.questions), source_files(paths.get("annotations", ())), params.get("subtypes")
    )
    [features], [tokenizer] = source_files(paths.features), source_files(paths.tokenizer)
    encoded = encode_questions(
        asked,
        open_features(features, params.get("feature_dim")),
        load_tokenizer(tokenizer, params.get("n_tokens")),
        read_answers(paths.answers),
        params.max_length,
    )
    origin = provenance(snakemake.rule, str(params.max_length), None, paths)
    save_questions(snakemake.output.questions, encoded, {"provenance": origin})
    log.info("%d questions, at most %d tokens", len(encoded), encoded.length.max(initial=0))

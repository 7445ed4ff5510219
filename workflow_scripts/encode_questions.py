"""Questions to token ids, their images to rows of the features, their answers to soft labels."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.data.answers import read_answers
from lxmert_tickets.data.features import open_features
from lxmert_tickets.data.questions import encode_questions, save_questions
from lxmert_tickets.data.tokens import load_tokenizer
from lxmert_tickets.data.vqa_json import check_belong_together, read_annotations, read_questions
from lxmert_tickets.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    paths, max_length = snakemake.input, snakemake.params.max_length
    questions, annotations = read_questions(paths.questions), read_annotations(paths.annotations)
    check_belong_together(questions, annotations, paths.questions, paths.annotations)
    encoded = encode_questions(
        questions,
        annotations,
        open_features(paths.features),
        load_tokenizer(paths.tokenizer),
        read_answers(paths.answers),
        max_length,
    )
    origin = provenance(snakemake.rule, str(max_length), None, paths)
    save_questions(snakemake.output.questions, encoded, {"provenance": origin})
    log.info("%d questions, at most %d tokens", len(encoded.question_id), encoded.length.max())

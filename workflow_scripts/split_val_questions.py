"""Split val2014 in two: minival, on which epochs are chosen, and nominival, which is trained on."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance, write_json
from lxmert_tickets.data.parts import source_files
from lxmert_tickets.data.splits import draw_minival, read_minival
from lxmert_tickets.data.vqa_json import (
    check_belong_together,
    open_annotations,
    read_questions,
    write_annotations,
    write_questions,
)
from lxmert_tickets.jobs.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

SUBTYPE = "val2014"

with job(snakemake.log[0]) as log:
    paths, params, outputs = snakemake.input, snakemake.params, snakemake.output
    [asked_in], [annotated_in] = source_files(paths.questions), source_files(paths.annotations)
    listed_in = source_files(paths.get("minival_ids", ()))
    file, annotations = read_questions(asked_in, SUBTYPE), open_annotations(annotated_in, SUBTYPE)
    check_belong_together(file, annotations, asked_in, annotated_in)
    minival = (
        read_minival(listed_in[0], file) if listed_in else draw_minival(file.questions, params.n_images, params.seed)
    )
    for part, within in (("minival", True), ("nominival", False)):
        asked = (one for one in file.questions if (one.image_id in minival.images) == within)
        write_questions(outputs[f"{part}_questions"], file.data_type, file.data_subtype, asked)
        answered = (one for one in annotations if (one.image_id in minival.images) == within)
        write_annotations(outputs[f"{part}_annotations"], file.data_type, file.data_subtype, answered)
    about = minival.about(file.questions)
    origin = provenance(snakemake.rule, "" if listed_in else f"{params.n_images} {params.seed}", params.seed, paths)
    write_json(outputs.about, about | {"provenance": origin})
    log.info("minival by %(minival)s: %(n_minival_images)d images, %(n_minival_questions)d questions", about)

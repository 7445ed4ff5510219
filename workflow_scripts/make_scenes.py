"""Draw one image set of the embedded data: images, questions, annotations, captions, proposed boxes."""

import json
from typing import TYPE_CHECKING

from lxmert_tickets.data.scenes.dataset import (
    DATA_TYPE,
    draw_image_set,
    write_boxes,
    write_captions,
    write_images,
    write_scenes,
)
from lxmert_tickets.data.vqa_json import write_annotations, write_questions
from lxmert_tickets.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    image_set = draw_image_set(**json.loads(snakemake.params.spec))
    output = snakemake.output
    write_images(output.images, image_set)
    write_scenes(output.scenes, image_set)
    write_boxes(output.boxes, image_set)
    write_captions(output.captions, image_set)
    write_questions(output.questions, DATA_TYPE, image_set.name, image_set.questions)
    write_annotations(output.annotations, DATA_TYPE, image_set.name, image_set.annotations)
    log.info("%s: %d images, %d questions", image_set.name, len(image_set.scenes), len(image_set.questions))

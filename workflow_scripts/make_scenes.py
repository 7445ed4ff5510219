"""Draw one image set of the embedded data: scenes, proposed boxes, questions, annotations, captions."""

import json
from typing import TYPE_CHECKING

from lxmert_tickets.data.scenes.dataset import DATA_TYPE, draw_image_set, write_boxes, write_captions, write_scenes
from lxmert_tickets.data.vqa_json import write_annotations, write_questions
from lxmert_tickets.jobs.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    output = snakemake.output
    image_set = draw_image_set(**json.loads(snakemake.params.spec))
    write_scenes(output.scenes, image_set)
    write_boxes(output.boxes, image_set)
    write_captions(output.captions, image_set)
    write_questions(output.questions, DATA_TYPE, image_set.name, image_set.questions)
    write_annotations(output.annotations, DATA_TYPE, image_set.name, image_set.annotations)
    log.info("%s: %d images, %d questions", image_set.name, len(image_set.scenes), len(image_set.questions))

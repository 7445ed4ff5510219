"""Draw one image set of the embedded data: images, questions, annotations, captions, proposed boxes."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from lxmert_tickets.data.scenes.dataset import (
    DATA_TYPE,
    draw_around,
    draw_scenes,
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
    spec, output = json.loads(snakemake.params.spec), snakemake.output
    name, n_images = spec.pop("name"), spec.pop("n_images")
    scenes = draw_scenes(name, n_images, spec["seed"])
    with ThreadPoolExecutor(1) as beside:
        images = beside.submit(write_images, output.images, name, scenes, snakemake.threads)
        image_set = draw_around(name, scenes, **spec)
        write_scenes(output.scenes, image_set)
        write_boxes(output.boxes, image_set)
        write_captions(output.captions, image_set)
        write_questions(output.questions, DATA_TYPE, name, image_set.questions)
        write_annotations(output.annotations, DATA_TYPE, name, image_set.annotations)
        images.result()
    log.info("%s: %d images, %d questions", name, n_images, len(image_set.questions))

"""Describe the proposed regions of each image by its pixels, as a detector would: the 10-column TSV."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import replacing
from lxmert_tickets.data.feature_tsv import write_feature_row
from lxmert_tickets.data.scenes.dataset import read_boxes, read_images
from lxmert_tickets.data.scenes.regions import describe_regions
from lxmert_tickets.jobs.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    boxes = read_boxes(snakemake.input.boxes)
    with replacing(snakemake.output.table) as temporary, open(temporary, "wb") as table:
        for name, pixels in read_images(snakemake.input.images):
            height, width, _ = pixels.shape
            features = describe_regions(pixels, boxes[name], snakemake.params.description)
            write_feature_row(table, name, height, width, boxes[name], features)

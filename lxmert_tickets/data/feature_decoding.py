"""Decode a block of lines into arrays: the work of one of several processes."""

import msgspec
import numpy as np
from isal import isal_zlib

from lxmert_tickets.data.feature_blocks import line_ends
from lxmert_tickets.data.feature_tsv import FeatureRow, parse_feature_row
from lxmert_tickets.data.half_precision import HalfPrecision
from lxmert_tickets.errors import DataError


class BlockTask(msgspec.Struct, frozen=True):
    """What to decode: the first `size_bytes` of a buffer, starting at line `first_line` of the table `label`.

    Every image has `n_regions` regions of `feature_dim` numbers, as at `shape_from`; the features are written from byte
    `offset` on.
    """

    size_bytes: int
    label: str
    first_line: int
    n_regions: int
    feature_dim: int
    shape_from: str
    offset: int


class DecodedBlock(msgspec.Struct, frozen=True):
    """A decoded block, with only the CRC-32 of its features.

    `sizes` are int32 (images, 2), `boxes` float32 (images, regions, 4). If there is a `failure` (place, found,
    expected, remedy), only `image_ids` is filled, with the images before the bad row.
    """

    image_ids: list[str]
    sizes: bytes = b""
    boxes: bytes = b""
    features_crc: int = 0
    max_absolute_error: float = 0.0
    max_relative_error: float = 0.0
    failure: tuple[str, str, str, str] | None = None


def decode_block(view: memoryview, task: BlockTask) -> tuple[DecodedBlock, memoryview]:
    """Return the images in the lines of `view`, each checked, and the bytes of their features.

    These are float16 (images, regions, dim). The first bad row ends the block as its `failure`, without features.
    """
    ends = line_ends(view).tolist()
    if not ends or ends[-1] < len(view):
        ends.append(len(view))
    shape = (len(ends), task.n_regions, task.feature_dim)
    features = np.empty(shape, "<f2")
    boxes, sizes = np.empty((*shape[:2], 4), "<f4"), np.empty((len(ends), 2), "<i4")
    half = HalfPrecision(task.n_regions * task.feature_dim)
    image_ids: list[str] = []
    start = 0
    for index, end in enumerate(ends):
        try:
            row = _row(view[start:end], f"{task.label}:{task.first_line + index}", task, half, features[index])
        except DataError as bad:
            failure = bad.place, bad.found, bad.expected, bad.remedy
            return DecodedBlock(image_ids, failure=failure), memoryview(b"")
        boxes[index] = row.normalised_boxes()
        sizes[index] = row.height, row.width
        image_ids.append(row.image_id)
        start = end
    content = features.reshape(-1).view(np.uint8).data
    block = DecodedBlock(
        image_ids,
        sizes.tobytes(),
        boxes.tobytes(),
        isal_zlib.crc32(content),
        float(half.max_absolute_error),
        float(half.max_relative_error),
    )
    return block, content


def _row(line: memoryview, place: str, task: BlockTask, half: HalfPrecision, features: np.ndarray) -> FeatureRow:
    """Return the image in `line`, and write its features to `features`, float16 (regions, dim)."""
    row = parse_feature_row(line, place)
    if row.features.shape != features.shape:
        raise DataError(
            place,
            "{} regions of {} numbers".format(*row.features.shape),
            f"{task.n_regions} of {task.feature_dim}, as at {task.shape_from}",
            "Convert files with one number of regions an image, such as *_obj36.",
        )
    if not half.round_into(row.features.reshape(-1), features.reshape(-1)):
        region, column = np.unravel_index(np.abs(row.features).argmax(), row.features.shape)
        raise DataError(
            place,
            f"features[{region}, {column}] is {row.features[region, column]:g}",
            "numbers within ±65504, the range of float16",
            "Scale the features down; LXMERT's are between 0 and 35.",
        )
    return row

"""One image per line: the ten tab-separated columns in which LXMERT's region features are published.

    img_id  img_h  img_w  objects_id  objects_conf  attrs_id  attrs_conf  num_boxes  boxes  features

Arrays are base64 of little-endian numbers; height comes before width. Source: the files of
https://github.com/airsplay/lxmert (Tan & Bansal 2019), made with bottom-up attention (Anderson et al. 2018).
"""

import binascii
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pybase64

from lxmert_tickets.errors import DataError

COLUMNS = (
    "img_id",
    "img_h",
    "img_w",
    "objects_id",
    "objects_conf",
    "attrs_id",
    "attrs_conf",
    "num_boxes",
    "boxes",
    "features",
)
OLDER_COLUMNS = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")

IF_LAST = "If this is the last line, the file is truncated: download it again."

BYTES_A_REGION = {"objects_id": 8, "objects_conf": 4, "attrs_id": 8, "attrs_conf": 4, "boxes": 16}
"""int64, float32, int64, float32, and four float32; the size of the features is known only from the data."""

HEAD_BYTES = 1 << 14
"""Holds the columns before the features, for up to 300 regions; only this much is searched for tabs."""

BOX_TOLERANCE_PIXELS = 1.0
"""How far a box may reach outside its image: detectors work on a resized image and round on the way back."""


@dataclass(frozen=True, eq=False)
class FeatureRow:
    """One image: `boxes` float32 (regions, 4), x1 y1 x2 y2 in pixels; `features` float32 (regions, dim)."""

    image_id: str
    height: int
    width: int
    boxes: np.ndarray
    features: np.ndarray

    def normalised_boxes(self) -> np.ndarray:
        """Return the boxes, float32 (regions, 4), as fractions of width and height, clipped to 0..1."""
        size = np.array([self.width, self.height, self.width, self.height], dtype=np.float32)
        return np.clip(self.boxes / size, 0.0, 1.0)


def parse_feature_row(line: bytes | memoryview, place: str) -> FeatureRow:
    """Return the image in one line of a TSV, with or without its line end; nothing in it references `line`.

    Raises DataError, at `place` ("file:line"), for anything that breaks the format: the number of columns, numbers,
    base64, lengths that disagree with num_boxes, values that are not finite, boxes outside the image.
    """
    cells = _cells(line, place)
    regions = _positive(cells, "num_boxes", place)
    for name in ("objects_id", "objects_conf", "attrs_id", "attrs_conf"):
        _decode(cells, name, place, regions)
    row = FeatureRow(
        image_id=_image_id(cells, place),
        height=_positive(cells, "img_h", place),
        width=_positive(cells, "img_w", place),
        boxes=_numbers(cells, "boxes", place, regions),
        features=_numbers(cells, "features", place, regions),
    )
    _check_boxes(row, place)
    return row


def write_feature_row(
    handle: BinaryIO, image_id: str, height: int, width: int, boxes: np.ndarray, features: np.ndarray
) -> None:
    """Append one image to a TSV that `parse_feature_row` reads.

    `boxes` (regions, 4) are x1 y1 x2 y2 in pixels, `features` (regions, dim); both are stored as float32. A detector's
    classes and confidences, which nothing here reads, are zeros.
    """
    zeros = np.zeros(len(boxes))
    columns = (
        image_id.encode(),
        b"%d" % height,
        b"%d" % width,
        *(_encode(zeros, dtype) for dtype in ("<i8", "<f4", "<i8", "<f4")),
        b"%d" % len(boxes),
        _encode(boxes, "<f4"),
        _encode(features, "<f4"),
    )
    handle.write(b"\t".join(columns) + b"\n")


def _encode(array: np.ndarray, dtype: str) -> bytes:
    return binascii.b2a_base64(np.ascontiguousarray(array, dtype=dtype).tobytes(), newline=False)


def _cells(line: bytes | memoryview, place: str) -> dict[str, bytes | memoryview]:
    """Return the ten cells; that of the features, most of the line, is not copied."""
    line = memoryview(line)
    while line and line[-1] in b"\r\n":
        line = line[:-1]
    head = bytes(line[:HEAD_BYTES]).split(b"\t")
    if len(head) == len(COLUMNS):
        features = line[sum(map(len, head[:-1])) + len(COLUMNS) - 1 :]
        return dict(zip(COLUMNS, (*head[:-1], features), strict=True))
    return dict(zip(COLUMNS, _split(bytes(line), place), strict=True))


def _split(line: bytes, place: str) -> list[bytes]:
    cells = line.split(b"\t")
    if len(cells) == len(COLUMNS):
        return cells
    found, remedy = f"{len(cells)} columns", IF_LAST
    if not line.strip():
        found, remedy = "an empty line", "Remove it (of an archive, unpack the table and give that)."
    if len(cells) == len(OLDER_COLUMNS) and cells[3].isdigit():  # num_boxes, not the base64 of a truncated line
        found = f"6 columns, the older layout ({', '.join(OLDER_COLUMNS)})"
        remedy = "Use LXMERT's *_obj36 files, or rewrite this one: the older layout has the width before the height."
    raise DataError(place, found, f"10 tab-separated columns ({', '.join(COLUMNS)})", remedy)


def _image_id(cells: dict[str, bytes | memoryview], place: str) -> str:
    try:
        name = bytes(cells["img_id"]).decode("utf-8-sig")  # drops the byte order mark that some editors write
    except UnicodeDecodeError:
        name = ""
    if not name or "\0" in name:
        raise DataError(place, f"img_id is {cells['img_id']!r}", "a name in UTF-8, such as COCO_train2014_000000132417")
    return name


def _positive(cells: dict[str, bytes | memoryview], name: str, place: str) -> int:
    text = bytes(cells[name])
    if text.isdigit() and len(text) <= 10 and 0 < (value := int(text)) < 2**31:
        return value
    raise DataError(
        place, f"{name} is {_shortened(text)}", f"a positive whole number as column {COLUMNS.index(name) + 1}"
    )


def _decode(cells: dict[str, bytes | memoryview], name: str, place: str, regions: int) -> bytes:
    """Return the bytes of the column `name`, as many per region as BYTES_A_REGION says; else whole float32 numbers."""
    try:
        content: bytes = pybase64.b64decode(cells[name], validate=True)
    except binascii.Error as error:
        if b"\t" in bytes(cells[name]):
            _split(b"\t".join(map(bytes, cells.values())), place)  # raises: too many columns
        raise DataError(
            place, f"{name} is not base64 ({error}): {_shortened(cells[name])}", "base64", IF_LAST
        ) from None
    if name in BYTES_A_REGION:
        fits, unit, remedy = len(content) == BYTES_A_REGION[name] * regions, str(BYTES_A_REGION[name]), ""
    else:
        fits, unit, remedy = len(content) > 0 and len(content) % (4 * regions) == 0, "a multiple of 4", IF_LAST
    if not fits:
        expected = f"{unit} for each of the {regions} regions that num_boxes states"
        raise DataError(place, f"{name} has {len(content)} bytes", expected, remedy)
    return content


def _numbers(cells: dict[str, bytes | memoryview], name: str, place: str, regions: int) -> np.ndarray:
    """Return the column `name` as float32 (regions, numbers per region), all finite."""
    numbers = np.frombuffer(_decode(cells, name, place, regions), dtype="<f4").reshape(regions, -1)
    if not np.isfinite(numbers).all():
        region, column = np.argwhere(~np.isfinite(numbers))[0]
        raise DataError(
            place, f"{name}[{region}, {column}] is {numbers[region, column]}", "finite numbers", "Extract it again."
        )
    return numbers


def _check_boxes(row: FeatureRow, place: str) -> None:
    """Raise DataError unless x1 <= x2 and y1 <= y2, within BOX_TOLERANCE_PIXELS of the image."""
    left_top, right_bottom = row.boxes[:, :2], row.boxes[:, 2:]
    furthest = np.array([row.width, row.height]) + BOX_TOLERANCE_PIXELS
    good = (left_top >= -BOX_TOLERANCE_PIXELS) & (left_top <= right_bottom) & (right_bottom <= furthest)
    if not good.all():
        region = int(np.argmin(good.all(axis=1)))
        raise DataError(
            place,
            f"box {region} is {row.boxes[region].tolist()} in an image {row.width} wide and {row.height} high",
            f"0 <= x1 <= x2 <= width, 0 <= y1 <= y2 <= height, in pixels (to within {BOX_TOLERANCE_PIXELS:g})",
            "Check that the height comes before the width, and that boxes are x1 y1 x2 y2, not x y width height.",
        )


def _shortened(cell: bytes | memoryview) -> str:
    text = bytes(cell)
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}… ({len(text)} characters)"

"""One line of LXMERT's TSV: what is written is read back, and every way to break it is refused at its place."""

import binascii
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lxmert_tickets.data.feature_tsv import COLUMNS, parse_feature_row, write_feature_row
from lxmert_tickets.errors import DataError

BOXES = np.array([[0, 0, 10, 20], [5.5, 5.5, 5.5, 5.5], [1, 2, 40, 30]], dtype=np.float32)
FEATURES = np.arange(12, dtype=np.float32).reshape(3, 4)


def line_of(image_id="IMAGE_1", height=30, width=40, boxes=BOXES, features=FEATURES) -> bytes:
    handle = BytesIO()
    write_feature_row(handle, image_id, height, width, boxes, features)
    return handle.getvalue()


def encoded(numbers, dtype="<f4") -> bytes:
    return binascii.b2a_base64(np.array(numbers, dtype=dtype).tobytes(), newline=False)


def changed(**cells: bytes) -> bytes:
    """Return the good line with some cells replaced."""
    good = dict(zip(COLUMNS, line_of().rstrip(b"\n").split(b"\t"), strict=True))
    return b"\t".join((good | cells).values()) + b"\n"


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
shapes = st.tuples(st.integers(1, 5), st.integers(1, 7))


@given(
    features=shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=finite)),
    name=st.text(st.characters(exclude_characters="\t\n\r\0\ufeff", exclude_categories=["Cs"]), min_size=1),
    size=st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1)),
)
def test_a_row_that_is_written_is_read_back_bit_for_bit(features, name, size) -> None:
    boxes = np.tile(np.array([0, 0, 1, 0.5], dtype=np.float32), (len(features), 1))
    row = parse_feature_row(line_of(name, *size, boxes, features), "a.tsv:1")
    assert (row.image_id, row.height, row.width) == (name, *size)
    assert np.array_equal(row.features, features)
    assert np.array_equal(row.boxes, boxes)


def test_a_real_row_is_written_as_it_was_published_but_for_what_its_detector_saw(shared_data: Path) -> None:
    line = (shared_data / "coco-obj36-sample" / "train2014_obj36.tsv").read_bytes().splitlines(keepends=True)[0]
    row = parse_feature_row(line, "real:1")
    written = line_of(row.image_id, row.height, row.width, row.boxes, row.features)
    cells = zip(COLUMNS, line.split(b"\t"), written.split(b"\t"), strict=True)
    differing = {name: (len(published), len(ours)) for name, published, ours in cells if published != ours}
    assert set(differing) == {"objects_id", "objects_conf", "attrs_id", "attrs_conf"}
    assert all(published == ours for published, ours in differing.values())
    assert (row.image_id, row.height, row.width) == ("COCO_train2014_000000132417", 333, 500)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_any_line_ending_is_accepted(end: bytes) -> None:
    assert np.array_equal(parse_feature_row(line_of().rstrip(b"\n") + end, "a.tsv:1").features, FEATURES)


def test_a_byte_order_mark_is_not_part_of_the_first_name() -> None:
    assert parse_feature_row(b"\xef\xbb\xbf" + line_of(), "a.tsv:1").image_id == "IMAGE_1"


def test_boxes_are_fractions_of_width_and_height() -> None:
    row = parse_feature_row(line_of(), "a.tsv:1")
    assert row.normalised_boxes()[2].tolist() == pytest.approx([1 / 40, 2 / 30, 1, 1])
    assert row.normalised_boxes().dtype == np.float32


def test_a_box_less_than_a_pixel_outside_is_clipped() -> None:
    boxes = np.array([[-0.9, -0.9, 40.9, 30.9]])
    row = parse_feature_row(line_of(boxes=boxes, features=np.ones((1, 4))), "a.tsv:1")
    assert row.normalised_boxes().tolist() == [[0, 0, 1, 1]]


OLDER = b"\t".join([b"IMAGE_1", b"40", b"30", b"3", encoded(BOXES), encoded(FEATURES)]) + b"\n"

BROKEN = {
    "older layout": (OLDER, "6 columns, the older layout (image_id, image_w, image_h"),
    "cut in the sixth column": (b"\t".join(line_of().split(b"\t")[:6]), "6 columns"),
    "nine columns": (line_of().replace(b"\t", b"", 1), "9 columns"),
    "eleven columns": (b"0\t" + line_of(), "11 columns"),
    "empty line": (b"\n", "an empty line"),
    "no name": (changed(img_id=b""), "img_id is b''"),
    "name not UTF-8": (changed(img_id=b"\xff"), "img_id is b'\\xff'"),
    "name with a zero byte": (changed(img_id=b"a\0"), "img_id is b'a\\x00'"),
    "height no number": (changed(img_h=b"tall"), "img_h is b'tall'"),
    "height zero": (changed(img_h=b"0"), "img_h is b'0'"),
    "width negative": (changed(img_w=b"-40"), "img_w is b'-40'"),
    "width a fraction": (changed(img_w=b"40.0"), "img_w is b'40.0'"),
    "width of thousands of digits": (changed(img_w=b"9" * 5000), "img_w is b'9999"),
    "width beyond int32": (changed(img_w=b"2147483648"), "img_w is b'2147483648'"),
    "no boxes": (changed(num_boxes=b"0"), "num_boxes is b'0'"),
    "one box too many": (changed(num_boxes=b"4"), "objects_id has 24 bytes"),
    "columns in another order": (changed(num_boxes=encoded(BOXES)), "num_boxes is b'AAAA"),
    "no base64": (changed(features=b"not base64!!"), "features is not base64"),
    "base64 with a stray character": (changed(boxes=b"!" + encoded(BOXES)), "boxes is not base64"),
    "base64 cut off": (changed(boxes=encoded(BOXES)[:-3]), "boxes is not base64"),
    "objects_id in int32": (changed(objects_id=encoded([1, 2, 3], "<i4")), "objects_id has 12 bytes"),
    "objects_conf in float64": (changed(objects_conf=encoded([1, 2, 3], "<f8")), "objects_conf has 24 bytes"),
    "attrs_id empty": (changed(attrs_id=b""), "attrs_id has 0 bytes"),
    "attrs_conf short": (changed(attrs_conf=encoded([1, 2])), "attrs_conf has 8 bytes"),
    "three numbers a box": (changed(boxes=encoded(BOXES[:, :3])), "boxes has 36 bytes"),
    "features of no whole number": (changed(features=encoded(range(13))), "features has 52 bytes"),
    "features empty": (changed(features=b""), "features has 0 bytes"),
    "feature not a number": (changed(features=encoded([*range(11), np.nan])), "features[2, 3] is nan"),
    "feature infinite": (changed(features=encoded([np.inf, *range(11)])), "features[0, 0] is inf"),
    "box not a number": (changed(boxes=encoded([*range(11), np.nan])), "boxes[2, 3] is nan"),
    "box left of the image": (changed(boxes=encoded([*BOXES[:2].ravel(), -1.5, 0, 9, 9])), "box 2 is [-1.5, 0.0"),
    "box below the image": (changed(boxes=encoded([0, 0, 1, 31.5, *BOXES[1:].ravel()])), "box 0 is"),
    "box turned left to right": (changed(boxes=encoded([*BOXES[0], 9, 0, 8, 1, *BOXES[2]])), "box 1 is"),
    "box upside down": (changed(boxes=encoded([*BOXES[0], 0, 9, 1, 8, *BOXES[2]])), "box 1 is"),
    "width before height": (changed(img_h=b"40", img_w=b"30"), "box 2 is [1.0, 2.0, 40.0, 30.0] in an image 30 wide"),
}


@pytest.mark.parametrize(("line", "found"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_row_is_refused_with_its_place(line: bytes, found: str) -> None:
    with pytest.raises(DataError) as refused:
        parse_feature_row(line, "a.tsv:7")
    assert refused.value.place == "a.tsv:7"
    assert found in refused.value.found
    assert ("older layout" in refused.value.found) == (line == OLDER)
    assert refused.value.expected


def test_an_extra_column_is_reported_however_long_the_features_are() -> None:
    long = line_of(features=np.ones((3, 5000)))
    with pytest.raises(DataError, match="11 columns"):
        parse_feature_row(long.rstrip(b"\n") + b"\tmore\n", "a.tsv:7")


def test_columns_before_the_features_may_be_long() -> None:
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (900, 1))
    row = parse_feature_row(line_of(boxes=boxes, features=np.ones((900, 2))), "a.tsv:7")
    assert (row.boxes.shape, row.features.shape) == ((900, 4), (900, 2))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_parsed_row_does_not_change_with_the_buffer_it_came_from(kind) -> None:
    buffer = bytearray(line_of())
    row = parse_feature_row(memoryview(buffer) if kind is memoryview else kind(buffer), "a.tsv:7")
    buffer[:] = b"x" * len(buffer)
    assert np.array_equal(row.features, FEATURES)
    assert np.array_equal(row.boxes, BOXES)


def test_the_row_that_the_broken_ones_are_made_from_is_accepted() -> None:
    assert parse_feature_row(changed(), "a.tsv:7").image_id == "IMAGE_1"


@pytest.mark.parametrize("n_missing", range(1, 9))  # base64 comes in fours
def test_a_row_truncated_within_the_features_is_refused_with_what_to_do(n_missing: int) -> None:
    with pytest.raises(DataError, match="If this is the last line, the file is truncated: download it again"):
        parse_feature_row(line_of().rstrip()[:-n_missing], "a.tsv:7")


@given(cut=st.integers(0, len(line_of()) - 2))
def test_a_truncated_row_is_refused_or_has_narrower_features(cut: int) -> None:
    try:
        row = parse_feature_row(line_of()[:cut], "a.tsv:7")
    except DataError:
        return
    assert row.features.shape[1] < FEATURES.shape[1]  # cut evenly: only the first row of a file can tell

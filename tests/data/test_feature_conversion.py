"""Tables become one HDF5 file, complete or not at all, whatever the number of workers; bad rows are refused."""

import base64
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from feature_tables import BOXES, numbers, shown_progress, write_tsv, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lxmert_tickets.data import feature_blocks
from lxmert_tickets.data.feature_conversion import convert_features
from lxmert_tickets.data.feature_tsv import write_feature_row
from lxmert_tickets.data.features import open_features
from lxmert_tickets.errors import DataError


@pytest.mark.parametrize("kind", ["tsv", "zip"])
def test_real_features_are_kept_to_half_precision(shared_data: Path, tmp_path: Path, kind: str) -> None:
    tsv = shared_data / "coco-obj36-sample" / "train2014_obj36.tsv"
    source = zipped(tsv, tmp_path / "train2014_obj36.zip", name="train2014_obj36.tsv") if kind == "zip" else tsv
    report = convert_features([source], tmp_path / "features.h5", metadata={})
    found = open_features(tmp_path / "features.h5")
    assert found.features.shape == (report.n_images, report.n_regions, report.feature_dim) == (6, 36, 2048)
    assert found.row_of["COCO_train2014_000000578174"] == 2
    assert found.sizes[2].tolist() == [394, 640]
    errors = []
    for row, line in enumerate(tsv.read_text().splitlines()):
        cells = line.split("\t")  # decoded here independently of the code under test
        features = np.frombuffer(base64.b64decode(cells[9]), "<f4").reshape(36, 2048)
        assert np.array_equal(found.features[row], features.astype(np.float16))
        errors.append(np.abs(found.features[row].astype(np.float64) - features).max())
        boxes = np.frombuffer(base64.b64decode(cells[8]), "<f4").reshape(36, 4)
        width, height = int(cells[2]), int(cells[1])
        assert np.allclose(found.boxes[row] * [width, height, width, height], boxes, atol=1e-3)
        assert (found.image_ids[row], *found.sizes[row]) == (cells[0], height, width)
    assert report.max_absolute_error == max(errors) < 0.01
    assert 0 < report.max_relative_error <= 2**-11
    assert report.size_bytes == (tmp_path / "features.h5").stat().st_size


def test_the_older_layout_is_refused_by_name_zipped_or_not(shared_data: Path, tmp_path: Path) -> None:
    lines = (shared_data / "coco-obj36-sample" / "train2014_obj36.tsv").read_text().splitlines()
    older = tmp_path / "older.tsv"
    with open(older, "w") as file:
        for line in lines:
            name, height, width, *_, n_boxes, boxes, features = line.split("\t")
            file.write("\t".join([name, width, height, n_boxes, boxes, features]) + "\n")
    for source, place in (
        (older, f"{older}:1"),
        (zipped(older, tmp_path / "older.zip", name="o.tsv"), f"{tmp_path}/older.zip/o.tsv:1"),
    ):
        with pytest.raises(DataError, match=r"6 columns, the older layout \(image_id, image_w, image_h") as refused:
            convert_features([source], tmp_path / "features.h5", metadata={})
        assert refused.value.place == place
        assert not (tmp_path / "features.h5").exists()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    given_features=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6)).flatmap(
        lambda shape: arrays(np.float32, shape, elements=st.floats(-65504, 65504, width=32))
    )
)
def test_any_features_are_kept_to_half_precision(tmp_path: Path, given_features: np.ndarray) -> None:
    names = [f"IMAGE_{index}" for index in range(len(given_features))]
    boxes = np.zeros((given_features.shape[1], 4))
    tsv = write_tsv(tmp_path / "a.tsv", names, lambda index: given_features[index], boxes)
    report = convert_features([tsv], tmp_path / "features.h5", metadata={})
    found = open_features(tmp_path / "features.h5")
    errors = np.abs(found.features.astype(np.float64) - given_features)
    assert found.image_ids == tuple(names)
    assert report.max_absolute_error == errors.max()
    assert (errors <= np.maximum(np.abs(given_features), 2**-14) * 2**-11).all()
    assert report.max_relative_error <= 2**-11


def test_images_of_several_files_are_concatenated_in_order(tmp_path: Path, tsv: Path) -> None:
    other = write_tsv(tmp_path / "b.tsv", ["Ä", "LÄNGERER_NAME"], lambda index: numbers(index + 3))
    convert_features([tsv, other], tmp_path / "features.h5", metadata={})
    found = open_features(tmp_path / "features.h5")
    assert found.image_ids == ("A", "B", "C", "Ä", "LÄNGERER_NAME")
    assert np.array_equal(found.features, [numbers(index) for index in range(5)])
    assert np.allclose(found.boxes, BOXES / [40, 30, 40, 30])
    assert found.sizes.tolist() == [[30, 40]] * 5
    assert [found.row_of[name] for name in found.image_ids] == [0, 1, 2, 3, 4]


def test_a_last_line_without_a_newline_is_a_row(tmp_path: Path, tsv: Path) -> None:
    tsv.write_bytes(tsv.read_bytes().rstrip(b"\n"))
    assert convert_features([tsv], tmp_path / "features.h5", metadata={}).n_images == 3


def test_features_are_flushed_to_disk_before_they_get_their_name(tmp_path: Path, tsv: Path, monkeypatch) -> None:
    flushed: dict[int, bool] = {}
    output = tmp_path / "features.h5"
    monkeypatch.setattr(os, "fsync", lambda file: flushed.setdefault(os.fstat(file).st_ino, output.exists()))
    convert_features([tsv], output, metadata={})
    assert flushed[output.stat().st_ino] is False


def test_a_disk_that_accepts_only_short_writes_gets_every_byte(
    tmp_path: Path, tsv: Path, converted: Path, monkeypatch
) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, content, offset: write(file, content[:5], offset))
    convert_features([tsv], tmp_path / "again.h5", metadata={"rule": "convert_features"}, workers=1)
    assert (tmp_path / "again.h5").read_bytes() == converted.read_bytes()


@pytest.mark.parametrize(("kind", "workers", "block_bytes"), [
    ("tsv", 1, 50), ("tsv", 1, 1000), ("tsv", 2, 300), ("tsv", 3, 50), ("deflated", 1, 700), ("deflated", 3, 700),
    ("stored", 2, 500), ("several", 2, 1000), ("several", 1, 1 << 20),
])  # fmt: skip
def test_bytes_depend_on_the_rows_alone(tmp_path: Path, kind: str, workers: int, block_bytes: int) -> None:
    names = [f"IMAGE_{index:03d}" + "x" * (index % 7) for index in range(40)]
    tsv = write_tsv(tmp_path / "a.tsv", names)
    convert_features([tsv], tmp_path / "plain.h5", metadata={"a": 1}, workers=1)
    sources = {
        "tsv": lambda: [tsv],
        "deflated": lambda: [zipped(tsv, tmp_path / "a.zip")],
        "stored": lambda: [zipped(tsv, tmp_path / "a.zip", method=zipfile.ZIP_STORED)],
        "several": lambda: [
            write_tsv(tmp_path / "b.tsv", names[:11]),
            zipped(write_tsv(tmp_path / "c.tsv", names[11:], lambda index: numbers(index + 11)), tmp_path / "c.zip"),
        ],
    }[kind]()
    convert_features(sources, tmp_path / "f.h5", metadata={"a": 1}, workers=workers, block_bytes=block_bytes)
    assert (tmp_path / "f.h5").read_bytes() == (tmp_path / "plain.h5").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_progress_goes_from_0_to_the_size_of_all_tables(
    tmp_path: Path, tsv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_tsv(tmp_path / "b.tsv", ["D"])
    seen = shown_progress(monkeypatch)
    convert_features([zipped(tsv, tmp_path / "a.zip"), other], tmp_path / "f.h5", metadata={}, block_bytes=100)
    total = tsv.stat().st_size + other.stat().st_size
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert {seen[0], seen[-1]} == {(0, total), (total, total)}
    assert len(seen) > 2


def broken(row: int, **change: object) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        with open(path, "wb") as handle:
            for index in range(4):
                good = {"image_id": f"I{index}", "height": 30, "width": 40, "boxes": BOXES, "features": numbers(index)}
                write_feature_row(handle, **(good | change if index == row - 1 else good))
        return path

    return write


@pytest.mark.parametrize(
    ("write", "line", "found"),
    [
        (broken(3, features=np.full((2, 3), 65520.0)), 3, r"features\[0, 0\] is 65520"),
        (broken(3, features=np.full((2, 3), -1e9)), 3, r"features\[0, 0\] is -1e\+09"),
        (broken(3, features=np.full((2, 3), np.nan)), 3, "is nan"),
        (broken(4, features=np.ones((2, 4))), 4, "2 regions of 4 numbers; expected 2 of 3, as at .*a.tsv:1"),
        (broken(2, features=np.ones((1, 3)), boxes=BOXES[:1]), 2, "1 regions of 3 numbers"),
        (broken(3, image_id="I0"), 3, r"I0 again, after .*a\.tsv:1"),
        (broken(2, boxes=BOXES + 50), 2, "box 0 is"),
        (broken(1, height=0), 1, "img_h is b'0'"),
    ],
)
def test_a_broken_row_is_refused_with_its_line_and_no_output_remains(
    tmp_path: Path, write, line: int, found: str
) -> None:
    tsv = write(tmp_path / "a.tsv")
    with pytest.raises(DataError, match=found) as refused:
        convert_features([tsv], tmp_path / "features.h5", metadata={})
    assert refused.value.place == f"{tsv}:{line}"
    assert [path.name for path in tmp_path.iterdir()] == ["a.tsv"]


@pytest.mark.parametrize("workers", [1, 3])
def test_of_several_bad_rows_the_first_is_reported_for_any_number_of_workers(tmp_path: Path, workers: int) -> None:
    tsv = write_tsv(tmp_path / "a.tsv", [f"I{index}" for index in range(50)])
    lines = tsv.read_bytes().splitlines(keepends=True)
    lines[30] = lines[30].replace(b"I30", b"I7")
    lines[31] = b"broken\n"
    lines[45] = lines[45].replace(b"I45", b"")
    tsv.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=r"a\.tsv:31: I7 again, after .*a\.tsv:8;"):
        convert_features([tsv], tmp_path / "features.h5", metadata={}, workers=workers, block_bytes=900)
    lines[30] = b""
    tsv.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=r"a\.tsv:31: 1 columns"):
        convert_features([tsv], tmp_path / "features.h5", metadata={}, workers=workers, block_bytes=900)


def test_an_image_in_two_files_is_refused_with_both_places(tmp_path: Path, tsv: Path) -> None:
    other = write_tsv(tmp_path / "b.tsv", ["D", "B"], numbers)
    with pytest.raises(DataError, match=r"b\.tsv:2: B again, after .*a\.tsv:2"):
        convert_features([tsv, other], tmp_path / "features.h5", metadata={})


@pytest.mark.parametrize(
    ("again", "place", "before"),
    [("A1", "b.tsv:20", "a.tsv:2"), ("B3", "b.tsv:20", "b.tsv:4"), ("B19", "c.tsv:20", "b.tsv:20")],
)
def test_errors_name_the_right_line_in_any_block_of_any_table(
    tmp_path: Path, again: str, place: str, before: str
) -> None:
    names = {table: [f"{table.upper()}{k}" for k in range(20)] for table in "abc"}
    names[place[0]][19] = again
    tables = [write_tsv(tmp_path / f"{table}.tsv", names[table]) for table in "abc"]
    with pytest.raises(DataError, match=rf"{again} again, after {tmp_path}/{before};") as refused:
        convert_features(tables, tmp_path / "f.h5", metadata={}, workers=1, block_bytes=500)
    assert refused.value.place == f"{tmp_path}/{place}"


def test_a_failing_conversion_leaves_the_older_file_unchanged(tmp_path: Path, tsv: Path, converted: Path) -> None:
    before = converted.read_bytes()
    tsv.write_bytes(tsv.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.tsv:3"):
        convert_features([tsv], converted, metadata={})
    assert converted.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.tsv", "features.h5"}


def test_an_output_that_is_one_of_the_tables_is_refused_before_anything_is_done(tmp_path: Path, tsv: Path) -> None:
    before = tsv.read_bytes()
    (tmp_path / "link").symlink_to(tsv)
    other = write_tsv(tmp_path / "b.tsv", ["B"])
    for output in (tsv, tmp_path / "link", tmp_path / "x" / ".." / tsv.name):
        with pytest.raises(DataError, match="is one of the tables to convert"):
            convert_features([other, tsv], output, metadata={})
    assert tsv.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.tsv", "b.tsv", "link"}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "no rows"),
        (b"\n", "an empty line"),
        (b"PK\x03\x04....", "a damaged or truncated zip archive"),
        (b"\x1f\x8b....", "a gzipped file"),
        (b"x" * 100, "a line of more than 64 bytes"),
    ],
)
def test_a_file_that_is_no_tsv_is_refused_before_all_of_it_is_read(tmp_path: Path, monkeypatch, content, found) -> None:
    monkeypatch.setattr(feature_blocks, "MAX_LINE_BYTES", 64)
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(DataError, match=found):
        convert_features([tmp_path / "a.tsv"], tmp_path / "features.h5", metadata={})


@pytest.mark.parametrize("n_images", [1, 2, 900])
def test_features_are_aligned_for_the_memory_map_however_few_there_are(tmp_path: Path, n_images: int) -> None:
    tsv = write_tsv(tmp_path / "a.tsv", [f"I{k}" for k in range(n_images)])
    convert_features([tsv], tmp_path / "f.h5", metadata={})
    found = open_features(tmp_path / "f.h5").features
    assert found.offset % 4096 == 0
    assert np.array_equal(found, [numbers(k).astype(np.float16) for k in range(n_images)])


def test_an_empty_table_among_others_is_refused(tmp_path: Path, tsv: Path) -> None:
    (tmp_path / "empty.tsv").touch()
    with pytest.raises(DataError, match=r"empty\.tsv: no rows"):
        convert_features([tsv, tmp_path / "empty.tsv"], tmp_path / "features.h5", metadata={})


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.tsv: cannot be read"):
        convert_features([tmp_path / "absent.tsv"], tmp_path / "features.h5", metadata={})


PEAK = """
import re, resource, sys
from pathlib import Path
from lxmert_tickets.data.feature_conversion import convert_features
convert_features([sys.argv[1]], sys.argv[2], metadata={}, workers=2, block_bytes=1 << 17)
own = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]  # getrusage has what forked it, too
print(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    def peaks_kb(n: int) -> list[int]:
        tsv = write_tsv(tmp_path / "a.tsv", [f"I{k}" for k in range(n)], lambda index: numbers(index % 9, dim=8192))
        archive = zipped(tsv, tmp_path / "a.zip")
        command = [sys.executable, "-c", PEAK, str(archive), str(tmp_path / "f.h5")]
        return [int(word) for word in subprocess.run(command, capture_output=True, check=True).stdout.split()]

    few, many = peaks_kb(20), peaks_kb(300)
    assert (tmp_path / "a.tsv").stat().st_size > 24 << 20
    assert all(later < earlier + 4096 for earlier, later in zip(few, many, strict=True))
    assert sum(many) < 400_000

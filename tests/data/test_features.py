"""TSV files become one HDF5 file, complete or not at all, in constant memory; damaged files are refused."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lxmert_tickets.data import features as subject
from lxmert_tickets.data import hdf5
from lxmert_tickets.data.feature_tsv import write_feature_row
from lxmert_tickets.data.features import check_images_present, convert_features, open_features
from lxmert_tickets.errors import ArtifactError, DataError

BOXES = np.array([[0, 0, 10, 20], [1, 2, 40, 30]], dtype=np.float32)


def write_tsv(path: Path, names: list[str], features: Callable[[int], np.ndarray], boxes: np.ndarray = BOXES) -> Path:
    with open(path, "wb") as handle:
        for index, name in enumerate(names):
            write_feature_row(handle, name, 30, 40, boxes, features(index))
    return path


def numbers(index: int, dim: int = 3) -> np.ndarray:
    return np.arange(2 * dim, dtype=np.float32).reshape(2, dim) + index


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    return write_tsv(tmp_path / "a.tsv", ["A", "B", "C"], numbers)


@pytest.fixture
def converted(tmp_path: Path, tsv: Path) -> Path:
    convert_features([tsv], tmp_path / "features.h5", metadata={"rule": "convert_features"})
    return tmp_path / "features.h5"


def test_the_real_images_come_back_within_half_precision(shared_data: Path, tmp_path: Path) -> None:
    tsv = shared_data / "coco-obj36-sample" / "train2014_obj36.tsv"
    report = convert_features([tsv], tmp_path / "features.h5", metadata={})
    found = open_features(tmp_path / "features.h5")
    assert found.features.shape == (report.n_images, report.n_regions, report.feature_dim) == (6, 36, 2048)
    assert found.row_of["COCO_train2014_000000578174"] == 2
    assert found.sizes[2].tolist() == [394, 640]
    for row, line in enumerate(tsv.read_bytes().splitlines()):
        given_row = subject.parse_feature_row(line, "real")
        assert np.array_equal(found.features[row], given_row.features.astype(np.float16))
        assert np.abs(found.features[row] - given_row.features).max() <= report.max_absolute_error < 0.01
        pixels = found.boxes[row] * [given_row.width, given_row.height, given_row.width, given_row.height]
        assert np.allclose(pixels, given_row.boxes, atol=1e-3)
    assert 0 < report.max_relative_error <= 2**-11
    assert report.size_bytes == (tmp_path / "features.h5").stat().st_size


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    given_features=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6)).flatmap(
        lambda shape: arrays(np.float32, shape, elements=st.floats(-65504, 65504, width=32))
    )
)
def test_whatever_is_written_comes_back_within_half_precision(tmp_path: Path, given_features: np.ndarray) -> None:
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


def test_images_of_several_files_follow_one_another(tmp_path: Path, tsv: Path) -> None:
    other = write_tsv(tmp_path / "b.tsv", ["Ä", "LONGER_NAME"], lambda index: numbers(index + 3))
    convert_features([tsv, other], tmp_path / "features.h5", metadata={})
    found = open_features(tmp_path / "features.h5")
    assert found.image_ids == ("A", "B", "C", "Ä", "LONGER_NAME")
    assert np.array_equal(found.features, [numbers(index) for index in range(5)])
    assert np.allclose(found.boxes, BOXES / [40, 30, 40, 30])
    assert found.sizes.tolist() == [[30, 40]] * 5
    assert [found.row_of[name] for name in found.image_ids] == [0, 1, 2, 3, 4]


def test_a_last_line_without_its_end_is_a_row(tmp_path: Path, tsv: Path) -> None:
    tsv.write_bytes(tsv.read_bytes().rstrip(b"\n"))
    assert convert_features([tsv], tmp_path / "features.h5", metadata={}).n_images == 3


def test_the_file_is_mapped_read_only_and_aligned(tmp_path: Path) -> None:
    convert_features(
        [write_tsv(tmp_path / "a.tsv", ["A"], lambda i: numbers(i, dim=4096))], tmp_path / "f.h5", metadata={}
    )
    found = open_features(tmp_path / "f.h5")
    assert isinstance(found.features, np.memmap)
    assert not found.features.flags.writeable
    assert found.features.offset % 4096 == 0
    assert (found.features.dtype, found.boxes.dtype, found.sizes.dtype) == (np.float16, np.float32, np.int32)


def test_the_layout_is_what_any_hdf5_reader_sees(converted: Path) -> None:
    with h5py.File(converted) as file:
        assert {name: file[name].shape for name in file} == {
            "features": (3, 2, 3),
            "boxes": (3, 2, 4),
            "size": (3, 2),
            "image_id": (3,),
        }
        assert file["features"].chunks is None
        assert file["features"].compression is None
        assert file["image_id"].asstr()[:].tolist() == ["A", "B", "C"]
        assert hdf5.metadata(file) == {"kind": "features", "rule": "convert_features"}


def test_equal_input_gives_equal_bytes(tmp_path: Path, tsv: Path, converted: Path) -> None:
    convert_features([tsv], tmp_path / "again.h5", metadata={"rule": "convert_features"})
    assert (tmp_path / "again.h5").read_bytes() == converted.read_bytes()


def test_progress_ends_at_the_size_of_all_files(tmp_path: Path, tsv: Path) -> None:
    other = write_tsv(tmp_path / "b.tsv", ["D"], numbers)
    seen: list[tuple[int, int]] = []
    convert_features(
        [tsv, other], tmp_path / "f.h5", metadata={}, progress=lambda done, total: seen.append((done, total))
    )
    total = tsv.stat().st_size + other.stat().st_size
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len(seen) == 4
    assert seen[-1] == (total, total)


def peak_of_converting(folder: Path, n: int) -> int:
    tsv = write_tsv(folder / f"{n}.tsv", [f"IMAGE_{index:06d}" for index in range(n)], lambda i: numbers(i, dim=4096))
    tracemalloc.start()
    convert_features([tsv], folder / f"{n}.h5", metadata={})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    peak_of_converting(tmp_path, 2)  # imports and caches
    few, many = peak_of_converting(tmp_path, 100), peak_of_converting(tmp_path, 400)
    names_and_places = 300 * 500
    assert many < few + names_and_places < (tmp_path / "400.h5").stat().st_size


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
def test_a_broken_row_is_refused_at_its_line_and_nothing_remains(tmp_path: Path, write, line: int, found: str) -> None:
    tsv = write(tmp_path / "a.tsv")
    with pytest.raises(DataError, match=found) as refused:
        convert_features([tsv], tmp_path / "features.h5", metadata={})
    assert refused.value.place == f"{tsv}:{line}"
    assert [path.name for path in tmp_path.iterdir()] == ["a.tsv"]


def test_an_image_in_two_files_is_refused_with_both_places(tmp_path: Path, tsv: Path) -> None:
    other = write_tsv(tmp_path / "b.tsv", ["D", "B"], numbers)
    with pytest.raises(DataError, match=r"b\.tsv:2: B again, after .*a\.tsv:2"):
        convert_features([tsv, other], tmp_path / "features.h5", metadata={})


def test_a_failing_conversion_leaves_the_older_file_as_it_was(tmp_path: Path, tsv: Path, converted: Path) -> None:
    before = converted.read_bytes()
    tsv.write_bytes(tsv.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.tsv:3"):
        convert_features([tsv], converted, metadata={})
    assert converted.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.tsv", "features.h5"}


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"", "no rows"), (b"PK\x03\x04....", "a zip archive"), (b"x" * 100, "a line of more than 64 bytes")],
)
def test_what_is_no_tsv_is_refused_before_it_is_read_whole(tmp_path: Path, monkeypatch, content, found) -> None:
    monkeypatch.setattr(subject, "MAX_LINE_BYTES", 64)
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(DataError, match=found):
        convert_features([tmp_path / "a.tsv"], tmp_path / "features.h5", metadata={})


def test_missing_files_and_no_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.tsv: cannot be read"):
        convert_features([tmp_path / "absent.tsv"], tmp_path / "features.h5", metadata={})
    with pytest.raises(DataError, match="no rows"):
        convert_features([], tmp_path / "features.h5", metadata={})


@pytest.mark.parametrize("counted", [2, 4])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, tsv: Path, monkeypatch, counted: int) -> None:
    monkeypatch.setattr(subject, "_count_lines", lambda _path: counted)
    with pytest.raises(DataError, match="changed while it was read"):
        convert_features([tsv], tmp_path / "features.h5", metadata={})
    assert not (tmp_path / "features.h5").exists()


def test_images_without_features_are_named(converted: Path) -> None:
    found = open_features(converted)
    check_images_present(found, ["A", "C", "A"])
    with pytest.raises(DataError, match=r"no features for 2 of the 3 images of val\.json: X, Y; .* begin with A") as e:
        check_images_present(found, ["Y", "X", "A", "X"], "val.json")
    assert e.value.place == str(converted)


def test_a_truncated_file_is_refused_wherever_it_ends(converted: Path) -> None:
    whole = converted.read_bytes()
    for size in [*range(0, len(whole), 97), len(whole) - 1]:
        converted.write_bytes(whole[:size])
        with pytest.raises(ArtifactError, match=r"features\.h5: damaged or truncated"):
            open_features(converted)


def test_any_damage_to_what_describes_the_data_is_refused(converted: Path) -> None:
    whole = converted.read_bytes()
    assert b"GCOL" not in whole  # HDF5's heap, whose parts have no checksum
    described = whole.index(b"\0" * 64)  # the headers come first; then unused space, up to the features
    for place in range(described):
        converted.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with pytest.raises(ArtifactError):
            open_features(converted)


def foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = np.zeros((1, 2, 3), dtype=np.float16)


def with_datasets(kind: str = "features", **changed: object) -> Callable[[Path], None]:
    good = {
        "features": np.ones((2, 2, 3), np.float16),
        "boxes": np.ones((2, 2, 4), np.float32),
        "size": np.ones((2, 2), np.int32),
        "image_id": np.array([b"A", b"B"]),
    }

    def write(path: Path) -> None:
        with hdf5.writing(path, kind, {}) as file:
            for name, data in (good | changed).items():
                if data is not None:
                    file.create_dataset(name, data=data, compression="gzip" if data is COMPRESSED else None)

    return write


COMPRESSED = np.zeros((2, 2, 3), np.float16)


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (lambda path: path.write_bytes(b"not HDF5 at all"), "damaged or truncated"),
        (lambda path: None, "no such file"),
        (foreign, "was not written by this workflow"),
        (with_datasets("questions"), "is a questions file; expected a complete features file"),
        (with_datasets(boxes=None), "boxes: no such dataset"),
        (with_datasets(features=np.ones((2, 2, 3), np.float32)), r"features: float32 of shape \(2, 2, 3\)"),
        (with_datasets(size=np.ones((2, 2, 2), np.int32)), "size: int32"),
        (with_datasets(boxes=np.ones((1, 2, 4), np.float32)), "2 images with boxes"),
        (with_datasets(image_id=np.array([b"A"])), "and 1 names"),
        (with_datasets(image_id=np.array([b"A", b"A"])), "and 1 names"),
        (with_datasets(image_id=np.array([b"A", b"\xff"])), "damaged or truncated"),
        (with_datasets(features=COMPRESSED), "compressed or in chunks"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, write, found: str) -> None:
    write(tmp_path / "features.h5")
    with pytest.raises(ArtifactError, match=found):
        open_features(tmp_path / "features.h5")


def test_a_file_of_the_right_datasets_passes_where_the_others_do_not(tmp_path: Path) -> None:
    with_datasets()(tmp_path / "features.h5")
    assert open_features(tmp_path / "features.h5").image_ids == ("A", "B")

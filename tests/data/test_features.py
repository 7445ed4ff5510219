"""The file of region features is memory-mapped, and refused if damaged or of another kind."""

import errno
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from feature_tables import numbers, write_tsv

from lxmert_tickets.data import hdf5
from lxmert_tickets.data.feature_conversion import convert_features
from lxmert_tickets.data.features import check_images_present, open_features
from lxmert_tickets.errors import ArtifactError, DataError


def test_the_file_is_mapped_read_only_and_aligned(tmp_path: Path) -> None:
    convert_features(
        [write_tsv(tmp_path / "a.tsv", ["A"], lambda index: numbers(index, dim=4096))], tmp_path / "f.h5", metadata={}
    )
    found = open_features(tmp_path / "f.h5")
    assert isinstance(found.features, np.memmap)
    assert not found.features.flags.writeable
    assert found.features.offset % 4096 == 0
    assert (found.features.dtype, found.boxes.dtype, found.sizes.dtype) == (np.float16, np.float32, np.int32)


def test_a_full_disk_raises_with_its_errno_and_the_file() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'") as told:
        hdf5.lay_out("/dev/full", "features", {}, {"features": ((2, 2), "float16")})
    assert told.value.errno == errno.ENOSPC


def test_any_hdf5_reader_sees_the_layout(converted: Path) -> None:
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


def test_images_without_features_are_named(converted: Path) -> None:
    found = open_features(converted)
    check_images_present(found, ["A", "C", "A"])
    with pytest.raises(DataError, match=r"no features for 2 of the 3 images of val\.json: X, Y; .* begin with A") as e:
        check_images_present(found, ["Y", "X", "A", "X"], "val.json")
    assert e.value.place == str(converted)


def test_features_of_another_width_than_the_network_reads_are_refused_with_a_remedy(converted: Path) -> None:
    dim = open_features(converted).features.shape[2]
    assert open_features(converted, dim).image_ids == ("A", "B", "C")
    told = rf"{dim} values a region; expected {dim + 1}, as in vqa2\.feature_dim\. Replace its tables .* docs/vqa2\.md"
    with pytest.raises(DataError, match=told):
        open_features(converted, dim + 1)


def test_a_truncated_file_is_refused_wherever_it_ends(converted: Path) -> None:
    whole = converted.read_bytes()
    for size in [*range(0, len(whole), 97), len(whole) - 1]:
        converted.write_bytes(whole[:size])
        with pytest.raises(ArtifactError, match=r"features\.h5: damaged or truncated"):
            open_features(converted)


def test_any_damage_to_the_headers_is_refused(converted: Path) -> None:
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
        (lambda path: path.mkdir(), r"cannot be read \(Is a directory\); expected a file that this user can read$"),
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
def test_a_file_with_other_content_is_refused(tmp_path: Path, write, found: str) -> None:
    write(tmp_path / "features.h5")
    with pytest.raises(ArtifactError, match=found):
        open_features(tmp_path / "features.h5")


def test_the_file_that_the_wrong_ones_are_made_from_is_accepted(tmp_path: Path) -> None:
    with_datasets()(tmp_path / "features.h5")
    assert open_features(tmp_path / "features.h5").image_ids == ("A", "B")

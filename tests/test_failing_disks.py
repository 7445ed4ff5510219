"""Whatever reads a file says of a failing disk that it fails, not that the file is damaged."""

import errno
import zipfile
from pathlib import Path

import pytest

from lxmert_tickets.data.feature_sources import find_table
from lxmert_tickets.data.features import open_features
from lxmert_tickets.data.image_zips import zip_of_images
from lxmert_tickets.data.vqa_json import read_questions
from lxmert_tickets.downloads.checks import check_content
from lxmert_tickets.errors import DataError
from lxmert_tickets.pruning.mask_files import load_mask


@pytest.fixture(params=[errno.EIO, errno.ESTALE, errno.EACCES])
def failing(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a zip whose list of members cannot be read from the disk."""

    def fails(*_: object) -> None:
        raise OSError(request.param, "the disk fails")

    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("a.json", "{}")
    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", fails)
    return tmp_path / "some.zip"


def list_images(path: Path) -> None:
    with zip_of_images(path):
        pass


@pytest.mark.parametrize("read", [find_table, list_images, lambda path: check_content(path, path.name)])
def test_a_disk_that_fails_is_not_taken_for_a_damaged_zip(failing: Path, read) -> None:
    with pytest.raises(OSError, match=r"the disk fails: .*some\.zip"):
        read(failing)


def test_questions_on_a_disk_that_fails_need_no_new_download(failing: Path) -> None:
    with pytest.raises(DataError, match=r"the disk fails.*expected a file that this user can read") as told:
        read_questions(failing)
    assert "again" not in str(told.value)


@pytest.mark.parametrize(
    ("library", "read"), [("artifacts.safe_open", load_mask), ("data.hdf5.h5py.File", open_features)]
)
def test_a_disk_that_fails_is_not_taken_for_a_damaged_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, read
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "the disk fails")

    (tmp_path / "file").touch()
    monkeypatch.setattr(f"lxmert_tickets.{library}", fails)
    with pytest.raises(OSError, match=r"the disk fails: .*file"):
        read(tmp_path / "file")


def test_an_error_of_writing_what_images_became_does_not_blame_the_images(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a.png", b"")
    with pytest.raises(OSError, match="No space left") as told, zip_of_images(tmp_path / "images.zip"):
        raise OSError(errno.ENOSPC, "No space left", "examples.html")
    assert told.value.filename == "examples.html"

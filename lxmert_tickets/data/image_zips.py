"""Opens a zip of images; a separate module, so that editing how pictures are shown does not redraw them."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import UnidentifiedImageError

from lxmert_tickets.artifacts import REMAKE
from lxmert_tickets.errors import DataError, raise_if_of_the_disk
from lxmert_tickets.file_kinds import ZIP_DAMAGES


@contextmanager
def zip_of_images(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """Yield the zip at `path`; raises DataError, naming it, when it or what is read from it is missing or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except ZIP_DAMAGES as error:
        raise_if_of_the_disk(error, path)
        found = f"cannot be read ({str(error) or type(error).__name__})"
        if isinstance(error, UnidentifiedImageError):
            found = "holds a file that is not an image"
        raise DataError(path, found, "a zip of images", REMAKE) from None

"""Pictures encoded for a web page, by image name as in the feature files."""

import io
from collections.abc import Collection
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from lxmert_tickets.data.image_zips import zip_of_images
from lxmert_tickets.errors import DataError

LARGEST_SIDE = 400
"""Pixels: COCO's photographs have 640, which costs several times the bytes and shows no more on a page."""
QUALITY = 85


def read_pictures(place: str | Path, names: Collection[str]) -> dict[str, bytes]:
    """Return the pictures of those images that `place` has, encoded and no larger than LARGEST_SIDE.

    `place` is a zip of PNGs or a folder of JPEGs. Raises DataError for a damaged zip or a file that is not an image.
    """
    folder = Path(place)
    if folder.is_dir():
        files = {name: folder / f"{name}.jpg" for name in names}
        return {name: _shrunk(file.read_bytes(), file) for name, file in files.items() if file.is_file()}
    with zip_of_images(place) as archive:
        members = {Path(entry).stem: entry for entry in archive.namelist()}
        return {name: _shrunk(archive.read(members[name]), place) for name in names if name in members}


def mime_type(picture: bytes) -> str:
    """Return the MIME type of a PNG or a JPEG."""
    return "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"


def _shrunk(picture: bytes, place: str | Path) -> bytes:
    """Return `picture` unchanged, or shrunk to LARGEST_SIDE as a JPEG if it is larger."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            if max(image.size) <= LARGEST_SIDE:
                return picture
            smaller = image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            place, f"is not an image ({error})", "a PNG or a JPEG", "Copy it again, or remove it."
        ) from None
    smaller.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    encoded = io.BytesIO()
    smaller.save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()

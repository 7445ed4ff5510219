"""Pictures come from a zip or a folder, small enough for a page; missing ones are left out."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lxmert_tickets.data.pictures import LARGEST_SIDE, mime_type, read_pictures
from lxmert_tickets.data.scenes.dataset import write_images
from lxmert_tickets.data.scenes.world import draw_scene
from lxmert_tickets.errors import DataError

PHOTO = "COCO_val2014_000000000042"


def write_photo(folder: Path, width: int, height: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{PHOTO}.jpg")
    return (folder / f"{PHOTO}.jpg").read_bytes()


def test_pictures_of_scenes_are_read_unchanged_from_their_zip(tmp_path: Path) -> None:
    scenes = {f"SCENES_val_{number:012}": draw_scene(number, np.random.default_rng(number)) for number in (1, 2, 3)}
    write_images(tmp_path / "images.zip", scenes)
    found = read_pictures(tmp_path / "images.zip", {"SCENES_val_000000000002", "SCENES_val_000000000009"})
    (picture,) = found.values()
    assert list(found) == ["SCENES_val_000000000002"]
    assert mime_type(picture) == "image/png"
    assert Image.open(io.BytesIO(picture)).size[0] > 0


def test_a_missing_or_damaged_zip_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    write_images(path, {PHOTO: draw_scene(1, np.random.default_rng(1))})
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1  # within the picture, so that its checksum fails
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{PHOTO}.png", "a picture")
    start = 30 + len(f"{PHOTO}.png")  # behind the member's header
    no_stream = path.read_bytes()[:start] + b"\xff" + path.read_bytes()[start + 1 :]
    for content in (None, b"", whole[: len(whole) // 2], bytes(flipped), no_stream):
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(DataError, match=r"images\.zip: cannot be read.*expected a zip of images\. Delete it"):
            read_pictures(path, {PHOTO})


def test_a_small_photograph_is_read_unchanged(tmp_path: Path) -> None:
    content = write_photo(tmp_path, LARGEST_SIDE, 10)
    assert read_pictures(tmp_path, {PHOTO, "COCO_val2014_000000000043"}) == {PHOTO: content}
    assert mime_type(content) == "image/jpeg"


@pytest.mark.parametrize(("width", "height"), [(640, 480), (427, 640), (2 * LARGEST_SIDE, 1)])
def test_a_large_photograph_is_shrunk_and_keeps_its_aspect_ratio(tmp_path: Path, width: int, height: int) -> None:
    content = write_photo(tmp_path, width, height)
    picture = read_pictures(tmp_path, {PHOTO})[PHOTO]
    size = Image.open(io.BytesIO(picture)).size
    assert max(size) == LARGEST_SIDE
    assert size[0] / size[1] == pytest.approx(width / height, rel=0.01) or min(size) == 1
    assert len(picture) < len(content) or min(size) == 1
    assert read_pictures(tmp_path, {PHOTO})[PHOTO] == picture


def damaged_png() -> bytes:
    encoded = io.BytesIO()
    Image.effect_noise((500, 500), 50).save(encoded, "PNG")
    content = bytearray(encoded.getvalue())
    at = content.index(b"IDAT", content.index(b"IDAT") + 4)
    content[at : at + 4] = b"\x00\x00\x00\x00"
    return bytes(content)


def bomb() -> bytes:
    """Return the beginning of a PNG of 400 megapixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = [struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)), struct.pack(">I", 100) + b"IDAT"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("content", [b"<html>not found</html>", damaged_png(), bomb()], ids=["page", "PNG", "bomb"])
def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{PHOTO}.jpg").write_bytes(content)
    with pytest.raises(DataError, match=rf"{PHOTO}\.jpg.*is not an image.*remove it"):
        read_pictures(tmp_path, {PHOTO})

"""Does a file hold what its name says? Nothing is unpacked, unpickled or run to find out."""

import mmap
import re
import zipfile
from codecs import BOM_UTF8
from html import unescape
from pathlib import Path

import msgspec

from lxmert_tickets.errors import DataError, raise_if_of_the_disk
from lxmert_tickets.file_kinds import ZIP_DAMAGES, ZIP_MAGIC, is_page
from lxmert_tickets.progress import Progress

PICKLED_TORCH = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # torch.save before 1.6: its magic number as a pickled long
TELL_THEIR_END = (".zip", ".json")  # a truncated file of these kinds never passes
BLOCK_BYTES = 1 << 20
HEAD_BYTES = 4096  # enough to recognise a kind, or a page and its title
MAX_NAME_CHARACTERS = 80


def check_content(path: Path, name: str) -> None:
    """Return if the file at `path` holds what the suffix of `name` says; otherwise raise DataError.

    .zip: every member is read and its checksum compared. .json: an object or list that parses to its end. .pth: begins
    as torch writes it. .txt: UTF-8. Others: not empty.
    """
    with path.open("rb") as handle:
        head = handle.read(HEAD_BYTES)
    if fault := opening_fault(name, head):
        raise DataError(path, *fault)
    kind = Path(name).suffix.lower()
    if kind == ".json":
        _check_json(path)
    elif kind == ".txt":
        _check_text(path)
    elif head.startswith(ZIP_MAGIC):
        _check_zip(path, name, read_members=kind == ".zip")  # torch may omit the checksums


def opening_fault(name: str, head: bytes, content_type: str = "") -> tuple[str, str] | None:
    """Return what was found and expected if the first bytes cannot begin the file `name`; None if they can."""
    kind = Path(name).suffix.lower()
    if not head:
        return "is empty", "a file with content"
    if is_page(head, content_type):
        return f"is a web page{page_title(head)}", f"the file {name}"
    if kind == ".zip" and not head.startswith(ZIP_MAGIC):
        return f"begins with {head[:8]!r}", "a zip file"
    if kind == ".json" and not head.removeprefix(BOM_UTF8).lstrip().startswith((b"{", b"[")):
        return f"begins with {head[:20]!r}", "JSON: an object or a list"
    if kind == ".pth" and ZIP_MAGIC not in head[:4] and PICKLED_TORCH not in head[:16]:
        return f"begins with {head[:12]!r}", "weights as torch saves them"
    return None


def page_title(head: bytes) -> str:
    """Return ' with the title "..."', the start of a page's title; "" when it has none."""
    match = re.search(rb"<title[^>]*>(.*?)(</title|\Z)", head, re.IGNORECASE | re.DOTALL)
    words = " ".join(unescape(match[1].decode("utf-8", "replace")).split()) if match else ""
    printable = "".join(c for c in words if c.isprintable())
    return f' with the title "{printable[:MAX_NAME_CHARACTERS]}"' if printable else ""


def _check_zip(path: Path, name: str, read_members: bool) -> None:
    try:
        with zipfile.ZipFile(path) as archive:  # the list of members is at the end: a truncated file has none
            members = archive.infolist()
            if not members:
                raise DataError(path, "is a zip without members", "a zip of at least one file")
            if not read_members:
                return
            with Progress(f"checking {name}", sum(member.file_size for member in members), unit="B") as progress:
                for member in members:
                    with archive.open(member) as stream:  # compares the checksum at its end
                        while block := stream.read(BLOCK_BYTES):
                            progress.advance(len(block))
    except ZIP_DAMAGES as error:
        raise_if_of_the_disk(error, path)
        raise DataError(path, f"is a damaged zip ({error or type(error).__name__})", "a complete zip file") from None


def _check_json(path: Path) -> None:
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as text:
        try:
            start = len(BOM_UTF8) if text[: len(BOM_UTF8)] == BOM_UTF8 else 0  # as JsonFile, which reads it later
            msgspec.json.decode(memoryview(text)[start:], type=msgspec.Raw)  # parses all of it, but builds nothing
            _check_text(path)  # the encoding, which msgspec.Raw leaves unchecked
        except msgspec.DecodeError as error:
            raise DataError(path, f"is damaged JSON ({error})", "JSON that parses to its end") from None
        except RecursionError:
            raise DataError(path, "is JSON nested too deep to be read", "JSON that parses to its end") from None


def _check_text(path: Path) -> None:
    try:
        with path.open(encoding="utf-8") as lines:
            while block := lines.read(BLOCK_BYTES):
                if "\0" in block:
                    raise DataError(path, "holds zero bytes", "text")
    except UnicodeDecodeError as error:
        raise DataError(path, f"is not text ({error.reason} at byte {error.start})", "UTF-8 text") from None

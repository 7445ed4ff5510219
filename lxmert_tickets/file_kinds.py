"""What a file is by its first bytes, whatever its name says, and what Python raises for a damaged one."""

import lzma
import re
import zipfile
import zlib
from codecs import BOM_UTF8

ZIP_MAGIC = b"PK\x03\x04"
EMPTY_ZIP_MAGIC = b"PK\x05\x06"
GZIP_MAGIC = b"\x1f\x8b"
ZIP_DAMAGES = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, ValueError, RuntimeError
)  # fmt: skip
"""What Python raises for a damaged or unsupported zip, and where the disk fails."""


def is_page(head: bytes, content_type: str = "") -> bool:
    """Return whether a file that begins with `head`, served as `content_type`, is a web page."""
    begins = head.removeprefix(BOM_UTF8).lstrip().lower()
    begins = re.sub(rb"\A(<\?xml.*?\?>|<!--.*?-->|\s+)+", b"", begins, flags=re.DOTALL)
    return begins.startswith((b"<!doctype html", b"<html")) or content_type.lower().startswith("text/html")

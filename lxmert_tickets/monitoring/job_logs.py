"""The error that the log of a job ends with."""

import os
import re
from pathlib import Path

END_BYTES = 16384
RECORD = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ([A-Z]+) ", flags=re.MULTILINE)  # as job.LINE


def error_at_end(path: Path) -> str:
    """Return the error message that the log at `path` ends with, on one line; "" if it ends with none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - END_BYTES, 0))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    records = list(RECORD.finditer(text))
    if not records or records[-1][1] != "ERROR":
        return ""
    return " ".join(text[records[-1].end() :].split()) or "an error without a message"

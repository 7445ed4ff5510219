"""Histories as CSV files."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from lxmert_tickets.artifacts import replacing


def write_history(path: str | Path, lines: Sequence[Any]) -> None:
    """Write dataclass instances of one type as CSV, a column per field; floats in full, for comparing runs."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, [field.name for field in fields(lines[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(line) for line in lines)

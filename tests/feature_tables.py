"""Small tables of region features, plain and zipped."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from lxmert_tickets.data import feature_conversion
from lxmert_tickets.data.feature_tsv import write_feature_row
from lxmert_tickets.progress import Progress

BOXES = np.array([[0, 0, 10, 20], [1, 2, 40, 30]], dtype=np.float32)


def numbers(index: int, dim: int = 3) -> np.ndarray:
    """Return features of two regions, different for each index."""
    return np.arange(2 * dim, dtype=np.float32).reshape(2, dim) + index


def write_tsv(
    path: Path, names: Sequence[str], features: Callable[[int], np.ndarray] = numbers, boxes: np.ndarray = BOXES
) -> Path:
    """Write images 40 wide and 30 high, and return `path`."""
    with open(path, "wb") as handle:
        for index, name in enumerate(names):
            write_feature_row(handle, name, 30, 40, boxes, features(index))
    return path


def zipped(tsv: Path, path: Path, *, name: str = "a.tsv", method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip archive with the file `tsv` in it under `name`, and return its path."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, tsv.read_bytes())
    return path


def shown_progress(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int | None]]:
    """Return a list that fills with the bytes done and those in all: at the start of a conversion, and at each step."""
    seen: list[tuple[int, int | None]] = []

    class Seen(Progress):
        def __init__(self, what: str, total: int | None, unit: str, initial: int) -> None:
            super().__init__(what, total, unit, initial)
            seen.append((self._done, total))

        def advance(self, n: int = 1, note: str = "") -> None:
            super().advance(n, note)
            seen.append((self._done, self._total))

    monkeypatch.setattr(feature_conversion, "Progress", Seen)
    return seen

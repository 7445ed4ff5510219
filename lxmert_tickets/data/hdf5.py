"""The workflow's HDF5 files: complete or absent, equal bytes for equal content, rejected when damaged or foreign.

All metadata is sorted JSON in the file's one attribute, "lxmert_tickets"; its "kind" tells features from questions.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from lxmert_tickets.artifacts import METADATA_KEY, REMAKE, Metadata, canonical_json, check_can_be_opened, replacing
from lxmert_tickets.errors import ArtifactError, raise_if_of_the_disk

FORMAT = ("v110", "v110")
"""Readable by HDF5 1.10 and later, with checksums on HDF5's own metadata."""

PAGE_BYTES = 4096
"""Larger data starts at a multiple of this, so that a memory map of it is aligned."""


@contextmanager
def writing(path: str | Path, kind: str, about: Metadata) -> Iterator[h5py.File]:
    """Yield a new HDF5 file of `kind` with the metadata `about`; it appears at `path` on success."""
    with (
        replacing(path) as temporary,
        h5py.File(temporary, "w", libver=FORMAT, alignment_threshold=PAGE_BYTES, alignment_interval=PAGE_BYTES) as file,
    ):
        _set_metadata(file, kind, about)
        yield file


def _set_metadata(file: h5py.File, kind: str, about: Metadata) -> None:
    text = canonical_json({**about, "kind": kind}).encode()
    file.attrs[METADATA_KEY] = np.bytes_(text)  # of fixed length: others are in a heap without a checksum


@dataclass(frozen=True)
class Extent:
    """Where the values of a dataset lie in its file."""

    offset: int
    size_bytes: int


def lay_out(
    path: str | Path, kind: str, about: Metadata, datasets: Mapping[str, tuple[tuple[int, ...], Any]]
) -> dict[str, Extent]:
    """Write a file of `kind` with unfilled `datasets` (a shape and dtype each), and return their extents.

    Each starts on its own page, so that the first is at the same offset whatever the shapes. Unwritten space takes no
    room on file systems with sparse files. Raises OSError when the disk is full.
    """
    extents = {}
    try:
        with h5py.File(path, "w", libver=FORMAT, alignment_threshold=1, alignment_interval=PAGE_BYTES) as file:
            _set_metadata(file, kind, about)
            for name, (shape, dtype) in datasets.items():
                properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
                stored = file.create_dataset(name, shape=shape, dtype=dtype, fill_time="never", dcpl=properties)
                extents[name] = Extent(stored.id.get_offset(), stored.id.get_storage_size())
    except (OSError, RuntimeError) as error:  # RuntimeError: a write failed on closing the file
        if told := re.search(r"errno = (\d+)", str(error)):
            raise OSError(int(told[1]), os.strerror(int(told[1])), str(path)) from None
        raise
    return extents


@contextmanager
def reading(path: str | Path, kind: str) -> Iterator[h5py.File]:
    """Yield the HDF5 file of `kind` at `path`.

    Raises ArtifactError when it is missing, truncated, damaged, not an HDF5 file, or of another kind; also for
    damage that h5py finds within the block.
    """
    expected = f"a complete {kind} file (HDF5)"
    with _opened(path, expected) as file:
        if (found := metadata(file)["kind"]) != kind:
            raise ArtifactError(path, f"is a {found} file", expected)
        yield file


def read_metadata(path: str | Path) -> Metadata:
    """Return the metadata of the HDF5 file at `path`; its "kind" says what the file is.

    Raises ArtifactError when it is missing, truncated, damaged, not an HDF5 file, or not this workflow's.
    """
    with _opened(path, "a complete HDF5 file of this workflow") as file:
        return metadata(file)


@contextmanager
def _opened(path: str | Path, expected: str) -> Iterator[h5py.File]:
    """Yield a file of this workflow, of any kind; damage that h5py finds becomes an ArtifactError."""
    check_can_be_opened(path, expected)
    try:
        with h5py.File(path, "r", locking=False) as file:  # it never changes, and some cluster disks have no locks
            if "kind" not in metadata(file):
                raise ArtifactError(path, "was not written by this workflow", expected)
            yield file
    except (OSError, KeyError, RuntimeError, ValueError) as error:  # what h5py raises for an unreadable file
        raise_if_of_the_disk(error, path)
        raise ArtifactError(path, f"damaged or truncated ({error})", expected, REMAKE) from None


def metadata(file: h5py.File) -> Metadata:
    """Return the metadata of a file of this workflow, including provenance; {} for any other file."""
    return dict(json.loads(file.attrs.get(METADATA_KEY, b"{}")))


def dataset(file: h5py.File, name: str, dtype: str, ndim: int) -> h5py.Dataset:
    """Return the dataset `name`; raises ArtifactError when it is absent, or of another dtype or number of axes.

    The dtype "S" stands for fixed-length strings of any length.
    """
    expected = f"{dtype} with {ndim} axes"
    stored: Any = file.get(name)
    if not isinstance(stored, h5py.Dataset):
        raise ArtifactError(f"{file.filename}:{name}", "no such dataset", expected, REMAKE)
    same_dtype = stored.dtype.kind == "S" if dtype == "S" else stored.dtype == np.dtype(dtype)
    if not same_dtype or stored.ndim != ndim:
        raise ArtifactError(f"{file.filename}:{name}", f"{stored.dtype} of shape {stored.shape}", expected, REMAKE)
    return stored

"""Layout of the features file: where the features lie, whatever the number of images, and all else in it."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np

from lxmert_tickets.artifacts import Metadata
from lxmert_tickets.data import hdf5
from lxmert_tickets.data.feature_decoding import DecodedBlock
from lxmert_tickets.data.features import KIND


@dataclass(frozen=True)
class FeatureLayout:
    """The layout of a file with `metadata`, for images of `n_regions` regions of `feature_dim` numbers.

    `scratch` is where HDF5 may write an empty file of this layout.
    """

    metadata: Metadata
    n_regions: int
    feature_dim: int
    scratch: Path

    @property
    def image_bytes(self) -> int:
        """How many bytes the features of one image take."""
        return self.n_regions * self.feature_dim * 2

    def features_offset(self) -> int:
        """Return the offset of the features, the same for any number of images."""
        return self._extents(1, 1)["features"].offset

    def complete(self, path: Path, names: Iterable[str], blocks: Iterable[DecodedBlock]) -> int:
        """Complete the file at `path`, which already holds the features, and return its size.

        `names` are those of all images; `blocks` hold the same images in order. HDF5 itself writes an empty, sparse
        file of this shape, from which everything around the datasets is copied.
        """
        lengths = [len(name.encode()) for name in names]
        offset = self.features_offset()
        extents = self._extents(len(lengths), max(lengths))
        if extents["features"] != hdf5.Extent(offset, len(lengths) * self.image_bytes):
            raise RuntimeError(f"HDF5 would have the features at {extents['features']}, not at {offset}")
        with open(path, "rb+") as file, open(self.scratch, "rb") as empty:
            size_bytes = file.truncate(os.fstat(empty.fileno()).st_size)
            for start, end in _gaps(extents.values(), size_bytes):
                empty.seek(start)
                file.seek(start)
                file.write(empty.read(end - start))
            places = {name: extent.offset for name, extent in extents.items()}
            for block in blocks:
                image_ids = np.array([name.encode() for name in block.image_ids], f"S{max(lengths)}").tobytes()
                for name, content in (("boxes", block.boxes), ("size", block.sizes), ("image_id", image_ids)):
                    file.seek(places[name])
                    places[name] += file.write(content)
        return size_bytes

    def _extents(self, n_images: int, name_bytes: int) -> dict[str, hdf5.Extent]:
        datasets = {
            "features": ((n_images, self.n_regions, self.feature_dim), "<f2"),
            "boxes": ((n_images, self.n_regions, 4), "<f4"),
            "size": ((n_images, 2), "<i4"),
            "image_id": ((n_images,), h5py.string_dtype("utf-8", name_bytes)),
        }
        return hdf5.lay_out(self.scratch, KIND, self.metadata, datasets)


def _gaps(extents: Iterable[hdf5.Extent], size_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the gaps before, between and after `extents` in a file."""
    start = 0
    for extent in sorted(extents, key=lambda extent: extent.offset):
        yield start, extent.offset
        start = extent.offset + extent.size_bytes
    yield start, size_bytes

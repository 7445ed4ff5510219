"""Region features of many images in one memory-mapped HDF5 file.

Half precision, uncompressed and contiguous: the features of train2014 take 12.2 GB on disk and, whatever the number
of loaders, no more memory than the pages in use.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lxmert_tickets.artifacts import REMAKE
from lxmert_tickets.data import hdf5
from lxmert_tickets.errors import ArtifactError, DataError, first_few

KIND = "features"
PUT_OTHERS = "Replace its tables by those of all images, as docs/vqa2.md says (By hand)."


@dataclass(frozen=True, eq=False)
class Features:
    """The features of n images, in the order of the file.

    `features` float16 (n, regions, dim), a read-only memory map; `boxes` float32 (n, regions, 4), x1 y1 x2 y2 as
    fractions of width and height; `sizes` int32 (n, 2), height and width in pixels; `row_of[image_id]` is the row.
    """

    path: Path
    features: np.ndarray
    boxes: np.ndarray
    sizes: np.ndarray
    image_ids: tuple[str, ...]
    row_of: dict[str, int]


def open_features(path: str | Path, feature_dim: int | None = None) -> Features:
    """Return the features in the file that `convert_features` wrote to `path`, memory-mapped rather than read.

    Raises ArtifactError when the file is missing, truncated, damaged or of another kind, and DataError when a region
    has not `feature_dim` values, as the network will read; None takes any number.
    """
    path = Path(path)
    with hdf5.reading(path, KIND) as file:
        stored = hdf5.dataset(file, "features", "<f2", 3)
        boxes = hdf5.dataset(file, "boxes", "<f4", 3)[()]
        sizes = hdf5.dataset(file, "size", "<i4", 2)[()]
        image_ids = tuple(name.decode() for name in hdf5.dataset(file, "image_id", "S", 1)[()])
        n_images, n_regions, dim = shape = stored.shape
        offset = stored.id.get_offset()
    row_of = {name: row for row, name in enumerate(image_ids)}
    if boxes.shape != (n_images, n_regions, 4) or sizes.shape != (n_images, 2) or len(row_of) != n_images:
        found = f"{n_images} images with boxes {boxes.shape}, sizes {sizes.shape} and {len(row_of)} names"
        raise ArtifactError(path, found, "the same number of each", REMAKE)
    if offset is None:
        raise ArtifactError(f"{path}:features", "compressed or in chunks", "one contiguous block, to be mapped", REMAKE)
    if feature_dim not in (None, dim):
        raise DataError(path, f"{dim} values a region", f"{feature_dim}, as in vqa2.feature_dim", PUT_OTHERS)
    mapped = np.memmap(path, dtype="<f2", mode="r", offset=offset, shape=shape)
    return Features(path, mapped, boxes, sizes, image_ids, row_of)


def check_images_present(features: Features, image_names: Iterable[str], asked_by: str = "the questions") -> None:
    """Raise DataError, naming the first few, unless every one of `image_names` has features."""
    names = set(image_names)
    missing = sorted(names - features.row_of.keys())
    if missing:
        raise DataError(
            features.path,
            f"no features for {len(missing)} of the {len(names)} images of {asked_by}: {first_few(missing)}",
            f"a row for each; the {len(features.image_ids)} there are begin with {features.image_ids[0]}",
            PUT_OTHERS,
        )

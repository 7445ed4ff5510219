"""Region features of many images in one HDF5 file that is read by memory map.

Half precision, uncompressed and contiguous: the features of train2014 take 12.2 GB on disk and, whatever the number
of loaders, no more memory than the pages that are in use.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np

from lxmert_tickets.artifacts import REMAKE, Metadata
from lxmert_tickets.data import hdf5
from lxmert_tickets.data.feature_tsv import FeatureRow, parse_feature_row
from lxmert_tickets.data.vqa_json import ZIP_MAGIC
from lxmert_tickets.errors import ArtifactError, DataError

KIND = "features"
CHUNK_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 26
"""A hundred regions of 2048 numbers take 1.1 MB: a line of 64 MB belongs to something else."""

SMALLEST_NORMAL = 2.0**-14
"""Smaller numbers are subnormal in float16."""

OVERFLOW = 65520.0
"""From here on, float16 rounds to infinity; its largest number is 65504."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ConversionReport:
    """What was converted, and what half precision cost.

    `max_relative_error` is |stored - given| / max(|given|, 2^-14), for smaller numbers have an absolute precision
    only; it cannot exceed 2^-11.
    """

    n_images: int
    n_regions: int
    feature_dim: int
    size_bytes: int
    max_absolute_error: float
    max_relative_error: float


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


def convert_features(
    tsv_paths: Sequence[str | Path], output: str | Path, *, metadata: Metadata, progress: Progress | None = None
) -> ConversionReport:
    """Write the images of LXMERT's 10-column TSV files to one HDF5 file at `output`, and return what was converted.

    Every row is checked before anything of it is written; all rows have the regions and the dim of the first.
    Memory does not grow with the number of images, but for their names. `progress(bytes_done, bytes_total)` is
    called after every row. The file has `features` float16 (n, regions, dim), contiguous and uncompressed, `boxes`
    float32 (n, regions, 4) as fractions of width and height, `size` int32 (n, 2), height and width, and `image_id`.

    Raises DataError with "file:line" for a row that breaks the format, overflows float16, differs in shape from the
    first, or whose image came before, in any of the files; then `output` is as it was.
    """
    paths = [Path(path) for path in tsv_paths]
    first_place, first = _first_row(paths)
    n_images = sum(_count_lines(path) for path in paths)
    bytes_total = sum(path.stat().st_size for path in paths)
    bytes_done, largest_errors = 0, (0.0, 0.0)
    places: dict[str, str] = {}
    with hdf5.writing(output, KIND, metadata) as file:
        features, boxes, sizes = _allocate(file, n_images, first)
        lines = _lines(paths)
        for index, (place, line) in enumerate(itertools.islice(lines, n_images)):
            row = parse_feature_row(line, place)
            _check_fits(row, place, first, first_place, places)
            places[row.image_id] = place
            features[index], errors = _to_float16(row.features, place)
            boxes[index] = row.normalised_boxes()
            sizes[index] = row.height, row.width
            largest_errors = max(largest_errors[0], errors[0]), max(largest_errors[1], errors[1])
            bytes_done += len(line)
            if progress is not None:
                progress(bytes_done, bytes_total)
        if len(places) < n_images or next(lines, None) is not None:
            raise DataError(paths[-1], "changed while it was read", f"{n_images} rows in all", "Run this again.")
        file["image_id"] = _fixed_length(places)
    regions, dim = first.features.shape
    return ConversionReport(n_images, regions, dim, Path(output).stat().st_size, *largest_errors)


def open_features(path: str | Path) -> Features:
    """Return the features in the file that `convert_features` wrote to `path`, mapped, not read.

    Raises ArtifactError when the file is missing, truncated, damaged or of another kind.
    """
    path = Path(path)
    with hdf5.reading(path, KIND) as file:
        stored = hdf5.dataset(file, "features", "<f2", 3)
        boxes = hdf5.dataset(file, "boxes", "<f4", 3)[()]
        sizes = hdf5.dataset(file, "size", "<i4", 2)[()]
        image_ids = tuple(name.decode() for name in hdf5.dataset(file, "image_id", "S", 1)[()])
        n_images, n_regions, _ = shape = stored.shape
        offset = stored.id.get_offset()
    row_of = {name: row for row, name in enumerate(image_ids)}
    if boxes.shape != (n_images, n_regions, 4) or sizes.shape != (n_images, 2) or len(row_of) != n_images:
        found = f"{n_images} images with boxes {boxes.shape}, sizes {sizes.shape} and {len(row_of)} names"
        raise ArtifactError(path, found, "the same number of each", REMAKE)
    if offset is None:
        raise ArtifactError(f"{path}:features", "compressed or in chunks", "one contiguous block, to be mapped", REMAKE)
    mapped = np.memmap(path, dtype="<f2", mode="r", offset=offset, shape=shape)
    return Features(path, mapped, boxes, sizes, image_ids, row_of)


def check_images_present(features: Features, image_names: Iterable[str], asked_by: str = "the questions") -> None:
    """Raise DataError, naming the first few, unless every one of `image_names` has features."""
    names = set(image_names)
    missing = sorted(names - features.row_of.keys())
    if missing:
        raise DataError(
            features.path,
            f"no features for {len(missing)} of the {len(names)} images of {asked_by}: {', '.join(missing[:5])}"
            + (", …" if len(missing) > 5 else ""),
            f"a row for each; the {len(features.image_ids)} there are begin with {features.image_ids[0]}",
            "Convert the TSV files of all images of this split together.",
        )


def _first_row(paths: Sequence[Path]) -> tuple[str, FeatureRow]:
    for place, line in _lines(paths):
        return place, parse_feature_row(line, place)
    raise DataError(
        ", ".join(map(str, paths)) or "region features", "no rows", "one image a line", "Download it again."
    )


def _lines(paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield ("file:line", line) of all files, in order, holding one line at a time."""
    for path in paths:
        with _opened(path) as handle:
            if handle.peek(len(ZIP_MAGIC)).startswith(ZIP_MAGIC):
                raise DataError(path, "a zip archive", "the TSV file in it", "Unzip it.")
            number = 0
            while line := handle.readline(MAX_LINE_BYTES):
                number += 1
                place = f"{path}:{number}"
                if len(line) == MAX_LINE_BYTES:
                    raise DataError(place, f"a line of more than {MAX_LINE_BYTES} bytes", "one image a line")
                yield place, line


def _opened(path: Path) -> BufferedReader:
    try:
        return BufferedReader(FileIO(path), CHUNK_BYTES)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "a TSV file of region features") from None


def _count_lines(path: Path) -> int:
    """Return the number of lines, at the speed of the disk; a last line without its line end counts."""
    count, last = 0, b"\n"
    with _opened(path) as handle:
        while chunk := handle.read(CHUNK_BYTES):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count + (last != b"\n")


def _allocate(file: h5py.File, n_images: int, first: FeatureRow) -> tuple[h5py.Dataset, h5py.Dataset, h5py.Dataset]:
    regions, dim = first.features.shape
    return (
        hdf5.allocate(file, "features", (n_images, regions, dim), "<f2"),
        hdf5.allocate(file, "boxes", (n_images, regions, 4), "<f4"),
        hdf5.allocate(file, "size", (n_images, 2), "<i4"),
    )


def _check_fits(row: FeatureRow, place: str, first: FeatureRow, first_place: str, places: Mapping[str, str]) -> None:
    if row.features.shape != first.features.shape:
        raise DataError(
            place,
            "{} regions of {} numbers".format(*row.features.shape),
            "{} of {}, as at {}".format(*first.features.shape, first_place),
            "Convert files with one number of regions an image, such as *_obj36.",
        )
    if row.image_id in places:
        raise DataError(
            place, f"{row.image_id} again, after {places[row.image_id]}", "each image once", "Remove one of the two."
        )


def _to_float16(values: np.ndarray, place: str) -> tuple[np.ndarray, tuple[float, float]]:
    """Return `values` (regions, dim) as float16, and the largest absolute and relative error (see ConversionReport)."""
    magnitudes = np.abs(values)
    if magnitudes.max() >= OVERFLOW:
        region, column = np.unravel_index(magnitudes.argmax(), values.shape)
        raise DataError(
            place,
            f"features[{region}, {column}] is {values[region, column]:g}",
            "numbers within ±65504, the range of float16",
            "Scale the features down; LXMERT's are between 0 and 35.",
        )
    half = values.astype("<f2")
    errors = np.abs(values - half)
    return half, (float(errors.max()), float((errors / np.maximum(magnitudes, SMALLEST_NORMAL)).max()))


def _fixed_length(names: Iterable[str]) -> np.ndarray:
    encoded = [name.encode() for name in names]
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", max(map(len, encoded))))

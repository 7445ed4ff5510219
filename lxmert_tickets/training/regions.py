"""Region features and boxes, gathered by row: on the CPU from the file, on a GPU from its memory where they fit."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lxmert_tickets.data.features import Features, check_images_present
from lxmert_tickets.progress import Progress

SHARE_OF_GPU = 0.5
"""Of free GPU memory, for features: the rest is for the network, or for several that share the GPU."""
UPLOAD_BYTES = 2**28  # at a time


Gathers = Callable[[np.ndarray], tuple[Tensor, Tensor]]
"""Takes images by their rows in the file; returns features (B, R, dim) and boxes (B, R, 4), float32 on the device."""


class Regions:
    """The regions of all images of a file, for a device."""

    def __init__(self, features: Features, device: torch.device) -> None:
        self._of_images = features
        self.gather: Gathers = _OnCpu(features) if device.type == "cpu" else _for_gpu(features, device)

    @property
    def path(self) -> Path:
        return self._of_images.path

    @property
    def n_regions(self) -> int:
        return int(self._of_images.features.shape[1])

    @property
    def feature_dim(self) -> int:
        return int(self._of_images.features.shape[2])

    def rows_of(self, image_names: Iterable[str], asked_by: str) -> np.ndarray:
        """Return the rows of images by name; raises DataError, naming `asked_by`, when one has no features."""
        names = list(image_names)
        check_images_present(self._of_images, names, asked_by)
        return np.asarray([self._of_images.row_of[name] for name in names])


class _OnCpu:
    """Gathers from the mapped file."""

    def __init__(self, features: Features) -> None:
        self._features, self._boxes = features.features, features.boxes

    def __call__(self, image_rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self._features[image_rows]).float(), torch.from_numpy(self._boxes[image_rows])


class Resident:
    """Gathers from the memory of the device, to which all features are copied first."""

    def __init__(self, features: Features, device: torch.device) -> None:
        mapped = features.features
        self._features = torch.empty(mapped.shape, dtype=torch.float16, device=device)
        self._boxes = torch.from_numpy(features.boxes).to(device)
        n_at_once = max(1, UPLOAD_BYTES // max(1, mapped[:1].nbytes))
        with Progress(f"{features.path} to the GPU", len(mapped)) as progress:
            for first in range(0, len(mapped), n_at_once):
                block = np.array(mapped[first : first + n_at_once])
                self._features[first : first + n_at_once] = torch.from_numpy(block)
                progress.advance(len(block))

    def __call__(self, image_rows: np.ndarray) -> tuple[Tensor, Tensor]:
        rows = to_device(image_rows, self._features.device)
        return self._features.index_select(0, rows).float(), self._boxes.index_select(0, rows)


class Streamed:
    """Gathers from the mapped file into pinned memory, and copies from there while the GPU computes earlier steps."""

    def __init__(self, features: Features, device: torch.device) -> None:
        self._of_file = features.features, features.boxes
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, image_rows: np.ndarray) -> tuple[Tensor, Tensor]:
        arrays = [mapped[image_rows] for mapped in self._of_file]
        with torch.cuda.stream(self._stream):  # None: no effect
            copied = [to_device(array, self._device) for array in arrays]
        if self._stream is not None:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_stream(self._stream)
            for tensor in copied:
                tensor.record_stream(computing)  # its memory is not reused before `computing` has read it
        features, boxes = copied
        return features.float(), boxes


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Return `array` on the device, without waiting for work that is queued there."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _for_gpu(features: Features, device: torch.device) -> Gathers:
    free_bytes, _ = torch.cuda.mem_get_info(device)
    fits = features.features.nbytes <= SHARE_OF_GPU * free_bytes
    return Resident(features, device) if fits else Streamed(features, device)

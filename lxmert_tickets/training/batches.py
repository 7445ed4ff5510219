"""Encoded questions and region features to batches, by rows: no worker processes, no copies of the feature file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lxmert_tickets.data.features import Features, check_images_present, open_features
from lxmert_tickets.data.questions import EncodedQuestions, load_questions
from lxmert_tickets.seeds import derive_seed


@dataclass(frozen=True)
class Batch:
    """What the network reads: B questions padded to the longest of them, their regions and soft labels."""

    input_ids: Tensor  # int64 (B, T)
    attention_mask: Tensor | None  # bool (B, T), True = a token; None = all are
    features: Tensor  # float32 (B, R, feature_dim)
    boxes: Tensor  # float32 (B, R, 4)

    def inputs(self) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        return self.input_ids, self.attention_mask, self.features, self.boxes


class Regions:
    """Region features and boxes of all images, gathered by row."""

    def __init__(self, features: Features, device: torch.device) -> None:
        self._of_images, self._device = features, device

    @property
    def feature_dim(self) -> int:
        return int(self._of_images.features.shape[2])

    def rows_of(self, image_names: Sequence[str]) -> np.ndarray:
        """Return the rows of images by name; raises DataError when one has no features."""
        check_images_present(self._of_images, image_names)
        return np.asarray([self._of_images.row_of[name] for name in image_names])

    def gather(self, image_rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return features (B, R, dim) and boxes (B, R, 4) of images, as float32 on the device."""
        features = torch.from_numpy(self._of_images.features[image_rows])
        boxes = torch.from_numpy(self._of_images.boxes[image_rows])
        return features.to(self._device).float(), boxes.to(self._device)


def padded(input_ids: np.ndarray, length: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return token ids cut to the longest sentence (B, T), and the attention mask (B, T), None if nothing is padded."""
    longest = int(length.max())
    ids = torch.from_numpy(input_ids[:, :longest].astype(np.int64)).to(device)
    if int(length.min()) == longest:
        return ids, None
    return ids, torch.from_numpy(np.arange(longest) < length[:, None]).to(device)


class VqaData:
    """Questions with their regions and labels, as batches on a device."""

    def __init__(self, questions: EncodedQuestions, features: Features, device: torch.device) -> None:
        self.questions, self.regions, self.device = questions, Regions(features, device), device

    def __len__(self) -> int:
        return len(self.questions)

    def batch(self, rows: np.ndarray) -> Batch:
        """Return the questions `rows`."""
        asked = self.questions
        ids, attention_mask = padded(asked.input_ids[rows], asked.length[rows], self.device)
        return Batch(ids, attention_mask, *self.regions.gather(asked.image_row[rows]))

    def targets(self, rows: np.ndarray) -> Tensor:
        """Return the soft labels (B, answers) of the questions `rows`."""
        return torch.from_numpy(self.questions.targets(rows)).to(self.device)

    def in_order(self, batch_size: int) -> Iterator[np.ndarray]:
        """Yield all rows in order, `batch_size` at a time; the last batch may be smaller."""
        for start in range(0, len(self), batch_size):
            yield np.arange(start, min(start + batch_size, len(self)))

    def shuffled(self, batch_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
        """Yield the rows of one epoch in random order, whole batches only, as LXMERT trains (`drop_last`)."""
        order = np.random.default_rng(derive_seed(seed, "data_order", epoch)).permutation(len(self))
        for start in range(0, len(self) - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


def open_vqa_data(questions: str | Path, features: str | Path, device: torch.device) -> VqaData:
    """Return the encoded questions and the features in two files, as batches on `device`."""
    return VqaData(load_questions(questions), open_features(features), device)

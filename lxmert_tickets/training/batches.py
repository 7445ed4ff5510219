"""Encoded questions and region features to batches, by rows: no worker processes, no copies of the feature file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lxmert_tickets.data.features import open_features
from lxmert_tickets.data.questions import EncodedQuestions, load_questions
from lxmert_tickets.seeds import derive_seed
from lxmert_tickets.training.regions import Regions, to_device

GPU_LENGTH_STEP = 4
"""Tokens; on a GPU questions are padded to a multiple: batches have few shapes, and a CUDA graph is made of each."""


@dataclass(frozen=True)
class Batch:
    """What the network reads: B questions, and the regions of each, or of the U images that they are about."""

    input_ids: Tensor  # int64 (B, T)
    attention_mask: Tensor | None  # bool (B, T), True = a token; None = all are
    features: Tensor  # float32 (B or U, R, feature_dim)
    boxes: Tensor  # float32 (B or U, R, 4)
    image_of: Tensor | None = None  # int64 (B), the image of each question; None = each has its own

    def inputs(self) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor | None]:
        return self.input_ids, self.attention_mask, self.features, self.boxes, self.image_of


def padded(input_ids: np.ndarray, length: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return token ids cut to the longest sentence (B, T), and the attention mask (B, T), None if nothing is padded.

    On a GPU, T is a multiple of GPU_LENGTH_STEP or all there is, and there always is an attention mask.
    """
    longest = int(length.max())
    if device.type != "cpu":
        longest = min(-(-longest // GPU_LENGTH_STEP) * GPU_LENGTH_STEP, input_ids.shape[1])
    elif int(length.min()) == longest:
        return torch.from_numpy(input_ids[:, :longest].astype(np.int64)), None
    ids = to_device(input_ids[:, :longest].astype(np.int64), device)
    return ids, to_device(np.arange(longest) < length[:, None], device)


class VqaData:
    """Questions with their regions and labels, as batches on a device."""

    def __init__(self, questions: EncodedQuestions, regions: Regions, device: torch.device) -> None:
        self.questions, self.regions, self.device = questions, regions, device

    def __len__(self) -> int:
        return len(self.questions)

    def batch(self, rows: np.ndarray) -> Batch:
        """Return the questions `rows`, each with regions of its own."""
        asked = self.questions
        ids, attention_mask = padded(asked.input_ids[rows], asked.length[rows], self.device)
        return Batch(ids, attention_mask, *self.regions.gather(asked.image_row[rows]))

    def batch_by_image(self, rows: np.ndarray) -> Batch:
        """Return the questions `rows`, with the regions of each image once."""
        asked = self.questions
        ids, attention_mask = padded(asked.input_ids[rows], asked.length[rows], self.device)
        images, image_of = np.unique(asked.image_row[rows], return_inverse=True)
        return Batch(ids, attention_mask, *self.regions.gather(images), to_device(image_of, self.device))

    def targets(self, rows: np.ndarray) -> Tensor:
        """Return the soft labels (B, answers) of the questions `rows`."""
        return to_device(self.questions.targets(rows), self.device)

    def by_image(self, batch_size: int) -> Iterator[np.ndarray]:
        """Yield all rows, questions about an image together; the last batch may be smaller."""
        order = np.argsort(self.questions.image_row, kind="stable")
        for start in range(0, len(self), batch_size):
            yield order[start : start + batch_size]

    def shuffled(self, batch_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
        """Yield the rows of one epoch in random order, whole batches only, as LXMERT trains (`drop_last`)."""
        order = np.random.default_rng(derive_seed(seed, "data_order", epoch)).permutation(len(self))
        for start in range(0, len(self) - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


def open_vqa_data(
    questions: str | Path, features: str | Path, device: torch.device, like: VqaData | None = None
) -> VqaData:
    """Return the encoded questions and the features in two files, as batches on `device`.

    Regions of the same file are those of `like`, where it is given: a GPU holds them once.
    """
    opened = open_features(features)
    shared = like is not None and like.regions.path == opened.path
    return VqaData(load_questions(questions), like.regions if like and shared else Regions(opened, device), device)

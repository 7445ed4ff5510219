"""Batches of encoded questions and region features, by row: no worker processes, no copies of the feature file."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lxmert_tickets.artifacts import REMAKE
from lxmert_tickets.data.features import open_features
from lxmert_tickets.data.questions import EncodedQuestions, load_questions
from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.model.places import rows_for
from lxmert_tickets.seeds import derive_seed
from lxmert_tickets.training.regions import Regions, to_device

GPU_ROWS_STEP = 64
"""On a GPU, a batch's tokens are packed into a multiple of this many rows: each number of rows has its CUDA graph."""


class Batch(NamedTuple):
    """The network's inputs: B questions, and the regions of each, or of the U images that they are about."""

    input_ids: Tensor  # int64 (B, T)
    attention_mask: Tensor | None  # bool (B, T), True = a token; None = all are
    features: Tensor  # float32 (B or U, R, feature_dim)
    boxes: Tensor  # float32 (B or U, R, 4)
    image_of: Tensor | None = None  # int64 (B), the image of each question; None = each has its own
    n_rows: int | None = None  # that the tokens are packed into; None = the network decides

    def copy(self) -> "Batch":
        """Return a copy with tensors of its own."""
        return Batch._make(each.clone() if isinstance(each, Tensor) else each for each in self)


def padded(input_ids: np.ndarray, length: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return token ids cut to the longest sentence (B, T), and the attention mask (B, T), None if nothing is padded.

    On a GPU nothing is cut, and there is always an attention mask, so that all batches have one shape.
    """
    longest = int(length.max())
    if device.type != "cpu":
        longest = input_ids.shape[1]
    elif int(length.min()) == longest:
        return torch.from_numpy(input_ids[:, :longest].astype(np.int64)), None
    ids = to_device(input_ids[:, :longest].astype(np.int64), device)
    return ids, to_device(np.arange(longest) < length[:, None], device)


def n_rows_on(device: torch.device, length: np.ndarray) -> int | None:
    """Return how many rows questions of these lengths are packed into; None on the CPU: the network counts them."""
    return None if device.type == "cpu" else rows_for(int(length.sum()), GPU_ROWS_STEP)


class VqaData:
    """Questions with their regions and labels, as batches on a device."""

    def __init__(self, questions: EncodedQuestions, regions: Regions, device: torch.device) -> None:
        self.questions, self.regions, self.device = questions, regions, device

    def __len__(self) -> int:
        return len(self.questions)

    def batch(self, rows: np.ndarray) -> Batch:
        """Return the questions `rows`, each with regions of its own."""
        asked = self.questions
        length = asked.length[rows]
        read = padded(asked.input_ids[rows], length, self.device)
        return Batch(*read, *self.regions.gather(asked.image_row[rows]), n_rows=n_rows_on(self.device, length))

    def batch_by_image(self, rows: np.ndarray) -> Batch:
        """Return the questions `rows`, with the regions of each image once."""
        asked = self.questions
        length = asked.length[rows]
        read = padded(asked.input_ids[rows], length, self.device)
        images, image_of = np.unique(asked.image_row[rows], return_inverse=True)
        seen = *self.regions.gather(images), to_device(image_of, self.device)
        return Batch(*read, *seen, n_rows_on(self.device, length))

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
    questions: str | Path, features: str | Path, device: torch.device, vocab_size: int, like: VqaData | None = None
) -> VqaData:
    """Return the encoded questions and the features in two files, as batches on `device`.

    `vocab_size` is the network's. If `like` reads the same feature file, its regions are reused: a GPU holds them once.

    Raises ArtifactError when a file is damaged, or a question is about an image without features or has a token
    outside the vocabulary.
    """
    opened, asked = open_features(features), load_questions(questions)
    strange = asked.input_ids[(asked.input_ids < 0) | (asked.input_ids >= vocab_size)]
    if strange.size:
        found = f"a question has token number {strange[0]}, and the network has 0..{vocab_size - 1}"
        raise ArtifactError(questions, found, "questions encoded with its tokenizer", REMAKE)
    n_images, last = len(opened.features), int(asked.image_row.max(initial=-1))
    if last >= n_images:
        found = f"a question is about image {last + 1}, and {features} has {n_images}"
        raise ArtifactError(questions, found, "questions encoded for these features", REMAKE)
    shared = like is not None and like.regions.path == opened.path
    return VqaData(asked, like.regions if like and shared else Regions(opened, device), device)

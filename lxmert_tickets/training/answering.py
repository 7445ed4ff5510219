"""A network's answers."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lxmert_tickets.model.lowered import using
from lxmert_tickets.model.lxmert import LxmertForVqa
from lxmert_tickets.training.batches import VqaData
from lxmert_tickets.training.device import Precision, autocast, lowered_for

BATCH_SIZE, BATCH_SIZE_ON_GPU = 256, 1024
"""Most questions at once; more on a GPU, which would otherwise wait for Python."""
LARGEST_BYTES = 2**26
"""Largest tensor on the CPU: 256 questions to LXMERT base fill 113 MB, and 128 at once are answered some 5 % faster."""


@torch.inference_mode()
def answers(network: LxmertForVqa, data: VqaData, precision: Precision) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Yield the rows of a batch, the index of each best answer (B) and its probability (B).

    Questions about an image come together, and what depends on the image alone is computed once: on VQA v2, five
    questions share an image.
    """
    network.eval()
    device = next(network.parameters()).device
    lowered = lowered_for(network, precision)
    if lowered is not None:
        lowered.refresh()
    for rows in data.by_image(batch_size(network, data)):
        with autocast(device, precision), using(lowered):
            logits = network(*data.batch_by_image(rows))
        best, chosen = logits.float().max(dim=1)  # not after the sigmoid: it rounds large ones to the same number
        yield rows, chosen, best.sigmoid()


def batch_size(network: LxmertForVqa, data: VqaData) -> int:
    """Return how many questions are answered at once, at least 1.

    Batches fit in memory, and are of nearly equal size.
    """
    largest = BATCH_SIZE_ON_GPU
    if data.device.type == "cpu":
        bytes_each = 4 * data.regions.n_regions * network.architecture.intermediate_size
        largest = min(BATCH_SIZE, max(1, LARGEST_BYTES // bytes_each))
    n_batches = max(1, -(-len(data) // largest))
    return max(1, -(-len(data) // n_batches))


def answer_all(network: LxmertForVqa, data: VqaData, precision: Precision) -> tuple[np.ndarray, np.ndarray]:
    """Return the label, int64 (n), and the probability, float32 (n), of the best answer to every question of `data`."""
    given = list(answers(network, data, precision))
    label, probability = np.zeros(len(data), np.int64), np.zeros(len(data), np.float32)
    for rows, chosen, score in given:
        label[rows], probability[rows] = chosen.cpu(), score.cpu()
    return label, probability

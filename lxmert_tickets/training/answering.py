"""What a network answers."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lxmert_tickets.model.lxmert import LxmertForVqa
from lxmert_tickets.training.batches import VqaData
from lxmert_tickets.training.device import Precision, autocast

BATCH_SIZE = 128


@torch.inference_mode()
def answers(network: LxmertForVqa, data: VqaData, precision: Precision) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Yield the rows of a batch, the index of each best answer (B) and its probability (B).

    Questions about an image come together, and what the network makes of the image alone is computed once: on VQA v2
    five questions share one.
    """
    network.eval()
    device = next(network.parameters()).device
    for rows in data.by_image(BATCH_SIZE):
        with autocast(device, precision):
            logits = network(*data.batch_by_image(rows).inputs())
        score, chosen = logits.float().sigmoid().max(dim=1)
        yield rows, chosen, score


def answer_all(network: LxmertForVqa, data: VqaData, precision: Precision) -> tuple[np.ndarray, np.ndarray]:
    """Return the label, int64 (n), and the probability, float32 (n), of the best answer to every question of `data`."""
    given = list(answers(network, data, precision))
    label, probability = np.zeros(len(data), np.int64), np.zeros(len(data), np.float32)
    for rows, chosen, score in given:
        label[rows], probability[rows] = chosen.cpu(), score.cpu()
    return label, probability

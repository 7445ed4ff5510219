"""What a network answers."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lxmert_tickets.model.lxmert import LxmertForVqa
from lxmert_tickets.training.batches import VqaData
from lxmert_tickets.training.device import Precision, autocast

BATCH_SIZE = 256


@torch.inference_mode()
def answers(network: LxmertForVqa, data: VqaData, precision: Precision) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Yield the rows of a batch, the index of each best answer (B) and its probability (B), in order of `data`."""
    network.eval()
    device = next(network.parameters()).device
    for rows in data.in_order(BATCH_SIZE):
        with autocast(device, precision):
            logits = network(*data.batch(rows).inputs())
        score, chosen = logits.float().sigmoid().max(dim=1)
        yield rows, chosen, score


def answer_all(network: LxmertForVqa, data: VqaData, precision: Precision) -> tuple[np.ndarray, np.ndarray]:
    """Return the label (n) and the probability, float32 (n), of the best answer to every question of `data`."""
    parts = [(chosen.cpu(), score.cpu()) for _, chosen, score in answers(network, data, precision)]
    return (
        torch.cat([chosen for chosen, _ in parts]).numpy(),
        torch.cat([score for _, score in parts]).numpy(),
    )

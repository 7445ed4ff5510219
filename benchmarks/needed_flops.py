"""The FLOPs that training and evaluation need at least: matrix products of our network, without padding.

Counted by torch on the meta device, where tensors have shapes but no data. FLOPs of anything but matrix products
(LayerNorm, GELU, softmax, dropout, the optimiser) are left out, so a floor based on these is a lower bound.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.made_up_data import QUESTIONS_PER_IMAGE, sizes
from lxmert_tickets.data.questions import load_questions
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.checkpoints import load_weights
from lxmert_tickets.model.lxmert import LxmertForVqa, vqa_loss

COUNTED = (4, 12, 20)  # tokens


def training_flops(architecture: Architecture, n_tokens: int, n_regions: int) -> int:
    """Return the FLOPs of one question's forward and backward pass."""
    network, inputs = _network_and_inputs(architecture, n_tokens, n_regions)
    with FlopCounterMode(display=False) as counter:
        logits = network.train()(*inputs)
        vqa_loss(logits, torch.zeros_like(logits)).backward()
    return int(counter.get_total_flops())


def answering_flops(architecture: Architecture, n_tokens: int, n_regions: int, n_questions: int = 1) -> int:
    """Return the FLOPs of answering `n_questions` about one image."""
    network, inputs = _network_and_inputs(architecture, n_tokens, n_regions, n_questions)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(*inputs)
    return int(counter.get_total_flops())


def vision_flops(architecture: Architecture, n_regions: int) -> int:
    """Return the part of `answering_flops` that is independent of the question: needed once per image."""
    one, two = (answering_flops(architecture, 2, n_regions, n_questions) for n_questions in (1, 2))
    return 2 * one - two


def _network_and_inputs(
    architecture: Architecture, n_tokens: int, n_regions: int, n_questions: int = 1
) -> tuple[LxmertForVqa, tuple[torch.Tensor, None, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Return the network, and questions about one image."""
    with torch.device("meta"):
        ids, image_of = torch.zeros(n_questions, n_tokens, dtype=torch.int64), torch.zeros(n_questions).long()
        features, boxes = torch.zeros(1, n_regions, architecture.feature_dim), torch.zeros(1, n_regions, 4)
        return LxmertForVqa(architecture), (ids, None, features, boxes, image_of)


def mean_flops(
    flops_of: Callable[[Architecture, int, int], int], architecture: Architecture, lengths: np.ndarray, n_regions: int
) -> float:
    """Return the mean of `flops_of` over questions of these `lengths`, in tokens.

    FLOPs are at most quadratic in tokens, so counting three lengths gives all.
    """
    quadratic = np.polyfit(COUNTED, [flops_of(architecture, length, n_regions) for length in COUNTED], deg=2)
    return float(np.polyval(quadratic, lengths).mean())


def count(folder: str, name: str) -> dict[str, float]:
    """Return the mean FLOPs of a question of the data in `folder`, by kind of work."""
    files, n_regions = Path(folder), sizes()[name].n_regions
    _, architecture = load_weights(files / "start.safetensors")

    def mean(split: str, flops_of: Callable[[Architecture, int, int], int]) -> float:
        return mean_flops(flops_of, architecture, load_questions(files / f"{split}.h5").length, n_regions)

    again = vision_flops(architecture, n_regions) * (1 - 1 / QUESTIONS_PER_IMAGE)
    return {"train": mean("train", training_flops), "evaluate": mean("evaluate", answering_flops) - again}


CONTENDERS = {"count": count}

"""Networks from weights: built, filled and checked."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from lxmert_tickets.errors import ArtifactError, listed
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.lxmert import LxmertForVqa

SHOWN = 5  # names listed in an error


def build_network(
    weights: Mapping[str, np.ndarray],
    architecture: Architecture,
    *,
    hidden_dropout: float = 0.0,
    attention_dropout: float = 0.0,
    place: str | Path = "weights",
) -> LxmertForVqa:
    """Return the network of `architecture` with a copy of `weights`, on the CPU.

    Raises ArtifactError, naming `place` and the tensors, when names, shapes or types differ from the network's.
    """
    network = LxmertForVqa(architecture, hidden_dropout=hidden_dropout, attention_dropout=attention_dropout)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    wrong = [f"{name} is missing" for name in expected if name not in weights]
    wrong += [f"{name} is unknown" for name in weights if name not in expected]
    wrong += [
        f"{name} is {weights[name].shape}, not {shape}"
        for name, shape in expected.items()
        if name in weights and weights[name].shape != shape
    ]
    wrong += [
        f"{name} is {weights[name].dtype}, not float32"
        for name in expected
        if name in weights and weights[name].dtype != np.float32
    ]
    if wrong:
        raise ArtifactError(place, listed(wrong, SHOWN), f"the {len(expected)} tensors of {architecture}")
    network.load_state_dict({name: torch.from_numpy(weights[name]) for name in expected})
    return network

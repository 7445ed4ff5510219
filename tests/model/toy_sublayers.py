"""Sublayers of random weights, and rows for them, on any device."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from toys import CPU

from lxmert_tickets.model import operators
from lxmert_tickets.model.places import Places
from lxmert_tickets.model.sublayers import Attending, Feeding, make_neighbours

H, HEADS = 48, 3  # heads of 16, which the GPU kernels accept


def rows(n: int, width: int = H, seed: int = 0, device: torch.device = CPU) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)).to(device).requires_grad_()


def linear(n_inputs: int, n_outputs: int, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(n_inputs, n_outputs)


def norm() -> nn.LayerNorm:
    layer = nn.LayerNorm(H, eps=0.1)  # other than the default
    torch.manual_seed(1)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


def attending(dropouts: tuple[float, float] = (0.0, 0.0), device: torch.device = CPU) -> Attending:
    query, key, value, dense = (linear(H, H, seed).to(device) for seed in range(4))
    make_neighbours([query, key, value])
    return Attending((query, key, value), dense, norm().to(device), HEADS, dropouts)


def feeding(dropout: float = 0.0, device: torch.device = CPU) -> Feeding:
    return Feeding(linear(H, 20).to(device), linear(20, H).to(device), norm().to(device), dropout)


def sublayers(inputs: Sequence[Tensor], every: Sequence[Places], parts: Sequence[Any]) -> Sequence[Tensor]:
    """Return what `operators.sublayers` does, by the implementation for `inputs`."""
    return operators.together(lambda *given: operators.sublayers(given, every, parts), every, HEADS, *inputs)


def one_way(inputs: Sequence[Tensor], every: Sequence[Places], part: Attending) -> Sequence[Tensor]:
    """Return what `operators.one_way` does, by the implementation for `inputs`: rows and context."""
    return operators.together(lambda *given: [operators.one_way(*given, *every, part)], every, HEADS, *inputs)


def are_tokens(places: Places) -> Tensor:
    """Return which rows are not padding: bool (n)."""
    if places.present is None:
        return torch.ones(places.n_rows, dtype=torch.bool)
    return places.pack(places.present.flatten())


def gradients_of(output: Tensor, inputs: Sequence[Tensor], gradient: Tensor) -> list[Tensor]:
    """Return the gradients of `inputs`, given that of `output`; parameters get theirs only from `backward`."""
    for tensor in inputs:
        tensor.grad = None
    output.backward(gradient)
    return [tensor.grad for tensor in inputs if tensor.grad is not None]

"""A network's parameters in the precision of matrix products, all cast at once.

Autocast launches a kernel to cast each weight, and another to cast each gradient back.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from lxmert_tickets.model.sublayers import joined


class Lowered:
    """Copies of all parameters of a network, as they were at the last `refresh`, or as an optimiser keeps them."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        self._stored = _storages(network)
        self._low = {address: torch.empty_like(stored, dtype=dtype) for address, stored in self._stored.items()}

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the parameters' current values; they must not have moved in memory."""
        torch._foreach_copy_(list(self._low.values()), list(self._stored.values()))

    def __call__(self, parameter: Tensor) -> Tensor:
        """Return the copy of `parameter`; adjacent parameters have adjacent copies."""
        low = self._low[parameter.untyped_storage().data_ptr()]
        return low.as_strided(parameter.shape, parameter.stride(), parameter.storage_offset())


def _storages(network: nn.Module) -> dict[int, Tensor]:
    """Return the parameters' storages, each as a one-dimensional tensor, by address."""
    found: dict[int, Tensor] = {}
    for parameter in network.parameters():
        storage = parameter.untyped_storage()
        if storage.data_ptr() not in found:
            found[storage.data_ptr()] = parameter.data.new_empty(0).set_(storage)
    return found


_in_use: ContextVar[Lowered | None] = ContextVar("_in_use", default=None)


@contextmanager
def using(lowered: Lowered | None) -> Iterator[None]:
    """Make forward passes of its network read from `lowered`; with None, each weight is cast when it is used."""
    before = _in_use.set(lowered)
    try:
        yield
    finally:
        _in_use.reset(before)


def low(parameters: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Return weights or biases concatenated, as `dtype`; adjacent ones are joined without a copy."""
    lowered = _in_use.get()
    return joined(parameters).to(dtype) if lowered is None else joined([lowered(each) for each in parameters])

"""The parts of an attention or feed-forward sublayer, its LayerNorm included."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Attending:
    """An attention sublayer: projections to queries, keys and values, and the end of the sublayer."""

    projections: tuple[nn.Linear, nn.Linear, nn.Linear]
    dense: nn.Linear
    norm: nn.LayerNorm
    n_heads: int
    dropouts: tuple[float, float]  # of the output, of attention weights
    # The addresses of parameters when they were joined, and the result; by the first parameter and their number.
    _joined: dict[tuple[int, int], tuple[list[int], Tensor]] = field(default_factory=dict, init=False, repr=False)

    @property
    def drops(self) -> bool:
        """Whether anything is dropped."""
        return any(self.dropouts)

    def parameters(self) -> list[Tensor]:
        """Return weight and bias of queries, keys, values and the dense layer; gain and shift."""
        return parameters_of([*self.projections, self.dense, self.norm])

    def joined(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return `joined(parameters)`, of weights or biases of projections; cached if they are adjacent in memory."""
        where = [parameter.data_ptr() for parameter in parameters]
        key = id(parameters[0]), len(where)
        known = self._joined.get(key)
        if known is None or known[0] != where:
            whole = joined(parameters)
            if whole.data_ptr() != where[0]:
                return whole  # a copy, which would not follow their updates
            known = self._joined[key] = where, whole
        return known[1]


@dataclass(frozen=True, eq=False)
class Feeding:
    """A feed-forward sublayer: two dense layers with an erf-GELU between them, and the end of the sublayer."""

    inner: nn.Linear
    dense: nn.Linear
    norm: nn.LayerNorm
    dropout: float

    @property
    def drops(self) -> bool:
        """Whether anything is dropped."""
        return self.dropout > 0

    def parameters(self) -> list[Tensor]:
        """Return weight and bias of both dense layers; gain and shift."""
        return parameters_of([self.inner, self.dense, self.norm])


def parameters_of(layers: Iterable[nn.Module]) -> list[Tensor]:
    """Return weight and bias of each of `layers`, without the slow attribute access of `nn.Module`."""
    return [parameter for layer in layers for parameter in layer._parameters.values()]  # type: ignore[misc]


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Return `tensors` concatenated, without a copy where they are adjacent in memory."""
    first = tensors[0]
    if len(tensors) == 1:
        return first
    ends = itertools.accumulate(tensor.nbytes for tensor in tensors)
    if all(tensor.data_ptr() == first.data_ptr() + end for tensor, end in zip(tensors[1:], ends, strict=False)):
        rows = sum(tensor.shape[0] for tensor in tensors)
        whole = first.storage_offset() + rows * first.stride(0) <= first.untyped_storage().nbytes() // first.itemsize
        if whole:
            return first.as_strided((rows, *first.shape[1:]), first.stride())
    return torch.cat(list(tensors))


def make_neighbours(layers: Sequence[nn.Linear]) -> None:
    """Make the weights of `layers` adjacent in memory, and their biases, so that `joined` does not copy them."""
    for parameters in ([layer.weight for layer in layers], [layer.bias for layer in layers]):
        joined = torch.cat([parameter.data for parameter in parameters])
        for parameter, part in zip(parameters, joined.chunk(len(layers)), strict=True):
            parameter.data = part

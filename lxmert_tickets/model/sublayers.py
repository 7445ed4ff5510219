"""What a sublayer is made of: an attention or a feed-forward sublayer, up to its LayerNorm."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Attending:
    """What attends: projections to queries, keys and values, and the end of the sublayer."""

    projections: tuple[nn.Linear, nn.Linear, nn.Linear]
    dense: nn.Linear
    norm: nn.LayerNorm
    n_heads: int
    dropouts: tuple[float, float]  # of the output, of attention weights
    # Where parameters were when they were joined, and what that gave; by the first one and their number.
    _joined: dict[tuple[int, int], tuple[list[int], Tensor]] = field(default_factory=dict, init=False, repr=False)

    @property
    def drops(self) -> bool:
        """Whether anything is dropped."""
        return any(self.dropouts)

    def parameters(self) -> list[Tensor]:
        """Return weight and bias of queries, keys, values and the dense layer; gain and shift."""
        return parameters_of([*self.projections, self.dense, self.norm])

    def joined(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return `joined(parameters)`, of weights or biases of projections; what lies side by side is joined once."""
        where = [parameter.data_ptr() for parameter in parameters]
        key = id(parameters[0]), len(where)
        known = self._joined.get(key)
        if known is None or known[0] != where:
            whole = joined(parameters)
            if whole.data_ptr() != where[0]:
                return whole  # a copy, that would not follow what they become
            known = self._joined[key] = where, whole
        return known[1]


@dataclass(frozen=True, eq=False)
class Feeding:
    """What feeds forward: two dense layers with an erf-GELU between them, and the end of the sublayer."""

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
    """Return weight and bias of each of `layers`: as `layer.weight` does, but `nn.Module` takes its time for that."""
    return [parameter for layer in layers for parameter in layer._parameters.values()]  # type: ignore[misc]


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Return `tensors` one after the other: without a copy where that is how they are in memory."""
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
    """Put the weights of `layers` one after the other in memory, and their biases: products then join no copies."""
    for parameters in ([layer.weight for layer in layers], [layer.bias for layer in layers]):
        joined = torch.cat([parameter.data for parameter in parameters])
        for parameter, part in zip(parameters, joined.chunk(len(layers)), strict=True):
            parameter.data = part

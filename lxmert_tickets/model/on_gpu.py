"""The functions of `operators` on a GPU, with their gradients by hand, in float32 or under autocast.

Between matrix products there is one kernel (`gpu_kernels`). Products take their factors in the precision of autocast;
rows between sublayers, sums, and the gradients of weights are float32: products give the latter so, where autocast
casts each by itself, as it does each weight (see `lowered`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lxmert_tickets.model import gpu_kernels as kernels
from lxmert_tickets.model.lowered import low as low_of
from lxmert_tickets.model.places import Places

DEVICE = torch.device("cuda")
LEAST_SHARED_BYTES = 48 * 1024  # that a program may have on any GPU
SEEDS = 3  # of a sublayer's dropouts: of the attention weights of each stream, and of the output
Saved = tuple[Any, ...]  # what a gradient needs


def takes(rows: Tensor, every: Sequence[Places], n_heads: Sequence[int]) -> bool:
    """Return whether the functions of this module may be applied to `rows` (n, H), with attention of so many heads."""
    properties = torch.cuda.get_device_properties(rows.device)
    shared_bytes: int = getattr(properties, "shared_memory_per_block_optin", LEAST_SHARED_BYTES)  # AMD's have none
    itemsize, longest = _dtype_of_products(rows).itemsize, max((places.n_places for places in every), default=1)
    widths = [rows.shape[1] // n for n in n_heads]
    fit = [kernels.shared_bytes(longest, width, itemsize) <= shared_bytes for width in widths]
    return rows.dtype == torch.float32 and all(fit) and all(kernels.takes_heads_of(width) for width in widths)


def try_out() -> None:
    """Launch a kernel; raises whatever keeps it from being compiled and run."""
    row, seed = torch.ones(1, 16, device=DEVICE), torch.zeros(1, dtype=torch.int64, device=DEVICE)
    kernels.end(row, row, row[0], row[0], 1.0, seed, 0.5)[0].sum().item()


def _dtype_of_products(rows: Tensor) -> torch.dtype:
    device = rows.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32


def _of_weight(gradient: Tensor, inputs: Tensor) -> Tensor:
    """Return the gradient (outputs, inputs), float32, of a dense layer's weight."""
    if gradient.dtype == torch.float32:
        return torch.mm(gradient.t(), inputs)
    if gradient.device.type == "cuda":
        return torch.mm(gradient.t(), inputs, out_dtype=torch.float32)
    return torch.mm(gradient.t().float(), inputs.float())


def _of_projections(gradient: Tensor, inputs: Tensor, n: int) -> list[Tensor]:
    """Return the gradients of each weight and bias, from that of what the `n` of them project side by side."""
    weights, biases = _of_weight(gradient, inputs).chunk(n), gradient.sum(dim=0, dtype=torch.float32).chunk(n)
    return [part for both in zip(weights, biases, strict=True) for part in both]


def through(rows: Tensor, sublayers: Sequence["Attention | FeedForward"], parameters: Sequence[Tensor]) -> Tensor:
    """Return rows after sublayers one after the other, whose parameters are joined."""
    return Sublayers.apply(rows, sublayers, *parameters)  # type: ignore[no-any-return, no-untyped-call]


class Sublayers(torch.autograd.Function):
    """Sublayers one after the other: rows (n, H) float32, then the parameters of each."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sublayers: Sequence["Attention | FeedForward"], *parameters: Tensor) -> Tensor:
        rows = rows.contiguous()  # as kernels expect
        low = rows.to(_dtype_of_products(rows))
        seeds = torch.split(_seeds(rows.device, SEEDS * len(sublayers)), SEEDS)
        ctx.done, first = [], 0
        with torch.autocast(rows.device.type, enabled=False):
            for sublayer, seed in zip(sublayers, seeds, strict=True):
                own = parameters[first : first + sublayer.n_parameters]
                rows, low, saved = sublayer.forward(rows, low, own, seed)
                ctx.done.append((sublayer, saved))
                first += sublayer.n_parameters
        return rows

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_parameters: list[Tensor] = []
        of_rows, of_low = gradient.contiguous(), None
        while ctx.done:  # what is saved goes as it is used
            sublayer, saved = ctx.done.pop()
            of_rows, of_low, of_own = sublayer.backward(of_rows, of_low, saved)
            of_parameters[:0] = of_own
        return of_rows if of_low is None else of_rows + of_low, None, *of_parameters


@dataclass(frozen=True)
class Attention:
    """Projections, attention within one stream or from each of two to the other, and the end of the sublayer.

    Parameters: weight and bias of queries, keys, values and the dense layer; gain and shift.
    """

    every: tuple[Places, ...]
    n_heads: int
    dropouts: tuple[float, float]  # of the output, of attention weights
    eps: float
    n_parameters = 10

    def forward(
        self, rows: Tensor, low: Tensor, parameters: Sequence[Tensor], seeds: Tensor
    ) -> tuple[Tensor, Tensor, Saved]:
        weight = low_of(parameters[:6:2], low.dtype)
        projected = torch.addmm(low_of(parameters[1:6:2], low.dtype), low, weight.t())
        projected, rows = (_to_apart(shared, self.every) for shared in (projected, rows))
        attended = _for_rows(projected, rows.shape[1], self.every)
        every_heads = self._heads(seeds)
        for (at, q, k, v), heads in zip(_parts(projected, self.every), every_heads, strict=True):
            kernels.attend(q, k, v, attended[at], heads)
        output, output_low, of_end = _closed(attended, rows, parameters[6:], self.eps, seeds[2:], self.dropouts[0])
        return output, output_low, (low, weight, projected, every_heads, of_end)

    def backward(self, of_rows: Tensor, of_low: Tensor | None, saved: Saved) -> tuple[Tensor, Tensor, list[Tensor]]:
        low, weight, projected, every_heads, of_end = saved
        of_attended, of_residual, of_parameters = _closed_backward(of_rows, of_low, of_end, self.dropouts[0])
        of_projected = _for_rows(projected, projected.shape[1], self.every)
        for (at, q, k, v), (_, of_q, of_k, of_v), heads in zip(
            _parts(projected, self.every), _parts(of_projected, self.every), every_heads, strict=True
        ):
            kernels.attend_backward(of_attended[at], q, k, v, of_q, of_k, of_v, heads)
        of_projected, of_residual = (_from_apart(apart, self.every) for apart in (of_projected, of_residual))
        return of_residual, torch.mm(of_projected, weight), [*_of_projections(of_projected, low, 3), *of_parameters]

    def _heads(self, seeds: Tensor) -> list[kernels.Heads]:
        apart = [places.apart for places in self.every]
        return [
            _heads_of(own, other, self.n_heads, seeds[number:], self.dropouts[1])
            for number, (own, other) in enumerate(zip(apart, apart[::-1], strict=True))
        ]


def _parts(projected: Tensor, every: Sequence[Places]) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Yield, for each stream that attends: its rows; its queries, and keys and values of what it attends to."""
    ends = [0, every[0].apart.n_rows, projected.shape[0]]
    rows = [slice(*pair) for pair in pairwise(ends)][: len(every)]
    q, k, v = projected.chunk(3, dim=1)
    for own, other in zip(rows, rows[::-1], strict=True):
        yield own, q[own], k[other], v[other]


@dataclass(frozen=True)
class FeedForward:
    """The feed-forward sublayer. Parameters: weight and bias of both dense layers; gain and shift."""

    dropout: float
    eps: float
    n_parameters = 6

    def forward(
        self, rows: Tensor, low: Tensor, parameters: Sequence[Tensor], seeds: Tensor
    ) -> tuple[Tensor, Tensor, Saved]:
        weight = low_of(parameters[:1], low.dtype)
        inner = torch.addmm(low_of(parameters[1:2], low.dtype), low, weight.t())
        output, output_low, of_end = _closed(F.gelu(inner), rows, parameters[2:], self.eps, seeds[2:], self.dropout)
        return output, output_low, (low, inner, weight, of_end)

    def backward(self, of_rows: Tensor, of_low: Tensor | None, saved: Saved) -> tuple[Tensor, Tensor, list[Tensor]]:
        low, inner, weight, of_end = saved
        of_hidden, of_residual, of_parameters = _closed_backward(of_rows, of_low, of_end, self.dropout)
        of_inner = torch.ops.aten.gelu_backward.default(of_hidden, inner)
        return of_residual, torch.mm(of_inner, weight), [*_of_projections(of_inner, low, 1), *of_parameters]


class OneWay(torch.autograd.Function):
    """Attention from one stream, that goes on, to another. Parameters are those of `Attention`."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, context: Tensor, of_rows: Places, of_context: Places, n_heads: int,
        dropouts: tuple[float, float], eps: float, *parameters: Tensor,
    ) -> Tensor:  # fmt: skip
        rows, dtype = rows.contiguous(), _dtype_of_products(rows)
        low, context_low, seeds = rows.to(dtype), context.to(dtype), _seeds(rows.device, SEEDS)
        to_q, to_kv = low_of(parameters[:1], dtype), low_of(parameters[2:6:2], dtype)
        with torch.autocast(rows.device.type, enabled=False):
            q = torch.addmm(low_of(parameters[1:2], dtype), low, to_q.t())
            kv = torch.addmm(low_of(parameters[3:6:2], dtype), context_low, to_kv.t())
            kv, heads = of_context.to_apart(kv), _heads_of(of_rows, of_context.apart, n_heads, seeds, dropouts[1])
            attended = _for_rows(low, rows.shape[1], [of_rows])
            kernels.attend(q, *_halves(kv), attended, heads)
            output, _, of_end = _closed(attended, rows, parameters[6:], eps, seeds[2:], dropouts[0])
        ctx.saved = low, context_low, to_q, to_kv, q, kv, heads, of_end
        ctx.every, ctx.dropout = (of_rows, of_context), dropouts[0]
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (low, context_low, to_q, to_kv, q, kv, heads, of_end), ctx.saved = ctx.saved, None
        of_attended, of_residual, of_parameters = _closed_backward(gradient.contiguous(), None, of_end, ctx.dropout)
        of_q, of_kv = (_for_rows(part, part.shape[1], [own]) for part, own in zip((q, kv), ctx.every, strict=True))
        kernels.attend_backward(of_attended, q, *_halves(kv), of_q, *_halves(of_kv), heads)
        of_kv = ctx.every[1].from_apart(of_kv)
        of_projections = [*_of_projections(of_q, low, 1), *_of_projections(of_kv, context_low, 2)]
        of_residual.add_(torch.mm(of_q, to_q))
        of_its_context = torch.mm(of_kv, to_kv).float()
        return of_residual, of_its_context, *[None] * 5, *of_projections, *of_parameters


def _halves(kv: Tensor) -> tuple[Tensor, Tensor]:
    keys, values = kv.chunk(2, dim=1)
    return keys, values


def _heads_of(own: Places, other: Places, n_heads: int, seed: Tensor, dropout: float) -> kernels.Heads:
    """Return where attention from `own` places to `other` ones finds its rows."""
    return kernels.Heads(own.sequences(seed.device), other.sequences(seed.device), n_heads, seed, dropout)


def _for_rows(like: Tensor, width: int, every: Sequence[Places]) -> Tensor:
    """Return rows (n, `width`), as many as of `like`, for kernels to write: 0 where there are rows of no sequence."""
    make = like.new_empty if all(places.present is None for places in every) else like.new_zeros
    return make(like.shape[0], width)


def _to_apart(rows: Tensor, every: Sequence[Places]) -> Tensor:
    """Return the rows of all streams, repeated where sequences share them."""
    if all(places.source is None for places in every):
        return rows
    parts = torch.split(rows, [places.n_rows for places in every])
    return torch.cat([places.to_apart(part) for part, places in zip(parts, every, strict=True)])


def _from_apart(gradient: Tensor, every: Sequence[Places]) -> Tensor:
    """Return the gradient of rows, from that of what `_to_apart` makes of them."""
    if all(places.source is None for places in every):
        return gradient
    parts = torch.split(gradient, [places.apart.n_rows for places in every])
    return torch.cat([places.from_apart(part) for part, places in zip(parts, every, strict=True)])


def _seeds(device: torch.device, n: int) -> Tensor:
    """Return `n` seeds, int64, for dropout in kernels; torch's generator of the device draws them."""
    return torch.randint(2**31, (n,), device=device)


def _closed(
    hidden: Tensor, residual: Tensor, parameters: Sequence[Tensor], eps: float, seed: Tensor, dropout: float
) -> tuple[Tensor, Tensor, Saved]:
    """Return LayerNorm(residual + dropout(dense(hidden))) in both precisions, and what its gradient needs."""
    weight, (gain, shift) = low_of(parameters[:1], hidden.dtype), parameters[2:]
    dense = torch.addmm(low_of(parameters[1:2], hidden.dtype), hidden, weight.t())
    output, low, means, inverse_deviations = kernels.end(dense, residual, gain, shift, eps, seed, dropout)
    return output, low, (hidden, weight, dense, residual, gain, means, inverse_deviations, seed)


def _closed_backward(
    of_output: Tensor, of_low: Tensor | None, saved: Saved, dropout: float
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return the gradients of hidden, of the residual, and of weight, bias, gain and shift."""
    hidden, weight, dense, residual, gain, means, inverse_deviations, seed = saved
    of_dense, of_residual, (of_gain, of_shift, of_bias) = kernels.end_backward(
        of_output, of_low, dense, residual, gain, means, inverse_deviations, seed, dropout
    )
    of_parameters = [_of_weight(of_dense, hidden), of_bias, of_gain, of_shift]
    return torch.mm(of_dense, weight), of_residual, of_parameters

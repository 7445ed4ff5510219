"""What the layers compute: projections, attention, feed-forward. Each exists three times, with the same numbers.

The plain way is torch's own operators; it runs anywhere, under autocast and in float64. The fast ways run on the CPU in
float32 (`model.on_cpu`), and on a GPU in float32 and under autocast (`model.on_gpu`).
"""

import logging
from collections.abc import Iterable, Sequence
from functools import cache
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lxmert_tickets.model import on_cpu
from lxmert_tickets.model.places import Places

log = logging.getLogger("lxmert_tickets")


def engine_of(rows: Tensor, every: Sequence[Places], n_heads: Sequence[int]) -> ModuleType | None:
    """Return the module that computes sublayers of `rows` (n, H), whose attention has so many heads; None: plainly."""
    if on_cpu.takes(rows):
        return on_cpu
    on_gpu = _on_gpu() if rows.device.type == "cuda" else None
    return on_gpu if on_gpu is not None and on_gpu.takes(rows, every, n_heads) else None


@cache
def _on_gpu() -> ModuleType | None:
    """Return `model.on_gpu`; None where its kernels do not work: they take Triton, which takes a C compiler."""
    try:
        from lxmert_tickets.model import on_gpu

        on_gpu.try_out()
    except Exception as error:  # whatever it is, torch's own operators give the same numbers
        log.warning("kernels for this GPU cannot be made, so training is slower: %s", error)
        return None
    return on_gpu


def project(rows: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Return what `layers` make of `rows` (n, inputs), side by side: (n, sum of outputs)."""
    if on_cpu.takes(rows):
        return on_cpu.Project.apply(rows, *_parameters(layers))  # type: ignore[no-any-return, no-untyped-call]
    projected = [layer(rows) for layer in layers]
    return torch.cat(projected, dim=1) if len(projected) > 1 else projected[0]


def make_neighbours(layers: Sequence[nn.Linear]) -> None:
    """Put the weights of `layers` one after the other in memory, and their biases: `project` then joins no copies."""
    for parameters in ([layer.weight for layer in layers], [layer.bias for layer in layers]):
        joined = torch.cat([parameter.data for parameter in parameters])
        for parameter, part in zip(parameters, joined.chunk(len(layers)), strict=True):
            parameter.data = part


class Attending(NamedTuple):
    """What attends: projections to queries, keys and values, and the end of the sublayer."""

    projections: tuple[nn.Linear, nn.Linear, nn.Linear]
    dense: nn.Linear
    norm: nn.LayerNorm
    n_heads: int
    dropouts: tuple[float, float]  # of the output, of attention weights

    def parameters(self) -> list[Tensor]:
        return _parameters([*self.projections, self.dense, self.norm])


class Feeding(NamedTuple):
    """What feeds forward: two dense layers with an erf-GELU between them, and the end of the sublayer."""

    inner: nn.Linear
    dense: nn.Linear
    norm: nn.LayerNorm
    dropout: float

    def parameters(self) -> list[Tensor]:
        return _parameters([self.inner, self.dense, self.norm])


def sublayers(rows: Tensor, every: tuple[Places, ...], parts: Sequence[Attending | Feeding]) -> Tensor:
    """Return the rows (n, H) of a stream after each of `parts` in turn.

    Attention is within the stream; of two streams, which share all weights, it is from each to the other: `rows`
    (n + m, H) are then those of both, in the places of `every`. Sequences that share rows have their own afterwards.
    """
    engine = engine_of(rows, every, [part.n_heads for part in parts if isinstance(part, Attending)])
    if engine is not None:
        fast = [_fast(part, every, engine) for part in parts]
        return engine.through(rows, fast, [p for part in parts for p in part.parameters()])  # type: ignore[no-any-return]
    for part in parts:
        rows = _attended(rows, every, part) if isinstance(part, Attending) else _fed_forward(rows, part)
    return rows


def one_way(rows: Tensor, context: Tensor, of_rows: Places, of_context: Places, part: Attending) -> Tensor:
    """Return the rows (n, H) of a stream after attention to another, `context` (m, H), which stays as it is."""
    engine = engine_of(rows, (of_rows, of_context), [part.n_heads])
    if engine is not None:
        return engine.OneWay.apply(  # type: ignore[no-any-return]
            rows, context, of_rows, of_context, part.n_heads, part.dropouts, part.norm.eps, *part.parameters()
        )
    queries, projected = project(rows, part.projections[:1]), project(context, part.projections[1:])
    attended = _attend(queries, projected, of_rows, of_context, part.n_heads, part.dropouts[1])
    return _end(attended, rows, part.dense, part.norm, part.dropouts[0])


def _fast(part: Attending | Feeding, every: tuple[Places, ...], engine: ModuleType) -> object:
    if isinstance(part, Attending):
        return engine.Attention(every, part.n_heads, part.dropouts, part.norm.eps)
    return engine.FeedForward(part.dropout, part.norm.eps)


def _attended(rows: Tensor, every: tuple[Places, ...], part: Attending) -> Tensor:
    sizes = [places.n_rows for places in every]
    queries = torch.split(project(rows, part.projections[:1]), sizes)
    context = torch.split(project(rows, part.projections[1:]), sizes)
    attended = [
        _attend(own, other, places, of_other, part.n_heads, part.dropouts[1])
        for own, other, places, of_other in zip(queries, context[::-1], every, every[::-1], strict=True)
    ]
    apart = [places.to_apart(own) for own, places in zip(torch.split(rows, sizes), every, strict=True)]
    return _end(torch.cat(attended), torch.cat(apart), part.dense, part.norm, part.dropouts[0])


def _attend(
    queries: Tensor, context: Tensor, of_queries: Places, of_context: Places, n_heads: int, dropout: float
) -> Tensor:
    """Return the rows (n, H) of multi-head attention from projected `queries` (n, H) to keys and values (m, 2H)."""
    keys, values = context.chunk(2, dim=1)
    present = of_context.present
    attended = F.scaled_dot_product_attention(
        of_queries.heads(queries, n_heads),
        of_context.heads(keys, n_heads),
        of_context.heads(values, n_heads),
        attn_mask=None if present is None else present[:, None, None, :],
        dropout_p=dropout,
    )
    return of_queries.pack(attended.transpose(1, 2).reshape(-1, queries.shape[1]))


def _fed_forward(rows: Tensor, part: Feeding) -> Tensor:
    return _end(F.gelu(part.inner(rows)), rows, part.dense, part.norm, part.dropout)


def _end(hidden: Tensor, residual: Tensor, dense: nn.Linear, norm: nn.LayerNorm, dropout: float) -> Tensor:
    """Return LayerNorm(residual + dropout(dense(hidden))), rows (n, H): how a sublayer ends."""
    return norm(F.dropout(dense(hidden), dropout) + residual)  # type: ignore[no-any-return]


def _parameters(layers: Iterable[nn.Module]) -> list[Tensor]:
    """Return weight and bias of each of `layers`: as `layer.weight` does, but `nn.Module` takes its time for that."""
    return [parameter for layer in layers for parameter in layer._parameters.values()]  # type: ignore[misc]

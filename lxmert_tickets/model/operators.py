"""What the layers compute: projections, attention, and how a sublayer ends. Each exists twice, with the same numbers.

The plain way is torch's own operators; it runs on a GPU, under autocast and in float64. The fast way runs on the CPU
in float32 (see `model.on_cpu`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lxmert_tickets.model import on_cpu
from lxmert_tickets.model.places import Places


def project(rows: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Return what `layers` make of `rows` (n, inputs), side by side: (n, sum of outputs)."""
    if on_cpu.takes(rows):
        return on_cpu.project(rows, layers)
    return torch.cat([layer(rows) for layer in layers], dim=1)


def make_neighbours(layers: Sequence[nn.Linear]) -> None:
    """Put the weights of `layers` one after the other in memory, and their biases: `project` then joins no copies."""
    for parameters in ([layer.weight for layer in layers], [layer.bias for layer in layers]):
        joined = torch.cat([parameter.data for parameter in parameters])
        for parameter, part in zip(parameters, joined.chunk(len(layers)), strict=True):
            parameter.data = part


def attend(
    queries: Tensor, context: Tensor, of_queries: Places, of_context: Places, n_heads: int, dropout: float
) -> Tensor:
    """Return the rows (n, H) of multi-head attention, each sequence's queries to its context, not to its padding.

    Args:
        queries: projected rows (n, H), in the places that `of_queries` says.
        context: keys and values (m, 2H), in those of `of_context`.
        dropout: probability that an attention weight becomes 0.
    """
    if on_cpu.takes(queries):
        return on_cpu.attend(queries, context, of_queries, of_context, n_heads, dropout)
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


def self_attend(projected: Tensor, places: Places, n_heads: int, dropout: float) -> Tensor:
    """Return the rows (n, H) of attention within a stream; `projected` (n, 3H) are queries, keys and values."""
    if on_cpu.takes(projected):
        return on_cpu.self_attend(projected, places, n_heads, dropout)
    queries, context = _apart(projected)
    return attend(queries, context, places, places, n_heads, dropout)


def cross_attend(projected: Tensor, places_of_both: tuple[Places, Places], n_heads: int, dropout: float) -> Tensor:
    """Return the rows (n + m, H) of attention from each of two streams to the other.

    `projected` (n + m, 3H) are the queries, keys and values of the n rows of one and the m rows of the other.
    """
    if on_cpu.takes(projected):
        return on_cpu.cross_attend(projected, places_of_both, n_heads, dropout)
    one, other = places_of_both
    queries, context = _apart(projected)
    queries_of_one, queries_of_other = torch.split(queries, [one.n_rows, other.n_rows])
    one_as_context, other_as_context = torch.split(context, [one.n_rows, other.n_rows])
    return torch.cat(
        [
            attend(queries_of_one, other_as_context, one, other, n_heads, dropout),
            attend(queries_of_other, one_as_context, other, one, n_heads, dropout),
        ]
    )


def residual_output(hidden: Tensor, residual: Tensor, dense: nn.Linear, norm: nn.LayerNorm, dropout: float) -> Tensor:
    """Return LayerNorm(residual + dropout(dense(hidden))), rows (n, H): how a sublayer ends."""
    if on_cpu.takes(hidden):
        return on_cpu.residual_output(hidden, residual, dense, norm, dropout)
    return norm(F.dropout(dense(hidden), dropout) + residual)  # type: ignore[no-any-return]


def feed_forward(rows: Tensor, inner: nn.Linear, dense: nn.Linear, norm: nn.LayerNorm, dropout: float) -> Tensor:
    """Return LayerNorm(rows + dropout(dense(gelu(inner(rows))))), rows (n, H)."""
    if on_cpu.takes(rows):
        return on_cpu.feed_forward(rows, inner, dense, norm, dropout)
    return residual_output(F.gelu(inner(rows)), rows, dense, norm, dropout)


def _apart(projected: Tensor) -> tuple[Tensor, Tensor]:
    width = projected.shape[1] // 3
    return projected[:, :width], projected[:, width:]

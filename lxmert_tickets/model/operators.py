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
        return on_cpu.Project.apply(rows, *_parameters(layers))  # type: ignore[no-any-return, no-untyped-call]
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
        return on_cpu.Attend.apply(queries, context, of_queries, of_context, n_heads, dropout)  # type: ignore[no-any-return, no-untyped-call]
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


def attention_sublayer(
    rows: Tensor,
    places_of_each: tuple[Places, ...],
    projections: Sequence[nn.Linear],
    dense: nn.Linear,
    norm: nn.LayerNorm,
    n_heads: int,
    dropouts: tuple[float, float],
) -> Tensor:
    """Return the rows of attention within one stream, or from each of two to the other, after its residual output.

    Args:
        rows: (n, H) of one stream, or (n + m, H) of two, which share all weights.
        projections: to queries, keys and values.
        dropouts: of the output, and of attention weights.
    """
    if on_cpu.takes(rows):
        parameters = _parameters([*projections, dense, norm])
        return on_cpu.AttentionSublayer.apply(rows, places_of_each, n_heads, dropouts, norm.eps, *parameters)  # type: ignore[no-any-return, no-untyped-call]
    sizes = [places.n_rows for places in places_of_each]
    queries = torch.split(project(rows, projections[:1]), sizes)
    context = torch.split(project(rows, projections[1:]), sizes)
    attended = [
        attend(own, other, places, of_other, n_heads, dropouts[1])
        for own, other, places, of_other in zip(
            queries, context[::-1], places_of_each, places_of_each[::-1], strict=True
        )
    ]
    return residual_output(torch.cat(attended), rows, dense, norm, dropouts[0])


def residual_output(hidden: Tensor, residual: Tensor, dense: nn.Linear, norm: nn.LayerNorm, dropout: float) -> Tensor:
    """Return LayerNorm(residual + dropout(dense(hidden))), rows (n, H): how a sublayer ends."""
    if on_cpu.takes(hidden):
        return on_cpu.ResidualOutput.apply(hidden, residual, *_parameters([dense, norm]), norm.eps, dropout)  # type: ignore[no-any-return, no-untyped-call]
    return norm(F.dropout(dense(hidden), dropout) + residual)  # type: ignore[no-any-return]


def feed_forward(rows: Tensor, inner: nn.Linear, dense: nn.Linear, norm: nn.LayerNorm, dropout: float) -> Tensor:
    """Return LayerNorm(rows + dropout(dense(gelu(inner(rows))))), rows (n, H)."""
    if on_cpu.takes(rows):
        return on_cpu.FeedForward.apply(rows, *_parameters([inner, dense, norm]), norm.eps, dropout)  # type: ignore[no-any-return, no-untyped-call]
    return residual_output(F.gelu(inner(rows)), rows, dense, norm, dropout)


def _parameters(layers: Sequence[nn.Module]) -> list[Tensor]:
    """Return weight and bias of each of `layers`."""
    return [parameter for layer in layers for parameter in (layer.weight, layer.bias)]  # type: ignore[misc]

"""What the layers compute: projections, attention, feed-forward. Each has three equivalent implementations.

The plain one uses torch's own operators and runs anywhere, under autocast and in float64. The fast ones run on the CPU
in float32 (`model.on_cpu`), and on a GPU in float32 and under autocast (`model.on_gpu`).
"""

import logging
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import cache, partial
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lxmert_tickets.jobs.gpus import tells_of_full_memory
from lxmert_tickets.model import by_hand, on_cpu
from lxmert_tickets.model.places import Places, rows_of_each
from lxmert_tickets.model.sublayers import Attending, Feeding

log = logging.getLogger("lxmert_tickets")
Run = Callable[..., Sequence[Tensor]]

# The module that computes what `together` runs; None: the plain implementation.
_engine: ContextVar[ModuleType | None] = ContextVar("_engine")


def engine_of(rows: Tensor, every: Sequence[Places], n_heads: int) -> ModuleType | None:
    """Return the module that computes sublayers of `rows` (n, H) with `n_heads` attention heads; None: torch does."""
    if on_cpu.takes(rows):
        return on_cpu
    on_gpu = _on_gpu() if rows.device.type == "cuda" else None
    return on_gpu if on_gpu is not None and on_gpu.takes(rows, every, n_heads) else None


@cache
def _on_gpu() -> ModuleType | None:
    """Return `model.on_gpu`; None where its kernels do not work: they need Triton, which needs a C compiler."""
    try:
        from lxmert_tickets.model import on_gpu

        on_gpu.try_out()
    except Exception as error:  # torch's own operators train just as well, with other draws of dropout
        if tells_of_full_memory(error):  # others fill the GPU, so training would fail too
            raise
        log.warning("kernels cannot be compiled for this GPU, so torch's own, slower operators compute: %s", error)
        return None
    return on_gpu


def adam_kernels() -> ModuleType | None:
    """Return the module that updates weights on a GPU; None where kernels do not work."""
    on_gpu = _on_gpu()
    return None if on_gpu is None else on_gpu.adam_kernels


def arithmetic_of(device: torch.device) -> str:
    """Return what decides the last digits of a network's numbers on `device`; where it differs, they differ."""
    if device.type == "cuda":
        kernels = "torch's operators" if _on_gpu() is None else "kernels of its own"
        return f"{torch.cuda.get_device_name(device)}, {kernels}"
    if device.type == "cpu":
        but = "" if on_cpu.LEAST_PRODUCTS_OF_INPUTS == on_cpu.LEAST_PRODUCTS else ", but for gradients"
        kind = " ".join(map(str, [torch.backends.cpu.get_cpu_capability(), *on_cpu.processor()]))
        return f"{kind}, oneDNN from {on_cpu.LEAST_PRODUCTS} products on{but}"
    return device.type


def dense(rows: Tensor, layer: nn.Linear) -> Tensor:
    """Return `layer(rows)`, of `rows` (n, inputs)."""
    if on_cpu.takes(rows):
        return on_cpu.Dense.apply(rows, layer.weight, layer.bias)  # type: ignore[no-any-return, no-untyped-call]
    return layer(rows)  # type: ignore[no-any-return]


def together(run: Run, every: Sequence[Places], n_heads: int, *inputs: Tensor) -> Sequence[Tensor]:
    """Return `run(*inputs)`: sublayers of streams in the places of `every`, all computed by one implementation.

    `run` may only call functions of this module on tensors that need a gradient.
    """
    engine = engine_of(inputs[0], every, n_heads)
    chosen = _engine.set(engine)
    try:
        return run(*inputs) if engine is None else by_hand.together(run, *inputs)
    finally:
        _engine.reset(chosen)


def sublayers(
    inputs: Sequence[Tensor], every: Sequence[Places], parts: Sequence[Attending | Feeding]
) -> Sequence[Tensor]:
    """Return the rows (n, H) of a stream, or of two, after each of `parts` in turn.

    A single stream attends to itself; two streams, which share all weights, attend to each other. Sequences that share
    rows have their own afterwards. Raises LookupError outside `together`.
    """
    engine = _engine.get()
    if engine is not None:
        return by_hand.apply(partial(engine.through, every, parts), *inputs)
    rows = torch.cat(list(inputs))
    for part in parts:
        rows = _attended(rows, every, part) if isinstance(part, Attending) else _fed_forward(rows, part)
    return rows_of_each(rows, [places.apart for places in every])


def one_way(rows: Tensor, context: Tensor, of_rows: Places, of_context: Places, part: Attending) -> Tensor:
    """Return the rows (n, H) of a stream after attention to another, `context` (m, H), which is left as it is.

    Raises LookupError outside `together`.
    """
    engine = _engine.get()
    if engine is not None:
        [attended] = by_hand.apply(partial(engine.one_way, of_rows, of_context, part), rows, context)
        return attended
    to_queries, *to_others = part.projections
    attended = _attend(
        to_queries(rows), _side_by_side(context, to_others), of_rows, of_context, part.n_heads, part.dropouts[1]
    )
    return _end(attended, rows, part.dense, part.norm, part.dropouts[0])


select = by_hand.select


def _attended(rows: Tensor, every: Sequence[Places], part: Attending) -> Tensor:
    to_queries, *to_others = part.projections
    queries, context = rows_of_each(to_queries(rows), every), rows_of_each(_side_by_side(rows, to_others), every)
    attended = [
        _attend(own, other, places, of_other, part.n_heads, part.dropouts[1])
        for own, other, places, of_other in zip(queries, context[::-1], every, every[::-1], strict=True)
    ]
    apart = [places.to_apart(own) for own, places in zip(rows_of_each(rows, every), every, strict=True)]
    return _end(torch.cat(attended), torch.cat(apart), part.dense, part.norm, part.dropouts[0])


def _side_by_side(rows: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Return the outputs of `layers` for `rows` (n, inputs), concatenated: (n, sum of outputs)."""
    return torch.cat([layer(rows) for layer in layers], dim=1)


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

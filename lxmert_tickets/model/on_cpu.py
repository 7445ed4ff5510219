"""The functions of `operators` on the CPU in float32, with their gradients by hand.

Where the time went with torch's own, and what is done instead:

- Matrix products. torch's own call MKL; oneDNN, which is in torch too, is up to 10 % faster with large matrices, and
  twice as fast on AMD's processors from Zen 5 on, half of whose vector units MKL leaves idle. torch has no public name
  for it in float32: `mkldnn._linear_pointwise` is what its own compiler emits. torch is pinned; without it, `addmm`
  serves. A call of oneDNN takes 25 µs more than one of MKL, and for a weight's gradient it first copies both factors.
- Attention. torch's fused kernel is made for long sentences: over 12 or 36 keys its bookkeeping costs more than the
  products, and with dropout there is none. Batched products and a softmax of whole-tensor operators are faster.
- Calls. A small network's layer is many operators of some 10 µs; with the gradients of a sublayer by hand they are
  fewer, and some work in place.
- Answering. Nothing is kept for a gradient, so oneDNN's product ends in GELU: 5 % of the time of LXMERT base, most of
  it for fresh memory.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lxmert_tickets.model.places import Places

HAS_ONEDNN = bool(torch._C._has_mkldnn) and hasattr(torch.ops.mkldnn, "_linear_pointwise")
Saved = tuple[Any, ...]  # what a gradient needs
ZEN_5 = 26  # the processor family


def _halved_by_mkl() -> bool:
    """Return whether this is a processor half of whose vector units MKL leaves idle."""
    about = Path("/proc/cpuinfo")
    found = re.search(r"AuthenticAMD\ncpu family\s*: (\d+)", about.read_text()) if about.exists() else None
    return found is not None and int(found[1]) >= ZEN_5


# Multiplications; for less, calling oneDNN takes longer than it saves.
LEAST_PRODUCTS = 3 * 2**20 if _halved_by_mkl() else 2**25
LEAST_PRODUCTS_OF_WEIGHTS = 2**25


def takes(rows: Tensor) -> bool:
    """Return whether the functions of this module may be applied to `rows`."""
    return rows.device.type == "cpu" and rows.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def _product(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return `rows` (n, inputs) times `weight` (outputs, inputs) transposed, plus `bias`."""
    if HAS_ONEDNN and rows.shape[0] * weight.numel() >= LEAST_PRODUCTS:
        return torch.ops.mkldnn._linear_pointwise.default(rows, weight, bias, "none", [], "")  # type: ignore[no-any-return]
    return torch.addmm(bias, rows, weight.t())


def _product_gelu(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return erf-GELU of `_product`, whose own result goes."""
    if HAS_ONEDNN and rows.shape[0] * weight.numel() >= LEAST_PRODUCTS:
        return torch.ops.mkldnn._linear_pointwise.default(rows, weight, bias, "gelu", [], "none")  # type: ignore[no-any-return]
    return torch.ops.aten.gelu_.default(torch.addmm(bias, rows, weight.t()))  # type: ignore[no-any-return]


def _of_inputs(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient (n, inputs) of a dense layer's inputs, from that of its output (n, outputs)."""
    if HAS_ONEDNN and gradient.shape[0] * weight.numel() >= LEAST_PRODUCTS:
        return torch.ops.mkldnn._linear_pointwise.default(gradient, weight.t(), None, "none", [], "")  # type: ignore[no-any-return]
    return torch.mm(gradient, weight)


def _of_dense(gradient: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of a dense layer's weight and bias, from that of its output."""
    if HAS_ONEDNN and gradient.numel() * inputs.shape[1] >= LEAST_PRODUCTS_OF_WEIGHTS:
        of_weight = torch.ops.mkldnn._linear_pointwise.default(gradient.t(), inputs.t(), None, "none", [], "")
    else:
        of_weight = torch.mm(gradient.t(), inputs)
    return of_weight, gradient.sum(dim=0)


class Project(torch.autograd.Function):
    """Linear layers of the same rows: rows, then weight and bias of each."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(rows, *parameters[::2])
        return _product(rows, joined(parameters[::2]), joined(parameters[1::2]))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, *weights = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_rows = _of_inputs(gradient, joined(weights)) if ctx.needs_input_grad[0] else None
        return of_rows, *_of_projections(gradient, rows, len(weights))


def _of_projections(gradient: Tensor, rows: Tensor, n: int) -> list[Tensor]:
    """Return the gradients of each weight and bias, from that of what the `n` of them project side by side."""
    of_weight, of_bias = _of_dense(gradient, rows)
    return [part for both in zip(of_weight.chunk(n), of_bias.chunk(n), strict=True) for part in both]


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


def through(rows: Tensor, sublayers: Sequence["Attention | FeedForward"], parameters: Sequence[Tensor]) -> Tensor:
    """Return rows after sublayers one after the other, with the parameters of all; nothing is kept for no gradient."""
    if torch.is_grad_enabled():
        return Sublayers.apply(rows, sublayers, *parameters)  # type: ignore[no-any-return, no-untyped-call]
    first = 0
    for sublayer in sublayers:
        rows = sublayer.forward(rows, parameters[first : first + sublayer.n_parameters], keep=False)[0]
        first += sublayer.n_parameters
    return rows


class Sublayers(torch.autograd.Function):
    """Sublayers one after the other: for autograd they are one function, each of which costs it 50 µs."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sublayers: Sequence["Attention | FeedForward"], *parameters: Tensor) -> Tensor:
        ctx.done, first = [], 0
        for sublayer in sublayers:
            own = parameters[first : first + sublayer.n_parameters]
            rows, saved = sublayer.forward(rows, own)
            ctx.done.append((sublayer, saved))
            first += sublayer.n_parameters
        return rows

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_parameters: list[Tensor] = []
        while ctx.done:  # what is saved goes as it is used
            sublayer, saved = ctx.done.pop()
            gradient, of_own = sublayer.backward(gradient, saved)
            of_parameters[:0] = of_own
        return gradient, None, *of_parameters


@dataclass(frozen=True)
class Attention:
    """Projections, attention within one stream or from each of two to the other, and the end of the sublayer.

    Where sequences share rows, they share what is projected too, and each has its own rows afterwards.
    Parameters: weight and bias of queries, keys, values and the dense layer; gain and shift.
    """

    every: tuple[Places, ...]
    n_heads: int
    dropouts: tuple[float, float]  # of the output, of attention weights
    eps: float
    n_parameters = 10

    def forward(self, rows: Tensor, parameters: Sequence[Tensor], keep: bool = True) -> tuple[Tensor, Saved]:
        projections, weight = parameters[:6], joined(parameters[:6:2])
        projected = _product(rows, weight, joined(projections[1::2]))
        heads = [places.to_heads(part, 3, self.n_heads) for part, places in _of_each(projected, self.every)]
        attended, of_each = [], []
        for own, other, places, of_context in zip(heads, heads[::-1], self.every, self.every[::-1], strict=True):
            result, needed = _attended(own[0], other[1], other[2], of_context, self.n_heads, self.dropouts[1])
            attended.append(places.to_rows(result[None], self.n_heads))
            of_each.append(needed)
        apart = joined([places.to_apart(part) for part, places in _of_each(rows, self.every)])
        output, of_end = _closed(joined(attended), apart, parameters[6:], self.eps, self.dropouts[0])
        return output, (rows, weight, of_each, of_end)

    def backward(self, gradient: Tensor, saved: Saved) -> tuple[Tensor, list[Tensor]]:
        rows, weight, of_each, of_end = saved
        of_attended, of_rows, of_parameters = _closed_backward(gradient, of_end)
        apart = [places.apart for places in self.every]
        of_heads = [q.new_empty(3, *q.shape) for q, *_ in of_each]
        for (part, places), needed, own, other in zip(
            _of_each(of_attended, apart), of_each, of_heads, of_heads[::-1], strict=True
        ):
            [at_heads] = places.to_heads(part, 1, self.n_heads)
            _attended_backward(at_heads, needed, own[0], other[1], other[2])
        of_projected = joined(
            [
                places.from_apart(places.to_rows(part, self.n_heads))
                for part, places in zip(of_heads, self.every, strict=True)
            ]
        )
        of_rows = joined(
            [places.from_apart(part) for (part, _), places in zip(_of_each(of_rows, apart), self.every, strict=True)]
        )
        of_rows.add_(_of_inputs(of_projected, weight))
        return of_rows, [*_of_projections(of_projected, rows, 3), *of_parameters]


def _of_each(rows: Tensor, every: Sequence[Places]) -> Iterable[tuple[Tensor, Places]]:
    """Return the rows of each stream, and its places."""
    return zip(torch.split_with_sizes(rows, [places.n_rows for places in every]), every, strict=True)


@dataclass(frozen=True)
class FeedForward:
    """The feed-forward sublayer. Parameters: weight and bias of both dense layers; gain and shift."""

    dropout: float
    eps: float
    n_parameters = 6

    def forward(self, rows: Tensor, parameters: Sequence[Tensor], keep: bool = True) -> tuple[Tensor, Saved]:
        if not keep:
            hidden = _product_gelu(rows, parameters[0], parameters[1])
            return _closed(hidden, rows, parameters[2:], self.eps, self.dropout)[0], ()
        inner = _product(rows, parameters[0], parameters[1])
        output, of_end = _closed(F.gelu(inner), rows, parameters[2:], self.eps, self.dropout)
        return output, (rows, inner, parameters[0], of_end)

    def backward(self, gradient: Tensor, saved: Saved) -> tuple[Tensor, list[Tensor]]:
        rows, inner, weight, of_end = saved
        of_hidden, of_rows, of_parameters = _closed_backward(gradient, of_end)
        of_inner = torch.ops.aten.gelu_backward.default(of_hidden, inner)
        of_rows.add_(_of_inputs(of_inner, weight))
        return of_rows, [*_of_dense(of_inner, rows), *of_parameters]


class OneWay(torch.autograd.Function):
    """Attention from one stream, that goes on, to another. Parameters are those of `Attention`."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, context: Tensor, of_rows: Places, of_context: Places, n_heads: int,
        dropouts: tuple[float, float], eps: float, *parameters: Tensor,
    ) -> Tensor:  # fmt: skip
        to_q, to_kv = parameters[0], joined(parameters[2:6:2])
        [q] = of_rows.to_heads(_product(rows, to_q, parameters[1]), 1, n_heads)
        k, v = of_context.to_heads(_product(context, to_kv, joined(parameters[3:6:2])), 2, n_heads)
        attended, needed = _attended(q, k, v, of_context, n_heads, dropouts[1])
        output, of_end = _closed(of_rows.to_rows(attended[None], n_heads), rows, parameters[6:], eps, dropouts[0])
        ctx.saved = rows, context, to_q, to_kv, needed, of_end
        ctx.every, ctx.n_heads = (of_rows, of_context), n_heads
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (rows, context, to_q, to_kv, needed, of_end), ctx.saved = ctx.saved, None
        of_attended, of_rows, of_parameters = _closed_backward(gradient, of_end)
        [at_heads] = ctx.every[0].to_heads(of_attended, 1, ctx.n_heads)
        q, k = needed[:2]
        of_q, of_kv = q.new_empty(1, *q.shape), k.new_empty(2, *k.shape)
        _attended_backward(at_heads, needed, of_q[0], of_kv[0], of_kv[1])
        of_q, of_kv = (
            places.from_apart(places.to_rows(part, ctx.n_heads))
            for places, part in zip(ctx.every, (of_q, of_kv), strict=True)
        )
        of_projections = [*_of_dense(of_q, rows), *_of_projections(of_kv, context, 2)]
        of_rows.add_(_of_inputs(of_q, to_q))
        return of_rows, _of_inputs(of_kv, to_kv), *[None] * 5, *of_projections, *of_parameters


def _attended(
    q: Tensor, k: Tensor, v: Tensor, of_context: Places, n_heads: int, dropout: float
) -> tuple[Tensor, Saved]:
    """Return softmax(q k' / sqrt(width)) v, (B * heads, queries, width), and what its gradient needs."""
    scale, absent = q.shape[2] ** -0.5, of_context.absent(n_heads)
    if absent is None:
        logits = torch.baddbmm(q.new_empty(1), q, k.transpose(1, 2), beta=0, alpha=scale)
    else:
        logits = torch.baddbmm(absent, q, k.transpose(1, 2), alpha=scale)  # (B * heads, queries, keys)
    # torch's softmax is slow where the last dimension is short, or no multiple of the vector width.
    attention = logits.sub_(logits.amax(dim=2, keepdim=True)).exp_()
    attention.div_(attention.sum(dim=2, keepdim=True))
    noise = _noise(attention, dropout)
    attended = torch.bmm(attention if noise is None else attention * noise, v)
    return attended, (q, k, v, attention, noise)


def _attended_backward(gradient: Tensor, saved: Saved, of_q: Tensor, of_k: Tensor, of_v: Tensor) -> None:
    """Write the gradients of queries, keys and values, from that of what `_attended` gave."""
    q, k, v, attention, noise = saved
    torch.bmm((attention if noise is None else attention * noise).transpose(1, 2), gradient, out=of_v)
    of_attention = torch.bmm(gradient, v.transpose(1, 2))
    if noise is not None:
        of_attention.mul_(noise)
    of_logits = of_attention.mul_(attention)
    of_logits.addcmul_(attention, of_logits.sum(dim=2, keepdim=True), value=-1)
    scale = q.shape[2] ** -0.5
    torch.baddbmm(of_q, of_logits, k, beta=0, alpha=scale, out=of_q)
    torch.baddbmm(of_k, of_logits.transpose(1, 2), q, beta=0, alpha=scale, out=of_k)


def _noise(like: Tensor, dropout: float) -> Tensor | None:
    """Return what dropout multiplies with, 0 or 1 / (1 - dropout), as `F.dropout` draws it; None for no dropout."""
    return torch.empty_like(like).bernoulli_(1 - dropout).div_(1 - dropout) if dropout else None


def _closed(
    hidden: Tensor, residual: Tensor, parameters: Sequence[Tensor], eps: float, dropout: float
) -> tuple[Tensor, Saved]:
    """Return LayerNorm(residual + dropout(dense(hidden))), how a sublayer ends, and what its gradient needs."""
    weight, bias, gain, shift = parameters
    summed = _product(hidden, weight, bias)
    noise = _noise(summed, dropout)
    if noise is not None:
        summed.mul_(noise)
    summed.add_(residual)
    output, mean, rstd = torch.native_layer_norm(summed, gain.shape, gain, shift, eps)
    return output, (hidden, weight, noise, summed, mean, rstd, gain, shift)


def _closed_backward(gradient: Tensor, saved: Saved) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return the gradients of hidden, of the residual, and of weight, bias, gain and shift."""
    hidden, weight, noise, summed, mean, rstd, gain, shift = saved
    of_summed, of_gain, of_shift = torch.ops.aten.native_layer_norm_backward(
        gradient.contiguous(), summed, gain.shape, mean, rstd, gain, shift, [True] * 3
    )
    of_dense = of_summed if noise is None else of_summed * noise
    of_weight, of_bias = _of_dense(of_dense, hidden)
    return _of_inputs(of_dense, weight), of_summed, [of_weight, of_bias, of_gain, of_shift]

"""The functions of `operators` on the CPU in float32, with hand-written gradients.

Where torch's own operators lose time, and what is done instead:

- Matrix products. torch calls MKL; oneDNN, which torch includes too, is up to 10 % faster with large matrices, and
  twice as fast on AMD processors from Zen 5 on, half of whose vector units MKL leaves idle. Without AVX-512, though, it
  takes up to twice as long for gradients. torch has no public name for it in float32: `mkldnn._linear_pointwise` is
  what its own compiler emits. torch is pinned; where that is missing, `addmm` is used. A call to oneDNN takes 25 µs
  more than one to MKL, and for a weight's gradient it first copies a factor.
- Attention. torch's fused kernel is made for long sequences: over 12 or 36 keys its bookkeeping costs more than the
  products, and it has no dropout. Batched products are faster, and so is a softmax over whole vectors of keys.
- Calls. A small network's layer is many operators of some 10 µs; with a hand-written gradient for each sublayer there
  are fewer, and some work in place. To autograd, all layers are one function (`by_hand`).
- Answering. Nothing is kept for gradients, so oneDNN's product is fused with GELU: this saves 5 % of the time of LXMERT
  base, most of it on fresh memory.
"""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lxmert_tickets.model.by_hand import Pullback, give, recording
from lxmert_tickets.model.head_layout import layout_of
from lxmert_tickets.model.places import Places, rows_of_each
from lxmert_tickets.model.sublayers import Attending, Feeding, joined

Saved = tuple[Any, ...]  # what a gradient needs
Backward = Callable[[Tensor], tuple[Tensor, list[Tensor]]]  # gradients of rows and parameters, from that of the output
ZEN_5 = 26  # the processor family


def _least_products() -> tuple[float, float, float]:
    """Return from how many multiplications on oneDNN is faster: for a product, an input's gradient and a weight's.

    Measured on Zen 3, which has no AVX-512, Zen 4 and Zen 5.
    """
    if not (torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return math.inf, math.inf, math.inf
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return 2**25, math.inf, math.inf
    vendor, family = processor()
    # There MKL leaves half of the vector units idle.
    small = 3 * 2**20 if vendor == "AuthenticAMD" and family >= ZEN_5 else 2**25
    return small, small, 2**25


def processor() -> tuple[str, int]:
    """Return the vendor and family of an x86 processor, as Linux reports them; "" and 0 where it does not."""
    about = Path("/proc/cpuinfo")
    found = re.search(r"vendor_id\s*: (\w+)\ncpu family\s*: (\d+)", about.read_text()) if about.exists() else None
    return (found[1], int(found[2])) if found else ("", 0)


LEAST_PRODUCTS, LEAST_PRODUCTS_OF_INPUTS, LEAST_PRODUCTS_OF_WEIGHTS = _least_products()


def takes(rows: Tensor) -> bool:
    """Return whether the functions of this module may be applied to `rows`."""
    return rows.device.type == "cpu" and rows.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def _product(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return `rows` (n, inputs) times `weight` (outputs, inputs) transposed, plus `bias`."""
    if rows.shape[0] * weight.numel() >= LEAST_PRODUCTS:
        return torch.ops.mkldnn._linear_pointwise.default(rows, weight, bias, "none", [], "")  # type: ignore[no-any-return]
    return torch.addmm(bias, rows, weight.t())


def _product_gelu(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return erf-GELU of `_product`, whose own result is not kept."""
    if rows.shape[0] * weight.numel() >= LEAST_PRODUCTS:
        return torch.ops.mkldnn._linear_pointwise.default(rows, weight, bias, "gelu", [], "none")  # type: ignore[no-any-return]
    return torch.ops.aten.gelu_.default(torch.addmm(bias, rows, weight.t()))  # type: ignore[no-any-return]


def _of_inputs(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient (n, inputs) of a dense layer's inputs, from that of its output (n, outputs)."""
    if gradient.shape[0] * weight.numel() >= LEAST_PRODUCTS_OF_INPUTS:
        return torch.ops.mkldnn._linear_pointwise.default(gradient, weight.t(), None, "none", [], "")  # type: ignore[no-any-return]
    return torch.mm(gradient, weight)


def _add_of_inputs(to: Tensor, gradient: Tensor, weight: Tensor) -> None:
    """Add `_of_inputs` to `to`."""
    if gradient.shape[0] * weight.numel() >= LEAST_PRODUCTS_OF_INPUTS:
        to.add_(_of_inputs(gradient, weight))
    else:
        to.addmm_(gradient, weight)


def _of_dense(gradient: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of a dense layer's weight and bias, from that of its output."""
    if gradient.numel() * inputs.shape[1] >= LEAST_PRODUCTS_OF_WEIGHTS:
        of_weight = torch.ops.mkldnn._linear_pointwise.default(gradient.t(), inputs.t(), None, "none", [], "")
    else:
        of_weight = torch.mm(gradient.t(), inputs)
    return of_weight, gradient.sum(dim=0)


class Dense(torch.autograd.Function):
    """A dense layer: rows, weight, bias."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _product(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_rows = _of_inputs(gradient, weight) if ctx.needs_input_grad[0] else None
        return of_rows, *_of_dense(gradient, rows)


def _of_projections(gradient: Tensor, rows: Tensor, n: int) -> list[Tensor]:
    """Return the gradients of each of `n` weights and biases, from that of their joint projection."""
    of_weight, of_bias = _of_dense(gradient, rows)
    return [part for both in zip(of_weight.chunk(n), of_bias.chunk(n), strict=True) for part in both]


def through(
    every: Sequence[Places], parts: Sequence[Attending | Feeding], *inputs: Tensor
) -> tuple[Sequence[Tensor], Pullback]:
    """Return the rows of one or two streams after each of the sublayers `parts` in turn, and the pullback."""
    rows, done = joined(inputs), []
    for part in parts:
        own = part.parameters()
        if isinstance(part, Attending):
            rows, backward = _attention(part, own, every, rows)
        else:
            rows, backward = _feed_forward(part, own, rows)
        if recording():
            done.append((own, backward))
        del backward  # frees what it holds, unless recorded

    def pullback(*gradients: Tensor) -> Sequence[Tensor]:
        gradient = joined(gradients)
        while done:  # saved tensors are freed as they are used
            parameters, backward = done.pop()
            gradient, of_parameters = backward(gradient)
            give(parameters, of_parameters)
        return rows_of_each(gradient, every)

    return rows_of_each(rows, [places.apart for places in every]), pullback


def _attention(
    part: Attending, parameters: Sequence[Tensor], every: Sequence[Places], rows: Tensor
) -> tuple[Tensor, Backward]:
    """Return the rows after an attention sublayer, within one stream or from each of two to the other.

    Sequences that share rows share their projections too; each has its own rows afterwards.
    """
    weight = part.joined(parameters[:6:2])
    projected = _product(rows, weight, part.joined(parameters[1:6:2]))
    layouts = [layout_of(places, part.n_heads) for places in every]
    heads = [layout.at_heads(own, "qkv") for own, layout in zip(rows_of_each(projected, every), layouts, strict=True)]
    attended, of_each = [], []
    for own, other, layout, of_context in zip(heads, heads[::-1], layouts, layouts[::-1], strict=True):
        result, needed = _attended(own[0], other[1], other[2], of_context.absent, part.dropouts[1])
        attended.append(layout.to_rows(result, "q"))
        of_each.append(needed)
    apart = [places.to_apart(own) for own, places in zip(rows_of_each(rows, every), every, strict=True)]
    output, end_backward = _closed(joined(attended), joined(apart), parameters[6:], part.norm.eps, part.dropouts[0])

    def backward(gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
        of_attended, of_rows, of_parameters = end_backward(gradient)
        own_rows = [places.apart for places in every]
        of_heads = [layout.empty(of_each[0][0], "qkv") for layout in layouts]
        for of_its, places, needed, (_, own), (_, other) in zip(
            rows_of_each(of_attended, own_rows), own_rows, of_each, of_heads, of_heads[::-1], strict=True
        ):
            [at_heads] = layout_of(places, part.n_heads).at_heads(of_its, "q")
            _attended_backward(at_heads, needed, own[0], other[1], other[2])
        of_projected = joined(
            [
                layout.places.from_apart(layout.to_rows(pieces, "qkv"))
                for layout, (pieces, _) in zip(layouts, of_heads, strict=True)
            ]
        )
        of_residual = joined(
            [places.from_apart(own) for own, places in zip(rows_of_each(of_rows, own_rows), every, strict=True)]
        )
        _add_of_inputs(of_residual, of_projected, weight)
        return of_residual, [*_of_projections(of_projected, rows, 3), *of_parameters]

    return output, backward


def _feed_forward(part: Feeding, parameters: Sequence[Tensor], rows: Tensor) -> tuple[Tensor, Backward]:
    weight, bias = parameters[:2]
    inner = _product(rows, weight, bias) if recording() else None
    hidden = _product_gelu(rows, weight, bias) if inner is None else F.gelu(inner)
    output, end_backward = _closed(hidden, rows, parameters[2:], part.norm.eps, part.dropout)

    def backward(gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
        of_hidden, of_rows, of_parameters = end_backward(gradient)
        of_inner = torch.ops.aten.gelu_backward.default(of_hidden, inner)
        _add_of_inputs(of_rows, of_inner, weight)
        return of_rows, [*_of_dense(of_inner, rows), *of_parameters]

    return output, backward


def one_way(
    of_rows: Places, of_context: Places, part: Attending, rows: Tensor, context: Tensor
) -> tuple[Sequence[Tensor], Pullback]:
    """Return the rows of a stream after attention to another, which is left as it is, and the pullback."""
    parameters, own, other = part.parameters(), layout_of(of_rows, part.n_heads), layout_of(of_context, part.n_heads)
    to_q, to_kv = parameters[0], part.joined(parameters[2:6:2])
    [q] = own.at_heads(_product(rows, to_q, parameters[1]), "q")
    k, v = other.at_heads(_product(context, to_kv, part.joined(parameters[3:6:2])), "kv")
    attended, needed = _attended(q, k, v, other.absent, part.dropouts[1])
    output, end_backward = _closed(own.to_rows(attended, "q"), rows, parameters[6:], part.norm.eps, part.dropouts[0])

    def pullback(gradient: Tensor) -> Sequence[Tensor]:
        of_attended, of_residual, of_parameters = end_backward(gradient)
        [at_heads] = own.at_heads(of_attended, "q")
        of_queries, (of_context_pieces, of_keys_and_values) = torch.empty_like(q), other.empty(k, "kv")
        _attended_backward(at_heads, needed, of_queries, *of_keys_and_values)
        of_q = own.to_rows(of_queries, "q")
        of_kv = of_context.from_apart(other.to_rows(of_context_pieces, "kv"))
        give(parameters, [*_of_dense(of_q, rows), *_of_projections(of_kv, context, 2), *of_parameters])
        _add_of_inputs(of_residual, of_q, to_q)
        return of_residual, _of_inputs(of_kv, to_kv)

    return [output], pullback


def _attended(q: Tensor, k: Tensor, v: Tensor, absent: Tensor | None, dropout: float) -> tuple[Tensor, Saved]:
    """Return softmax(q k' / sqrt(width) + absent) v, (B * heads, queries, width), and what its gradient needs."""
    scale = q.shape[2] ** -0.5
    if absent is None:
        logits = torch.baddbmm(q.new_empty(1), q, k.transpose(1, 2), beta=0, alpha=scale)
    else:
        logits = torch.baddbmm(absent, q, k.transpose(1, 2), alpha=scale)  # (B * heads, queries, keys)
    attention = torch.softmax(logits, dim=2)
    noise = _noise(attention, dropout)
    attended = torch.bmm(attention if noise is None else attention * noise, v)
    return attended, (q, k, v, attention, noise)


def _attended_backward(gradient: Tensor, saved: Saved, of_q: Tensor, of_k: Tensor, of_v: Tensor) -> None:
    """Write the gradients of queries, keys and values, from that of the output of `_attended`."""
    q, k, v, attention, noise = saved
    _transposed_times(attention if noise is None else attention * noise, gradient, 1.0, of_v)
    of_attention = torch.bmm(gradient, v.transpose(1, 2))
    if noise is not None:
        of_attention.mul_(noise)
    of_logits = torch._softmax_backward_data(of_attention, attention, 2, attention.dtype)
    scale = q.shape[2] ** -0.5
    torch.baddbmm(of_q, of_logits, k, beta=0, alpha=scale, out=of_q)
    _transposed_times(of_logits, q, scale, of_k)


def _transposed_times(attention: Tensor, of_queries: Tensor, scale: float, out: Tensor) -> None:
    """Write `attention` (B * heads, queries, keys) transposed, times `of_queries`, times `scale`."""
    if attention.shape[1] == 1:  # as in the last layer, where only [CLS] attends: MKL takes six times as long
        torch.mul(attention.transpose(1, 2), of_queries * scale, out=out)
    else:
        torch.baddbmm(out, attention.transpose(1, 2), of_queries, beta=0, alpha=scale, out=out)


def _noise(like: Tensor, dropout: float) -> Tensor | None:
    """Return the factors of dropout, 0 or 1 / (1 - dropout), drawn as `F.dropout` does; None for no dropout."""
    return torch.empty_like(like).bernoulli_(1 - dropout).div_(1 - dropout) if dropout else None


def _closed(
    hidden: Tensor, residual: Tensor, parameters: Sequence[Tensor], eps: float, dropout: float
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor, list[Tensor]]]]:
    """Return the end of a sublayer, LayerNorm(residual + dropout(dense(hidden))), and its backward function.

    The latter returns the gradients of hidden, of the residual, and of weight, bias, gain and shift.
    """
    weight, bias, gain, shift = parameters
    summed = _product(hidden, weight, bias)
    noise = _noise(summed, dropout)
    if noise is not None:
        summed.mul_(noise)
    summed.add_(residual)
    output, mean, rstd = torch.native_layer_norm(summed, gain.shape, gain, shift, eps)

    def backward(gradient: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        of_summed, of_gain, of_shift = torch.ops.aten.native_layer_norm_backward(
            gradient.contiguous(), summed, gain.shape, mean, rstd, gain, shift, [True] * 3
        )
        of_dense = of_summed if noise is None else of_summed * noise
        of_weight, of_bias = _of_dense(of_dense, hidden)
        return _of_inputs(of_dense, weight), of_summed, [of_weight, of_bias, of_gain, of_shift]

    return output, backward

"""Fused Triton kernels for what a GPU computes between matrix products; torch's CUDA builds include Triton.

With torch's own operators, each is many small kernels. Whatever the tensors' dtype, everything but the factors of
products is computed in float32. Dropout depends only on a seed and a number's position, so that the backward pass can
redraw it and nothing is stored.

Shapes: n rows, H hidden; B sequences, with the first row of each in `starts` int32 (B) and its number of rows in
`lengths` int32 (B). Attention writes no row that is outside all sequences.
"""

import os
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

# On Hopper, use Ampere's matrix instructions: with Triton's bundled assembler (12.8), kernels of this shape have given
# wrong results with asynchronous ones (Triton pull requests 11781 and 11854). Blocks are small here.
os.environ.setdefault("DISABLE_MMA_V3", "1")

PROGRAMS = 512  # that `end_backward` divides the rows among: several per multiprocessor

# Not specialised on the seed's alignment or the number of rows, so that nothing is compiled during a graph capture.
compiled = triton.jit(do_not_specialize=["n_rows", "n_rows_each"], do_not_specialize_on_alignment=["seed"])


@triton.jit
def _four(seed, place):
    """Return four random numbers for each `place`, in two more dimensions: drawing just one takes as long."""
    a, b, c, d = tl.rand4x(tl.load(seed), place)
    return tl.join(tl.join(a, c), tl.join(b, d))


@triton.jit
def _heads_at(pointer, stride, start, n, rows, columns):
    """Return a head's columns of the `n` rows from `start` on, 0 beyond them."""
    at = pointer + (start + rows)[:, None] * stride + columns[None, :]
    return tl.load(at, mask=(rows < n)[:, None], other=0.0)


@triton.jit
def _put_heads_at(pointer, stride, start, n, rows, columns, numbers):
    at = pointer + (start + rows)[:, None] * stride + columns[None, :]
    tl.store(at, numbers.to(pointer.dtype.element_ty), mask=(rows < n)[:, None])


@triton.jit
def _weights(q, k, n_keys, keys, scale):
    """Return softmax(q k' * scale) over the first `n_keys` keys."""
    logits = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
    logits = tl.where((keys < n_keys)[None, :], logits, float("-inf"))
    exponents = tl.exp(logits - tl.max(logits, axis=1)[:, None])
    return exponents / tl.sum(exponents, axis=1)[:, None]


@triton.jit
def _kept_weights(seed, dropout, N_HEADS: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr):
    """Return True for the attention weights of this program's head that dropout keeps."""
    row = (tl.program_id(0) * N_HEADS + tl.program_id(1)) * QUERIES + tl.arange(0, QUERIES)
    drawn = _four(seed, row[:, None] * (KEYS // 4) + tl.arange(0, KEYS // 4)[None, :])
    return tl.reshape(drawn, [QUERIES, KEYS]) >= dropout


@triton.jit
def _kept_columns(seed, row, dropout, COLUMNS: tl.constexpr):
    """Return True for the numbers of a row that dropout keeps."""
    drawn = _four(seed, row * (COLUMNS // 4) + tl.arange(0, COLUMNS // 4))
    return tl.reshape(drawn, [COLUMNS]) >= dropout


@compiled
def _attend(
    q, k, v, attended, q_stride, k_stride, v_stride, attended_stride,
    q_starts, q_lengths, k_starts, k_lengths, seed, scale, dropout,
    N_HEADS: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """One head of one sequence."""
    sequence, head = tl.program_id(0), tl.program_id(1)
    queries, keys, columns = tl.arange(0, QUERIES), tl.arange(0, KEYS), head * WIDTH + tl.arange(0, WIDTH)
    q_start, n_queries = tl.load(q_starts + sequence), tl.load(q_lengths + sequence)
    k_start, n_keys = tl.load(k_starts + sequence), tl.load(k_lengths + sequence)
    at_q = _heads_at(q, q_stride, q_start, n_queries, queries, columns)
    at_k = _heads_at(k, k_stride, k_start, n_keys, keys, columns)
    at_v = _heads_at(v, v_stride, k_start, n_keys, keys, columns)
    weights = _weights(at_q, at_k, n_keys, keys, scale)
    if DROPS:
        weights = tl.where(_kept_weights(seed, dropout, N_HEADS, QUERIES, KEYS), weights / (1 - dropout), 0.0)
    result = tl.dot(weights.to(at_v.dtype), at_v, input_precision="ieee")
    _put_heads_at(attended, attended_stride, q_start, n_queries, queries, columns, result)


@compiled
def _attend_backward(
    of_attended, q, k, v, of_q, of_k, of_v,
    of_attended_stride, q_stride, k_stride, v_stride, of_q_stride, of_k_stride, of_v_stride,
    q_starts, q_lengths, k_starts, k_lengths, seed, scale, dropout,
    N_HEADS: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """One head of one sequence; attention weights are recomputed."""
    sequence, head = tl.program_id(0), tl.program_id(1)
    queries, keys, columns = tl.arange(0, QUERIES), tl.arange(0, KEYS), head * WIDTH + tl.arange(0, WIDTH)
    q_start, n_queries = tl.load(q_starts + sequence), tl.load(q_lengths + sequence)
    k_start, n_keys = tl.load(k_starts + sequence), tl.load(k_lengths + sequence)
    gradient = _heads_at(of_attended, of_attended_stride, q_start, n_queries, queries, columns)
    at_q = _heads_at(q, q_stride, q_start, n_queries, queries, columns)
    at_k = _heads_at(k, k_stride, k_start, n_keys, keys, columns)
    at_v = _heads_at(v, v_stride, k_start, n_keys, keys, columns)
    weights = _weights(at_q, at_k, n_keys, keys, scale)
    of_weights = tl.dot(gradient, tl.trans(at_v), input_precision="ieee")
    dropped = weights
    if DROPS:
        kept = _kept_weights(seed, dropout, N_HEADS, QUERIES, KEYS)
        dropped = tl.where(kept, weights / (1 - dropout), 0.0)
        of_weights = tl.where(kept, of_weights / (1 - dropout), 0.0)
    of_logits = weights * (of_weights - tl.sum(of_weights * weights, axis=1)[:, None]) * scale
    low = of_logits.to(at_q.dtype)
    at_of_v = tl.dot(tl.trans(dropped.to(at_v.dtype)), gradient, input_precision="ieee")
    _put_heads_at(of_v, of_v_stride, k_start, n_keys, keys, columns, at_of_v)
    _put_heads_at(
        of_k, of_k_stride, k_start, n_keys, keys, columns, tl.dot(tl.trans(low), at_q, input_precision="ieee")
    )
    _put_heads_at(of_q, of_q_stride, q_start, n_queries, queries, columns, tl.dot(low, at_k, input_precision="ieee"))


@compiled
def _end(
    hidden, residual, gain, shift, output, low, means, inverse_deviations, seed, width, eps, dropout,
    COLUMNS: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """One row."""
    row, columns = tl.program_id(0), tl.arange(0, COLUMNS)
    place, inside = row * width + columns, columns < width
    summed = tl.load(hidden + place, mask=inside, other=0.0).to(tl.float32)
    if DROPS:
        summed = tl.where(_kept_columns(seed, row, dropout, COLUMNS), summed / (1 - dropout), 0.0)
    summed += tl.load(residual + place, mask=inside, other=0.0)
    mean = tl.sum(summed, axis=0) / width
    centred = tl.where(inside, summed - mean, 0.0)
    inverse_deviation = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / width + eps)
    result = centred * inverse_deviation * tl.load(gain + columns, mask=inside, other=0.0)
    result += tl.load(shift + columns, mask=inside, other=0.0)
    tl.store(output + place, result, mask=inside)
    tl.store(low + place, result.to(low.dtype.element_ty), mask=inside)
    tl.store(means + row, mean)
    tl.store(inverse_deviations + row, inverse_deviation)


@compiled
def _end_backward(
    of_output, of_low, hidden, residual, gain, means, inverse_deviations, of_hidden, of_residual, of_parameters,
    seed, n_rows, n_rows_each, width, dropout,
    COLUMNS: tl.constexpr, DROPS: tl.constexpr, HAS_LOW: tl.constexpr,
):  # fmt: skip
    """Several rows, and their share of the gradients of gain, shift and the dense layer's bias."""
    program, columns = tl.program_id(0), tl.arange(0, COLUMNS)
    inside = columns < width
    scale = tl.load(gain + columns, mask=inside, other=0.0)
    of_gain = tl.zeros([COLUMNS], tl.float32)
    of_shift = tl.zeros([COLUMNS], tl.float32)
    of_bias = tl.zeros([COLUMNS], tl.float32)
    for number in range(n_rows_each):
        row = program * n_rows_each + number
        present = inside & (row < n_rows)
        place = row * width + columns
        gradient = tl.load(of_output + place, mask=present, other=0.0)
        if HAS_LOW:
            gradient += tl.load(of_low + place, mask=present, other=0.0).to(tl.float32)
        summed = tl.load(hidden + place, mask=present, other=0.0).to(tl.float32)
        kept = present
        if DROPS:
            kept = _kept_columns(seed, row, dropout, COLUMNS)
            summed = tl.where(kept, summed / (1 - dropout), 0.0)
        summed += tl.load(residual + place, mask=present, other=0.0)
        mean = tl.load(means + row, mask=row < n_rows, other=0.0)
        inverse_deviation = tl.load(inverse_deviations + row, mask=row < n_rows, other=0.0)
        normal = tl.where(present, (summed - mean) * inverse_deviation, 0.0)
        scaled = gradient * scale
        along = tl.sum(scaled * normal, axis=0) / width
        of_summed = (scaled - tl.sum(scaled, axis=0) / width - normal * along) * inverse_deviation
        tl.store(of_residual + place, of_summed, mask=present)
        if DROPS:
            of_summed = tl.where(kept, of_summed / (1 - dropout), 0.0)
        low = of_summed.to(of_hidden.dtype.element_ty)
        tl.store(of_hidden + place, low, mask=present)
        of_gain += gradient * normal
        of_shift += gradient
        of_bias += tl.where(present, low.to(tl.float32), 0.0)
    at = of_parameters + program * 3 * width + columns
    tl.store(at, of_gain, mask=inside)
    tl.store(at + width, of_shift, mask=inside)
    tl.store(at + 2 * width, of_bias, mask=inside)


Sequences = tuple[Tensor, Tensor, int]
"""Starts and lengths (B), and an upper bound on the lengths."""


class Heads(NamedTuple):
    """Where multi-head attention finds its rows, and what decides its dropout."""

    of_queries: Sequences
    of_keys: Sequences
    n_heads: int
    seed: Tensor  # int64; only its first number is used
    dropout: float

    def arguments(self, rows: Tensor) -> dict[str, Any]:
        """Return the keyword arguments of both kernels, for `rows` such as the queries."""
        (q_starts, q_lengths, longest), (k_starts, k_lengths, longest_context) = self.of_queries, self.of_keys
        width = rows.shape[1]
        return {
            "q_starts": q_starts,
            "q_lengths": q_lengths,
            "k_starts": k_starts,
            "k_lengths": k_lengths,
            "seed": self.seed,
            "scale": (width // self.n_heads) ** -0.5,
            "dropout": self.dropout,
            "N_HEADS": self.n_heads,
            "WIDTH": width // self.n_heads,
            "QUERIES": _block(longest),
            "KEYS": _block(longest_context),
            "DROPS": self.dropout > 0,
            "num_warps": warps(_block(longest), _block(longest_context), rows.itemsize),
        }


def attend(q: Tensor, k: Tensor, v: Tensor, attended: Tensor, heads: Heads) -> None:
    """Write softmax(q k' / sqrt(width)) v of every head to `attended`; all are rows (n or m, H) of any stride."""
    strides = [tensor.stride(0) for tensor in (q, k, v, attended)]
    _attend[_programs(heads)](q, k, v, attended, *strides, **heads.arguments(q))


def attend_backward(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, of_q: Tensor, of_k: Tensor, of_v: Tensor, heads: Heads
) -> None:
    """Write the gradients of `q`, `k` and `v` to `of_q`, `of_k` and `of_v`, from that of what `attend` wrote."""
    tensors = gradient, q, k, v, of_q, of_k, of_v
    strides = [tensor.stride(0) for tensor in tensors]
    _attend_backward[_programs(heads)](*tensors, *strides, **heads.arguments(q))


def warps(queries: int, keys: int, itemsize: int) -> int:
    """Return how many warps compute a head, with numbers of `itemsize` bytes: enough to hold its blocks in registers.

    Four would spill 9 kB per thread to memory in float32 for attention among 64 regions, and 1.7 kB in bfloat16 among
    128. There, sixteen would, too: each then has too few registers.
    """
    if itemsize < 4:
        return 4 if queries * keys < 64 * 128 else 8
    return min(16, max(4, queries * keys // 256))


def takes_heads_of(width: int) -> bool:
    """Return whether heads may have this width: matrix units need at least 16, and Triton a power of two."""
    return width == _block(width)


def shared_bytes(longest: int, width: int, itemsize: int) -> int:
    """Return the most bytes of shared memory that attention takes: in the backward pass over sequences of `longest`.

    It holds four blocks of rows and two of attention weights, with numbers of `itemsize` bytes.
    """
    block = _block(longest)
    return (4 * block * width + 2 * block * block) * itemsize


def _programs(heads: Heads) -> tuple[int, int]:
    return heads.of_queries[0].shape[0], heads.n_heads


def end(
    hidden: Tensor, residual: Tensor, gain: Tensor, shift: Tensor, eps: float, seed: Tensor, dropout: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return LayerNorm(residual + dropout(hidden)), in float32 and as `hidden`; and each row's mean and 1 / deviation.

    `hidden` and `residual` (float32) are rows (n, H).
    """
    n_rows, width = residual.shape
    output, low = torch.empty_like(residual), torch.empty_like(hidden)
    means, inverse_deviations = residual.new_empty(2, n_rows)
    _end[(n_rows,)](
        hidden, residual, gain, shift, output, low, means, inverse_deviations, seed, width, eps, dropout,
        COLUMNS=_block(width), DROPS=dropout > 0,
    )  # fmt: skip
    return output, low, means, inverse_deviations


def end_backward(
    of_output: Tensor, of_low: Tensor | None, hidden: Tensor, residual: Tensor, gain: Tensor, means: Tensor,
    inverse_deviations: Tensor, seed: Tensor, dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of hidden and of residual, and those of gain, shift and the dense layer's bias.

    The latter are partial sums (p, 3, H), to be added up. The gradient of the output is the sum of `of_output`
    (float32) and `of_low`.
    """
    n_rows, width = residual.shape
    of_hidden, of_residual = torch.empty_like(hidden), torch.empty_like(residual)
    n_rows_each = triton.cdiv(n_rows, PROGRAMS)
    n_programs = triton.cdiv(n_rows, n_rows_each)
    of_parameters = residual.new_empty(n_programs, 3, width)
    _end_backward[(n_programs,)](
        of_output, hidden if of_low is None else of_low, hidden, residual, gain, means, inverse_deviations,
        of_hidden, of_residual, of_parameters, seed, n_rows, n_rows_each, width, dropout,
        COLUMNS=_block(width), DROPS=dropout > 0, HAS_LOW=of_low is not None,
    )  # fmt: skip
    return of_hidden, of_residual, of_parameters


def _block(n: int) -> int:
    """Return the size of a block for `n` numbers: a power of two, at least 16 for matrix units."""
    return max(16, int(triton.next_power_of_2(n)))

"""Adam on a GPU in two passes, in Triton: mask and norm of the gradients; then mask, clipping, update and cast.

torch's operators take four: masking each gradient, their norm, the update (which writes clipped gradients back), and
the cast. All tensors of a parameter have one dimension, n numbers. A pruned weight's gradient counts as 0.
"""

from collections.abc import Sequence
from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from lxmert_tickets.model.aside import beside

BLOCK_OF_SQUARES, BLOCK = 4096, 1024


@triton.jit(do_not_specialize_on_alignment=["sums"])
def _squares(gradient, kept, sums, n, BLOCK: tl.constexpr, IS_MASKED: tl.constexpr):
    """The sum of the squares of a block."""
    program = tl.program_id(0)
    at = program * BLOCK + tl.arange(0, BLOCK)
    numbers = tl.load(gradient + at, mask=at < n, other=0.0)
    if IS_MASKED:
        numbers = tl.where(tl.load(kept + at, mask=at < n, other=0) != 0, numbers, 0.0)
    tl.store(sums + program, tl.sum(numbers * numbers, axis=0))


@triton.jit
def _update(
    weights, gradient, exp_avg, exp_avg_sq, kept, low, rate, norm, corrections, n,
    beta1, beta2, rest1, rest2, eps, weight_decay, clip_norm,
    BLOCK: tl.constexpr, IS_MASKED: tl.constexpr, HAS_LOW: tl.constexpr,
):  # fmt: skip
    """One block; `rest1` is 1 - `beta1`, computed before any rounding to float32."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    # NaN must propagate, so that the loss shows it.
    above = tl.maximum(tl.load(norm) / clip_norm, 1.0, propagate_nan=tl.PropagateNan.ALL)
    given = tl.load(gradient + at, mask=inside, other=0.0) / above
    if IS_MASKED:
        given = tl.where(tl.load(kept + at, mask=inside, other=0) != 0, given, 0.0)
    first = beta1 * tl.load(exp_avg + at, mask=inside, other=0.0) + rest1 * given
    second = beta2 * tl.load(exp_avg_sq + at, mask=inside, other=0.0) + rest2 * given * given
    tl.store(exp_avg + at, first, mask=inside)
    tl.store(exp_avg_sq + at, second, mask=inside)
    weight = tl.load(weights + at, mask=inside, other=0.0)
    direction = first / tl.load(corrections) / (tl.sqrt(second / tl.load(corrections + 1)) + eps)
    weight -= tl.load(rate) * (direction + weight_decay * weight)
    tl.store(weights + at, weight, mask=inside)
    if HAS_LOW:
        tl.store(low + at, weight.to(low.dtype.element_ty), mask=inside)


def norm_of(gradients: Sequence[Tensor], every_kept: Sequence[Tensor | None]) -> Tensor:
    """Return the Euclidean norm of all gradients together, float32 (), without pruned weights.

    `every_kept` has a bool tensor for each gradient, True = not pruned; None = none is.
    """
    counts = [triton.cdiv(gradient.numel(), BLOCK_OF_SQUARES) for gradient in gradients]
    sums = gradients[0].new_empty(sum(counts))
    beside(
        partial(
            _squares[(len(of_blocks),)], gradient, _bytes_of(kept, gradient), of_blocks, gradient.numel(),
            BLOCK=BLOCK_OF_SQUARES, IS_MASKED=kept is not None,
        )
        for gradient, kept, of_blocks in zip(gradients, every_kept, torch.split(sums, counts), strict=True)
    )  # fmt: skip
    return sums.sum().sqrt()


def update(
    weights: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, kept: Tensor | None, low: Tensor | None,
    rate: Tensor, norm: Tensor, corrections: Tensor,
    *, betas: tuple[float, float], eps: float, weight_decay: float, clip_norm: float,
) -> None:  # fmt: skip
    """Update weights and moments, float32 (n), in place, and write the weights to `low` in its precision.

    Args:
        kept: bool (n), True = not pruned; None = none is.
        rate: the learning rate, ().
        norm: of all gradients, (); where it exceeds `clip_norm`, they are scaled down to it.
        corrections: the bias corrections, (2), that the two moments are divided by.
    """
    n = weights.numel()
    _update[(triton.cdiv(n, BLOCK),)](
        weights, gradient, exp_avg, exp_avg_sq, _bytes_of(kept, weights), weights if low is None else low,
        rate, norm, corrections, n, *betas, *[1 - beta for beta in betas], eps, weight_decay, clip_norm,
        BLOCK=BLOCK, IS_MASKED=kept is not None, HAS_LOW=low is not None,
    )  # fmt: skip


def try_out(numbers: Tensor, low: Tensor) -> None:
    """Launch both kernels on `numbers`, float32 (n), and `low` (n); raises whatever error a kernel meets."""
    kept = torch.ones_like(numbers, dtype=torch.bool)
    length = norm_of([numbers], [kept])
    weights, exp_avg, exp_avg_sq = (numbers.clone() for _ in range(3))
    update(
        weights, numbers, exp_avg, exp_avg_sq, kept, low, length, length, length.repeat(2),
        betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, clip_norm=1.0,
    )  # fmt: skip
    weights.sum().item()  # waits for it


def _bytes_of(kept: Tensor | None, instead: Tensor) -> Tensor:
    return instead if kept is None else kept.view(torch.uint8)

"""The functions of `operators` on a GPU, with hand-written gradients, in float32 or under autocast.

Between matrix products there is one kernel (`gpu_kernels`). Products take their factors in autocast's precision; rows
between sublayers, sums and weight gradients are float32. Products output weight gradients in float32 directly, where
autocast would cast each one, as it does each weight (see `lowered`). Gradients of parameters are computed on the side
streams of `aside`, where that is in use.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from lxmert_tickets.model import adam_kernels, aside
from lxmert_tickets.model import gpu_kernels as kernels
from lxmert_tickets.model.by_hand import Pullback, give, recording
from lxmert_tickets.model.lowered import low as low_of
from lxmert_tickets.model.places import Places, rows_of_each
from lxmert_tickets.model.sublayers import Attending, Feeding

DEVICE, LOW = torch.device("cuda"), torch.bfloat16
LEAST_SHARED_BYTES = 48 * 1024  # that any GPU allows a program
SEEDS = 3  # for a sublayer's dropout: of the attention weights of each stream, and of the output
OfParameters = Callable[[], list[Tensor]]  # computes their gradients later: nothing may change what it reads
# From the gradient of the output, in two summands (float32, and in the precision of products): those of the inputs, and
# of parameters.
Backward = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor, OfParameters]]


def takes(rows: Tensor, every: Sequence[Places], n_heads: int) -> bool:
    """Return whether the functions of this module may be applied to `rows` (n, H), with `n_heads` attention heads."""
    properties = torch.cuda.get_device_properties(rows.device)
    shared_bytes: int = getattr(properties, "shared_memory_per_block_optin", LEAST_SHARED_BYTES)  # missing on AMD
    itemsize, longest = _dtype_of_products(rows).itemsize, max((places.n_places for places in every), default=1)
    width = rows.shape[1] // n_heads
    fits = kernels.shared_bytes(longest, width, itemsize) <= shared_bytes
    return rows.dtype == torch.float32 and fits and kernels.takes_heads_of(width)


def try_out() -> None:
    """Launch every kernel; raises whatever error one meets in compiling or running."""
    rows, seed = torch.ones(16, 32, device=DEVICE), torch.zeros(1, dtype=torch.int64, device=DEVICE)
    low = rows.to(LOW)
    heads = _heads_of(Places(2, 8), Places(2, 8), 2, seed, 0.5)
    kernels.attend(low, low, low, torch.empty_like(low), heads)
    of_q, of_k, of_v = (torch.empty_like(low) for _ in range(3))
    kernels.attend_backward(low, low, low, low, of_q, of_k, of_v, heads)
    _, _, means, inverse_deviations = kernels.end(low, rows, rows[0], rows[0], 1.0, seed, 0.5)
    kernels.end_backward(rows, low, low, rows, rows[0], means, inverse_deviations, seed, 0.5)
    adam_kernels.try_out(rows.flatten(), low.flatten())


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
    """Return the gradients of each of `n` weights and biases, from that of their joint projection."""
    weights, biases = _of_weight(gradient, inputs).chunk(n), gradient.sum(dim=0, dtype=torch.float32).chunk(n)
    return [part for both in zip(weights, biases, strict=True) for part in both]


def through(
    every: Sequence[Places], parts: Sequence[Attending | Feeding], *inputs: Tensor
) -> tuple[Sequence[Tensor], Pullback]:
    """Return the rows (n, H), float32, of one or two streams after each of `parts` in turn, and the pullback."""
    rows = (inputs[0] if len(inputs) == 1 else torch.cat(inputs)).float().contiguous()  # as kernels expect
    low, done, run = rows.to(_dtype_of_products(rows)), [], aside.runner()
    seeds = torch.split(_seeds(rows.device, SEEDS * len(parts), any(part.drops for part in parts)), SEEDS)
    with torch.autocast(rows.device.type, enabled=False):
        for part, seed in zip(parts, seeds, strict=True):
            own = part.parameters()
            if isinstance(part, Attending):
                rows, low, backward = _attention(part, own, every, rows, low, seed)
            else:
                rows, low, backward = _feed_forward(part, own, rows, low, seed)
            if recording():
                done.append((own, backward))
            del backward  # frees what it holds, unless recorded

    def pullback(*gradients: Tensor) -> Sequence[Tensor]:
        of_rows, of_low = gradients[0].contiguous() if len(gradients) == 1 else torch.cat(gradients), None
        while done:  # saved tensors are freed as they are used; those read aside, at the join
            parameters, backward = done.pop()
            of_rows, of_low, of_parameters = backward(of_rows, of_low)
            run(partial(_give, parameters, of_parameters))
        return rows_of_each(of_rows if of_low is None else of_rows + of_low, every)

    return rows_of_each(rows, [places.apart for places in every]), pullback


def _give(parameters: Sequence[Tensor], of_parameters: OfParameters) -> None:
    """Compute gradients and add them: a function whose `partial` keeps alive what they are computed from."""
    give(parameters, of_parameters())


def _attention(
    part: Attending, parameters: Sequence[Tensor], every: Sequence[Places], rows: Tensor, low: Tensor, seeds: Tensor
) -> tuple[Tensor, Tensor, Backward]:
    """Return the rows, in both precisions, after an attention sublayer, within one stream or between two."""
    weight, dropout = low_of(parameters[:6:2], low.dtype), part.dropouts[0]
    projected = torch.addmm(low_of(parameters[1:6:2], low.dtype), low, weight.t())
    projected, residual = (_to_apart(shared, every) for shared in (projected, rows))
    attended = _for_rows(projected, residual.shape[1], every)
    apart = [places.apart for places in every]
    every_heads = [
        _heads_of(own, other, part.n_heads, seeds[number:], part.dropouts[1])
        for number, (own, other) in enumerate(zip(apart, apart[::-1], strict=True))
    ]
    for (at, q, k, v), heads in zip(_parts(projected, every), every_heads, strict=True):
        kernels.attend(q, k, v, attended[at], heads)
    output, output_low, end_backward = _closed(attended, residual, parameters[6:], part.norm.eps, seeds[2:], dropout)

    def backward(of_rows: Tensor, of_low: Tensor | None) -> tuple[Tensor, Tensor, OfParameters]:
        of_attended, of_residual, of_end = end_backward(of_rows, of_low)
        of_projected = _for_rows(projected, projected.shape[1], every)
        for (at, q, k, v), (_, of_q, of_k, of_v), heads in zip(
            _parts(projected, every), _parts(of_projected, every), every_heads, strict=True
        ):
            kernels.attend_backward(of_attended[at], q, k, v, of_q, of_k, of_v, heads)
        of_projected, of_residual = (_from_apart(gradient, every) for gradient in (of_projected, of_residual))
        return (
            of_residual,
            torch.mm(of_projected, weight),
            lambda: [*_of_projections(of_projected, low, 3), *of_end()],
        )

    return output, output_low, backward


def _parts(projected: Tensor, every: Sequence[Places]) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Yield, for each stream that attends: its rows, its queries, and the keys and values that it attends to."""
    ends = [0, every[0].apart.n_rows, projected.shape[0]]
    rows = [slice(*pair) for pair in pairwise(ends)][: len(every)]
    q, k, v = projected.chunk(3, dim=1)
    for own, other in zip(rows, rows[::-1], strict=True):
        yield own, q[own], k[other], v[other]


def _feed_forward(
    part: Feeding, parameters: Sequence[Tensor], rows: Tensor, low: Tensor, seeds: Tensor
) -> tuple[Tensor, Tensor, Backward]:
    """Return the rows, in both precisions, after a feed-forward sublayer."""
    weight = low_of(parameters[:1], low.dtype)
    inner = torch.addmm(low_of(parameters[1:2], low.dtype), low, weight.t())
    output, output_low, end_backward = _closed(
        F.gelu(inner), rows, parameters[2:], part.norm.eps, seeds[2:], part.dropout
    )

    def backward(of_rows: Tensor, of_low: Tensor | None) -> tuple[Tensor, Tensor, OfParameters]:
        of_hidden, of_residual, of_end = end_backward(of_rows, of_low)
        of_inner = torch.ops.aten.gelu_backward.default(of_hidden, inner)
        return of_residual, torch.mm(of_inner, weight), lambda: [*_of_projections(of_inner, low, 1), *of_end()]

    return output, output_low, backward


def one_way(
    of_rows: Places, of_context: Places, part: Attending, rows: Tensor, context: Tensor
) -> tuple[Sequence[Tensor], Pullback]:
    """Return the rows of a stream after attention to another, which is left as it is, and the pullback."""
    rows, dtype, parameters = rows.float().contiguous(), _dtype_of_products(rows), part.parameters()
    low, context_low, run = rows.to(dtype), context.to(dtype), aside.runner()
    seeds = _seeds(rows.device, SEEDS, part.drops)
    to_q, to_kv = low_of(parameters[:1], dtype), low_of(parameters[2:6:2], dtype)
    with torch.autocast(rows.device.type, enabled=False):
        q = torch.addmm(low_of(parameters[1:2], dtype), low, to_q.t())
        kv = of_context.to_apart(torch.addmm(low_of(parameters[3:6:2], dtype), context_low, to_kv.t()))
        heads = _heads_of(of_rows, of_context.apart, part.n_heads, seeds, part.dropouts[1])
        attended = _for_rows(low, rows.shape[1], [of_rows])
        kernels.attend(q, *_halves(kv), attended, heads)
        output, _, end_backward = _closed(attended, rows, parameters[6:], part.norm.eps, seeds[2:], part.dropouts[0])

    def pullback(gradient: Tensor) -> Sequence[Tensor]:
        of_attended, of_residual, of_end = end_backward(gradient.contiguous(), None)
        of_q, of_kv = (_for_rows(part, part.shape[1], [own]) for part, own in ((q, of_rows), (kv, of_context)))
        kernels.attend_backward(of_attended, q, *_halves(kv), of_q, *_halves(of_kv), heads)
        of_kv = of_context.from_apart(of_kv)

        def of_parameters() -> list[Tensor]:
            return [*_of_projections(of_q, low, 1), *_of_projections(of_kv, context_low, 2), *of_end()]

        run(partial(_give, parameters, of_parameters))
        return of_residual.add_(torch.mm(of_q, to_q)), torch.mm(of_kv, to_kv).float()

    return [output], pullback


def _halves(kv: Tensor) -> tuple[Tensor, Tensor]:
    keys, values = kv.chunk(2, dim=1)
    return keys, values


def _heads_of(own: Places, other: Places, n_heads: int, seed: Tensor, dropout: float) -> kernels.Heads:
    """Return where attention from `own` places to `other` ones finds its rows."""
    return kernels.Heads(own.sequences(seed.device), other.sequences(seed.device), n_heads, seed, dropout)


def _for_rows(like: Tensor, width: int, every: Sequence[Places]) -> Tensor:
    """Return rows (n, `width`), as many as `like`, for kernels to write; zeros if some may belong to no sequence."""
    make = like.new_empty if all(places.present is None for places in every) else like.new_zeros
    return make(like.shape[0], width)


def _to_apart(rows: Tensor, every: Sequence[Places]) -> Tensor:
    """Return the rows of all streams, repeated where sequences share them."""
    if all(places.source is None for places in every):
        return rows
    parts = rows_of_each(rows, every)
    return torch.cat([places.to_apart(part) for part, places in zip(parts, every, strict=True)])


def _from_apart(gradient: Tensor, every: Sequence[Places]) -> Tensor:
    """Return the gradient of rows, from that of `_to_apart` of them."""
    if all(places.source is None for places in every):
        return gradient
    parts = rows_of_each(gradient, [places.apart for places in every])
    return torch.cat([places.from_apart(part) for part, places in zip(parts, every, strict=True)])


def _seeds(device: torch.device, n: int, drops: bool) -> Tensor:
    """Return `n` seeds, int64, for dropout in kernels, drawn by torch's generator of the device.

    Nothing is drawn unless something `drops`: a run interrupted in validation repeats it, and must then resume with the
    generator unchanged.
    """
    return torch.randint(2**31, (n,), device=device) if drops else torch.zeros(n, dtype=torch.int64, device=device)


def _closed(
    hidden: Tensor, residual: Tensor, parameters: Sequence[Tensor], eps: float, seed: Tensor, dropout: float
) -> tuple[Tensor, Tensor, Backward]:
    """Return LayerNorm(residual + dropout(dense(hidden))) in both precisions, and its backward function.

    The latter returns the gradients of hidden, of the residual, and of weight, bias, gain and shift.
    """
    weight, (gain, shift) = low_of(parameters[:1], hidden.dtype), parameters[2:]
    dense = torch.addmm(low_of(parameters[1:2], hidden.dtype), hidden, weight.t())
    output, low, means, inverse_deviations = kernels.end(dense, residual, gain, shift, eps, seed, dropout)

    def backward(of_output: Tensor, of_low: Tensor | None) -> tuple[Tensor, Tensor, OfParameters]:
        of_dense, of_residual, parts = kernels.end_backward(
            of_output, of_low, dense, residual, gain, means, inverse_deviations, seed, dropout
        )

        def of_parameters() -> list[Tensor]:
            of_gain, of_shift, of_bias = parts.sum(dim=0)
            return [_of_weight(of_dense, hidden), of_bias, of_gain, of_shift]

        return torch.mm(of_dense, weight), of_residual, of_parameters

    return output, low, backward

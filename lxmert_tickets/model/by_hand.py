"""Functions with hand-written gradients, and a tape that makes many of them a single function to autograd.

autograd takes some 50 µs for each function written in Python, and 3 µs more for each of its parameters: a twentieth of
a small network's step. So everything between the embeddings and the heads is recorded on one tape.

Such a function returns its outputs and a pullback, which takes the gradients of the outputs, accumulates those of
parameters, and returns those of the inputs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

Tensors = Sequence[Tensor]
Pullback = Callable[..., Tensors]
ByHand = Callable[..., tuple[Tensors, Pullback]]


class Applied(NamedTuple):
    """One application of a function: the `id`s of its inputs and outputs, and the shapes of the outputs."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shapes: tuple[torch.Size, ...]
    pullback: Pullback


class Tape:
    """The functions applied to some inputs, in order."""

    def __init__(self, inputs: Tensors) -> None:
        self._applied: list[Applied] = []
        # Kept alive while recording, so that each `id` is unique.
        self._known = {id(tensor): tensor for tensor in inputs}

    def note(self, inputs: Tensors, outputs: Tensors, pullback: Pullback) -> None:
        """Record that a function was applied; raises RuntimeError when its inputs are not on the tape."""
        if not all(id(tensor) in self._known for tensor in inputs):
            raise RuntimeError(
                "a function with a gradient by hand was given an input made by none: its gradient would be lost"
            )
        self._known.update([(id(tensor), tensor) for tensor in outputs])
        shapes = tuple([output.shape for output in outputs])
        self._applied.append(Applied(tuple(map(id, inputs)), tuple(map(id, outputs)), shapes, pullback))

    def end(self) -> None:
        """Release all tensors that no pullback needs."""
        self._known.clear()

    def backward(self, gradients: dict[int, Tensor]) -> dict[int, Tensor]:
        """Return the gradients of the inputs from those of the outputs, both by `id`; works only once."""
        while self._applied:  # popping frees what a pullback holds
            inputs, outputs, shapes, pullback = self._applied.pop()
            given = [gradients.pop(output, None) for output in outputs]
            known = next((gradient for gradient in given if gradient is not None), None)
            if known is None:
                continue
            whole = [
                known.new_zeros(shape) if gradient is None else gradient
                for gradient, shape in zip(given, shapes, strict=True)
            ]
            for key, gradient in zip(inputs, pullback(*whole), strict=True):
                gradients[key] = gradients[key] + gradient if key in gradients else gradient
        return gradients


_tape: ContextVar[Tape | None] = ContextVar("_tape", default=None)


def recording() -> bool:
    """Return whether a tape is recording."""
    return _tape.get() is not None


@contextmanager
def _recorded(tape: Tape) -> Iterator[None]:
    before = _tape.set(tape)
    try:
        yield
    finally:
        _tape.reset(before)
        tape.end()


def apply(function: ByHand, *inputs: Tensor) -> Tensors:
    """Return the outputs of `function(*inputs)`; its pullback, and what that holds, is kept only on a tape."""
    outputs, pullback = function(*inputs)
    tape = _tape.get()
    if tape is not None:
        tape.note(inputs, outputs, pullback)
    return outputs


def together(run: Callable[..., Tensors], *inputs: Tensor) -> Tensors:
    """Return `run(*inputs)`; all that it applies is a single function to autograd, or none with gradients off.

    To tensors that need a gradient, `run` may do nothing but `apply`. Gradients of parameters accumulate in `.grad`.
    """
    if not torch.is_grad_enabled():
        return run(*inputs)
    return _Together.apply(run, _anchor, *inputs)  # type: ignore[no-any-return, no-untyped-call]


_anchor = torch.empty(0, requires_grad=True)  # parameters need gradients even if no input does


class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Callable[..., Tensors], _: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.tape = Tape(inputs)
        with _recorded(ctx.tape):
            outputs = tuple(run(*inputs))
            ctx.inputs, ctx.outputs = tuple(map(id, inputs)), tuple(map(id, outputs))
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.tape is None:
            raise RuntimeError("a tape can be gone through only once")
        of_inputs = ctx.tape.backward(dict(zip(ctx.outputs, gradients, strict=True)))
        ctx.tape = None
        return None, None, *[of_inputs.get(key) for key in ctx.inputs]


def give(parameters: Tensors, gradients: Tensors) -> None:
    """Add `gradients` to the `.grad` of `parameters`."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.requires_grad:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def select(rows: Tensor, index: Tensor) -> Tensor:
    """Return the rows (k, ...) at `index`, int64 (k)."""
    if not recording():
        return rows.index_select(0, index)
    shape = rows.shape

    def pullback(gradient: Tensor) -> Tensors:
        return [gradient.new_zeros(shape).index_add_(0, index, gradient)]

    [chosen] = apply(lambda rows: ([rows.index_select(0, index)], pullback), rows)
    return chosen

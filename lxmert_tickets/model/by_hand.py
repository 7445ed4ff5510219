"""Functions whose gradients are computed by hand, and a tape of them that is one function to autograd.

autograd takes some 50 µs for every function that is written in Python, and 3 more for every parameter of it: of a small
network's step, a twentieth. So what happens between the embeddings and the heads goes on a tape.

A function by hand returns its outputs and a pullback, which takes the gradients of the outputs, gives parameters
theirs, and returns those of the inputs.
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
    """A function that was applied: its inputs and outputs, each by its `id`, and the shapes of the outputs."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shapes: tuple[torch.Size, ...]
    pullback: Pullback


class Tape:
    """What was applied to some inputs, in order."""

    def __init__(self, inputs: Tensors) -> None:
        self._applied: list[Applied] = []
        # While recording, all are kept: an `id` is then that of one tensor.
        self._known = {id(tensor): tensor for tensor in inputs}

    def note(self, inputs: Tensors, outputs: Tensors, pullback: Pullback) -> None:
        """Take down that a function was applied; raises RuntimeError when its inputs come from elsewhere."""
        if not all(id(tensor) in self._known for tensor in inputs):
            raise RuntimeError(
                "a function with a gradient by hand was given an input made by none: its gradient would be lost"
            )
        self._known.update([(id(tensor), tensor) for tensor in outputs])
        shapes = tuple([output.shape for output in outputs])
        self._applied.append(Applied(tuple(map(id, inputs)), tuple(map(id, outputs)), shapes, pullback))

    def end(self) -> None:
        """Let go of all tensors that no pullback needs."""
        self._known.clear()

    def backward(self, gradients: dict[int, Tensor]) -> dict[int, Tensor]:
        """Return the gradients of what went in, from those of what came out; both by `id`. Once only."""
        while self._applied:  # what a pullback holds goes with it
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
    """Return whether there is a tape."""
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
    """Return the outputs of `function(*inputs)`; with its pullback goes what it holds, where there is no tape."""
    outputs, pullback = function(*inputs)
    tape = _tape.get()
    if tape is not None:
        tape.note(inputs, outputs, pullback)
    return outputs


def together(run: Callable[..., Tensors], *inputs: Tensor) -> Tensors:
    """Return `run(*inputs)`: all that it applies is one function to autograd, and none without gradients.

    It may do nothing else with tensors that need a gradient. Parameters get theirs as `backward` gives it, in `.grad`.
    """
    if not torch.is_grad_enabled():
        return run(*inputs)
    return _Together.apply(run, _anchor, *inputs)  # type: ignore[no-any-return, no-untyped-call]


_anchor = torch.empty(0, requires_grad=True)  # parameters need gradients, even if no input does


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
    """Add to the gradient of each of `parameters`."""
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

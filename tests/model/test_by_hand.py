"""A tape gives the gradients that autograd gives, and keeps nothing longer than it must."""

import gc
import weakref
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lxmert_tickets.model.by_hand import Pullback, Tensors, apply, give, recording, select, together


def scaled(parameter: Tensor, rows: Tensor) -> tuple[Tensors, Pullback]:
    """Return the rows times a number; the pullback returns the gradient of the rows and gives the number its own."""

    def pullback(gradient: Tensor) -> Tensors:
        give([parameter], [(gradient * rows).sum()])
        return [gradient * parameter.detach()]

    return [rows * parameter.detach()], pullback


def swapped(one: Tensor, other: Tensor) -> tuple[Tensors, Pullback]:
    """Return the two tensors swapped, the first one squared."""
    return [other, one.square()], lambda of_other, of_square: [2 * one * of_square, of_other]


def number(value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(value, dtype=torch.float64))


def rows(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


steps = st.lists(st.tuples(st.sampled_from(["scale", "swap", "scale both", "select"]), st.integers(0, 2)), max_size=6)


@given(steps)
def test_gradients_match_autograd_for_any_order_of_functions(steps: list[tuple[str, int]]) -> None:
    numbers = [number(0.5), number(-2.0), number(1.5)]
    index = torch.tensor([2, 0, 2])

    def run(one: Tensor, other: Tensor) -> Sequence[Tensor]:
        for kind, which in steps:
            if kind == "swap":
                one, other = apply(swapped, one, other)
            elif kind == "select":
                one, other = select(one, index), select(other, index)
            else:
                [one] = apply(lambda rows, which=which: scaled(numbers[which], rows), one)
                if kind == "scale both":
                    [other] = apply(lambda rows, which=which: scaled(numbers[which], rows), other)
        [one_again] = apply(lambda rows: scaled(numbers[0], rows), one)  # so one is used twice
        return one, one_again, other

    def plainly(one: Tensor, other: Tensor) -> Sequence[Tensor]:
        for kind, which in steps:
            if kind == "swap":
                one, other = other, one.square()
            elif kind == "select":
                one, other = one[index], other[index]
            else:
                one = one * numbers[which]
                other = other * numbers[which] if kind == "scale both" else other
        return one, one * numbers[0], other

    outcomes = []
    for way in (lambda *inputs: together(run, *inputs), plainly):
        inputs = rows(3), rows(3, seed=1)
        for parameter in numbers:
            parameter.grad = None
        outputs = way(*inputs)
        sum(weight * output.sum() for weight, output in zip((1, 2, 3), outputs, strict=True)).backward()
        outcomes.append([*outputs, *[tensor.grad for tensor in (*inputs, *numbers)]])
    for found, expected in zip(*outcomes, strict=True):
        assert (found is None) == (expected is None)
        assert found is None or torch.allclose(found, expected, rtol=1e-12)


def test_an_unused_output_has_gradient_0() -> None:
    one, other = rows(3), rows(3, seed=1)
    first, _ = together(lambda *inputs: apply(swapped, *inputs), one, other)
    first.sum().backward()
    assert torch.equal(other.grad, torch.ones_like(other))
    assert torch.equal(one.grad, torch.zeros_like(one))


def test_backward_skips_functions_whose_outputs_are_unused() -> None:
    factor, given = number(3.0), rows(2)

    def run(rows: Tensor) -> Tensors:
        apply(lambda rows: scaled(factor, rows), rows)  # its result is unused
        return apply(lambda rows: scaled(number(2.0), rows), rows)

    [output] = together(run, given)
    output.sum().backward()
    assert factor.grad is None
    assert torch.equal(given.grad, torch.full_like(given, 2.0))


def test_parameters_accumulate_gradients_even_if_no_input_requires_one() -> None:
    factor, given = number(3.0), rows(2).detach()
    for times in (1, 2):
        [output] = together(lambda rows: apply(lambda rows: scaled(factor, rows), rows), given)
        output.sum().backward()
        assert factor.grad == pytest.approx(times * given.sum().item())


def test_frozen_parameters_get_no_gradient() -> None:
    factor, given = number(3.0).requires_grad_(requires_grad=False), rows(2)
    [output] = together(lambda rows: apply(lambda rows: scaled(factor, rows), rows), given)
    output.sum().backward()
    assert factor.grad is None
    assert torch.equal(given.grad, torch.full_like(given, 3.0))


def test_without_gradients_nothing_is_recorded() -> None:
    recorded = []

    def run(rows: Tensor) -> Tensors:
        recorded.append(recording())
        return apply(lambda rows: scaled(number(2.0), rows), rows)

    with torch.no_grad():
        [output] = together(run, rows(2))
    assert not output.requires_grad
    together(run, rows(2))
    assert recorded == [False, True]
    assert not recording()


def test_after_an_error_nothing_is_recorded() -> None:
    with pytest.raises(ZeroDivisionError):
        together(lambda _: 1 / 0, rows(2))
    assert not recording()


def test_an_input_computed_off_the_tape_is_refused() -> None:
    def run(given: Tensor) -> Tensors:
        return apply(lambda rows: scaled(number(2.0), rows), given + 1)  # autograd would not see the sum

    with pytest.raises(RuntimeError, match="its gradient would be lost"):
        together(run, rows(2))


def test_a_second_backward_is_refused() -> None:
    [output] = together(lambda rows: apply(lambda rows: scaled(number(2.0), rows), rows), rows(2))
    output.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        output.sum().backward()


@pytest.mark.parametrize("backwards", [False, True])
def test_saved_tensors_are_freed_without_the_garbage_collector(backwards: bool) -> None:
    held: list[weakref.ref[Tensor]] = []

    def holding(rows: Tensor) -> tuple[Tensors, Pullback]:
        saved = rows * 2
        held.append(weakref.ref(saved))
        return [saved + 1], lambda gradient: [gradient * saved]

    gc.disable()
    try:
        [output] = together(lambda rows: apply(holding, *apply(holding, rows)), rows(2))
        assert all(saved() is not None for saved in held)
        if backwards:
            output.sum().backward()
            assert [saved() for saved in held] == [None, None]
        del output
        assert [saved() for saved in held] == [None, None]
    finally:
        gc.enable()

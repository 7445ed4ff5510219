"""The fast operators match the plain ones in outputs and gradients, to float32 rounding, dropout included."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from toy_sublayers import H, are_tokens, attending, feeding, gradients_of, linear, one_way, rows, sublayers

from lxmert_tickets.model import on_cpu, operators
from lxmert_tickets.model.places import Places

IMAGE_OF = torch.tensor([1, 0, 1, 1])
Operator = Callable[[], Sequence[Tensor]]


def agree(operator: Operator, inputs: Sequence[Tensor], *every: Places) -> bool:
    """Return whether `operator`, fast and plain, gives the same output and gradients of `inputs`.

    Its rows are those of `every`, if given: output at padding is never read, so it gets no gradient.
    """
    fast, plain = (_outcome(operator, inputs, every, is_plain) for is_plain in (False, True))
    return all(torch.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in zip(fast, plain, strict=True))


def _outcome(operator: Operator, inputs: Sequence[Tensor], every: Sequence[Places], plain: bool) -> list[Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        if plain:
            patch.setattr(on_cpu, "takes", lambda _: False)
        torch.manual_seed(7)
        output = torch.cat(list(operator()))
        torch.manual_seed(8)
        gradient = torch.randn_like(output)
        if every:
            gradient *= torch.cat([are_tokens(places.apart) for places in every])[:, None]
        return [output.detach(), *gradients_of(output, inputs, gradient)]


places = st.one_of(
    st.builds(Places, st.just(4), st.integers(1, 7)),
    st.lists(st.integers(1, 7), min_size=4, max_size=4).map(
        lambda lengths: Places.of(4, 7, torch.arange(7) < torch.tensor(lengths)[:, None])
    ),
)
"""Of four sequences, with padding or without."""
shared_places = st.builds(Places.shared_by, st.builds(Places, st.just(2), st.integers(1, 7)), st.just(IMAGE_OF))
"""Also of four sequences, which share the rows of two."""


@pytest.fixture(autouse=True, params=[1, 2**40], ids=["oneDNN", "addmm"])
def _products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With either library: which one multiplies depends on the size and the processor."""
    for name in ("LEAST_PRODUCTS", "LEAST_PRODUCTS_OF_INPUTS", "LEAST_PRODUCTS_OF_WEIGHTS"):
        monkeypatch.setattr(on_cpu, name, request.param)


@pytest.fixture(autouse=True, params=[1, 8], ids=["few rows a step", "rows in eights"])
def _packing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lxmert_tickets.model.places.ROWS_STEP", request.param)


def test_a_dense_layer_matches_the_plain_implementation() -> None:
    layer, given = linear(5, 4), rows(9, 5)
    assert agree(lambda: [operators.dense(given, layer)], [given, layer.weight, layer.bias])


def test_inputs_that_need_no_gradient_get_none() -> None:
    layer, given = linear(5, 4), rows(9, 5).detach()
    operators.dense(given, layer).sum().backward()
    assert given.grad is None
    assert torch.allclose(layer.weight.grad, given.sum(dim=0).expand(4, 5), rtol=1e-5)


@given(places, places | shared_places, st.sampled_from([0.0, 0.4]))
def test_attention_from_one_stream_to_another_matches_the_plain_implementation(
    of_rows: Places, of_context: Places, dropout: float
) -> None:
    given, part = [rows(of_rows.n_rows), rows(of_context.n_rows, seed=1)], attending((dropout, 0.0))
    assert agree(lambda: one_way(given, [of_rows, of_context], part), [*given, *part.parameters()], of_rows)


@given(st.integers(1, 7), st.sampled_from([16, 32]), st.sampled_from([0.0, 0.3]))
def test_attention_with_dropout_of_its_weights_matches_the_plain_implementation(
    n_queries: int, n_keys: int, dropout: float
) -> None:
    # With other numbers of keys, or packed queries, random numbers are drawn for other places.
    of_rows, of_context = Places(4, n_queries), Places(4, n_keys)
    given, part = [rows(of_rows.n_rows), rows(of_context.n_rows, seed=1)], attending((dropout, 0.4))
    assert agree(lambda: one_way(given, [of_rows, of_context], part), [*given, *part.parameters()])


@given(st.sampled_from([16, 32]), st.sampled_from([16, 32]), st.sampled_from([0.0, 0.3]))
def test_sublayers_with_dropout_match_the_plain_implementation(n: int, n_others: int, dropout: float) -> None:
    one, other = Places(4, n), Places(4, n_others)
    given, context, parts = rows(one.n_rows), rows(other.n_rows, seed=1), [attending((dropout, 0.4)), feeding(0.2)]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    assert agree(lambda: sublayers([given], [one], parts), [given, *parameters])
    assert agree(lambda: sublayers([given, context], [one, other], parts[:1]), [given, context, *parts[0].parameters()])


@given(places)
def test_attention_within_a_stream_matches_the_plain_implementation(its: Places) -> None:
    given, part = rows(its.n_rows), attending()
    assert agree(lambda: sublayers([given], [its], [part]), [given, *part.parameters()], its)


@given(places, places | shared_places)
def test_attention_between_two_streams_matches_the_plain_implementation(one: Places, other: Places) -> None:
    given, part = [rows(one.n_rows), rows(other.n_rows, seed=1)], attending()
    assert agree(lambda: sublayers(given, [one, other], [part]), [*given, *part.parameters()], one, other)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_feed_forward_sublayer_matches_the_plain_implementation(dropout: float) -> None:
    given, part = rows(9), feeding(dropout)
    assert agree(lambda: sublayers([given], [Places(9, 1)], [part]), [given, *part.parameters()])


@given(places, st.permutations(["attention", "feed-forward", "feed-forward"]))
def test_consecutive_sublayers_match_the_plain_implementation(its: Places, kinds: list[str]) -> None:
    given = rows(its.n_rows)
    parts = [attending() if kind == "attention" else feeding() for kind in kinds]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    assert agree(lambda: sublayers([given], [its], parts), [given, *parameters], its)


@given(places, shared_places)
def test_shared_rows_give_the_same_results_as_copies_of_them(one: Places, shared: Places) -> None:
    part = attending()
    language, vision = rows(one.n_rows), rows(shared.n_rows, seed=1)
    outputs = [
        torch.cat(list(sublayers([language, other], [one, of_other], [part])))
        for other, of_other in ((vision, shared), (shared.to_apart(vision), shared.apart))
    ]
    assert torch.allclose(*outputs, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(output.square().sum(), [language, vision]) for output in outputs]
    assert all(torch.allclose(*both, rtol=1e-4, atol=1e-4) for both in zip(*gradients, strict=True))


@given(places)
def test_outputs_are_the_same_without_gradients(its: Places) -> None:
    given, parts = rows(its.n_rows), [attending(), feeding()]
    [expected] = sublayers([given], [its], parts)
    with torch.no_grad():
        [found] = sublayers([given], [its], parts)
    assert not found.requires_grad
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_without_gradients_tensors_of_finished_sublayers_are_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[weakref.ref[Tensor]] = []
    alive: list[list[bool]] = []
    closed = on_cpu._closed

    def watched(hidden: Tensor, *others: Any) -> object:
        alive.append([earlier() is not None for earlier in seen])
        seen.append(weakref.ref(hidden))
        return closed(hidden, *others)

    monkeypatch.setattr(on_cpu, "_closed", watched)
    with torch.no_grad():
        sublayers([rows(9)], [Places(9, 1)], [feeding(), attending(), feeding()])
    assert alive == [[], [False], [False, False]]


def test_attention_dropout_keeps_the_right_share_and_preserves_the_mean() -> None:
    torch.manual_seed(0)
    noise = on_cpu._noise(torch.empty(1000, 1000), 0.1)
    assert noise is not None
    assert noise.unique().tolist() == pytest.approx([0, 1 / 0.9])
    assert noise.mean().item() == pytest.approx(1, abs=0.002)
    assert on_cpu._noise(torch.empty(3), 0.0) is None


def test_huge_attention_logits_give_finite_outputs_and_gradients() -> None:
    its, part = Places(1, 2), attending()
    given, context = (torch.full((2, H), 1e4).requires_grad_() for _ in range(2))
    [attended] = one_way([given, context], [its, its], part)
    attended.sum().backward()
    assert attended.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in (given, *part.parameters()))


@pytest.mark.parametrize(
    "rows", [torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, 2, device="meta"), torch.zeros(2, 2).bfloat16()]
)
def test_other_dtypes_and_devices_use_the_plain_implementation(rows: Tensor) -> None:
    assert not on_cpu.takes(rows)
    assert on_cpu.takes(torch.zeros(2, 2))
    with torch.autocast("cpu", torch.bfloat16):
        assert not on_cpu.takes(torch.zeros(2, 2))

"""The largest magnitudes are found exactly, ties in order, whatever the numbers, their chunks and the sample."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lxmert_tickets.pruning import selection
from lxmert_tickets.pruning.selection import largest

SMALLEST, HUGE = float(np.float32(1e-45)), float(np.finfo(np.float32).max)
TIED = st.sampled_from([0.0, -0.0, SMALLEST, -SMALLEST, 2 * SMALLEST, 1.0, -1.0, 0.5, HUGE, -HUGE])
NUMBERS = TIED | st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def networks(draw: st.DrawFn) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights, and which of them may be kept."""
    elements = draw(st.sampled_from([TIED, NUMBERS, st.just(draw(TIED))]))
    weights, within = {}, {}
    for name in draw(st.permutations(["a", "b", "c", "d"]))[: draw(st.integers(1, 4))]:
        rows, columns = draw(st.integers(0, 4)), draw(st.integers(1, 5))
        drawn = draw(st.lists(st.tuples(elements, st.booleans()), min_size=rows * columns, max_size=rows * columns))
        weights[name] = np.array([number for number, _ in drawn], dtype=np.float32).reshape(rows, columns)
        within[name] = np.array([inside for _, inside in drawn], dtype=bool).reshape(rows, columns)
    return weights, within


def by_sorting(
    weights: dict[str, np.ndarray], within: dict[str, np.ndarray], n_keep: int
) -> dict[str, list[list[bool]]]:
    """Return what `largest` is defined as: a stable sort by descending magnitude."""
    places = [(name, *place) for name in within for place in np.argwhere(within[name]).tolist()]
    ranked = sorted(places, key=lambda place: -abs(float(weights[place[0]][place[1], place[2]])))
    kept = {name: np.zeros_like(within[name]) for name in within}
    for name, row, column in ranked[:n_keep]:
        kept[name][row, column] = True
    return {name: tensor.tolist() for name, tensor in kept.items()}


@settings(max_examples=400, deadline=None)
@given(networks(), st.data(), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0, 1, 4]))
def test_the_largest_are_those_of_a_stable_sort_for_every_size_of_chunk_sample_and_margin(
    network: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
    data: st.DataObject,
    chunk: int,
    sample: int,
    margin: int,
) -> None:
    weights, within = network
    n_keep = data.draw(st.integers(0, sum(int(inside.sum()) for inside in within.values())))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"CHUNK": chunk, "SAMPLE": sample, "MARGIN": margin}.items():
            patch.setattr(selection, name, value)
        kept = largest(weights, within, n_keep)
    assert {name: tensor.tolist() for name, tensor in kept.items()} == by_sorting(weights, within, n_keep)


@pytest.mark.parametrize("n_keep", [1, 7, 499, 500, 501, 999])
def test_magnitudes_that_differ_in_the_last_bit_are_told_apart(n_keep: int) -> None:
    bits = np.random.default_rng(0).permutation(1000).astype(np.uint32) + np.uint32(0x3F7FFE00)
    weights = bits.view(np.float32).reshape(20, 50) * np.float32(-1)
    kept = largest({"a": weights}, {"a": np.ones((20, 50), dtype=bool)}, n_keep)["a"]
    assert kept.sum() == n_keep
    assert np.abs(weights[kept]).min() > np.abs(weights[~kept]).max()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets an entry for each pass over the weights that looks for the threshold."""
    passes: list[int] = []
    between = selection._between
    monkeypatch.setattr(selection, "_between", lambda *given: passes.append(1) or between(*given))
    return passes


@pytest.mark.parametrize(("margin", "expected"), [(0, 2), (4, 1)])
def test_a_misleading_sample_costs_a_second_pass_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, passes: list[int], margin: int, expected: int
) -> None:
    weights = np.random.default_rng(1).standard_normal((1, 100_000), dtype=np.float32)
    monkeypatch.setattr(selection, "SAMPLE", 100)
    monkeypatch.setattr(selection, "MARGIN", margin)
    kept = largest({"a": weights}, {"a": np.ones((1, 100_000), dtype=bool)}, 50_000)["a"]
    assert len(passes) == expected
    assert kept.sum() == 50_000
    assert np.abs(weights[kept]).min() > np.abs(weights[~kept]).max()


@pytest.mark.parametrize("n_keep", [3, 11])
@pytest.mark.parametrize(("low", "high"), [(8, 8), (7, 9), (5, 7), (9, 10), (1, 2), (11, 12)])
def test_bounds_beside_the_smallest_kept_magnitude_change_nothing(
    monkeypatch: pytest.MonkeyPatch, low: float, high: float, n_keep: int
) -> None:
    bounds = np.array([low, high], dtype=np.float32).view(np.uint32)
    monkeypatch.setattr(selection, "_likely_bounds", lambda *_: bounds)
    weights = np.arange(11, dtype=np.float32)[None]
    kept = largest({"a": weights}, {"a": np.ones((1, 11), dtype=bool)}, n_keep)["a"]
    assert np.array_equal(kept, weights >= 11 - n_keep)


def test_the_sample_is_of_the_weights_that_may_be_kept(monkeypatch: pytest.MonkeyPatch, passes: list[int]) -> None:
    weights = np.random.default_rng(1).standard_normal((1, 100_000), dtype=np.float32)
    within = np.abs(weights) < 0.5
    monkeypatch.setattr(selection, "SAMPLE", 1000)
    kept = largest({"a": weights}, {"a": within}, 20_000)["a"]
    assert len(passes) == 1
    assert np.abs(weights[kept]).min() > np.abs(weights[within & ~kept]).max()


def test_ties_go_to_the_earlier_name_then_the_earlier_element() -> None:
    weights = {"b": np.ones((2, 2), dtype=np.float32), "a": -np.ones((1, 2), dtype=np.float32)}
    everything = {name: np.ones(tensor.shape, dtype=bool) for name, tensor in weights.items()}
    kept = largest(weights, everything, 5)
    assert kept["b"].tolist() == [[True, True], [True, True]]
    assert kept["a"].tolist() == [[True, False]]


@pytest.mark.parametrize("broken", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_keep", [0, 1, 3])
def test_a_weight_that_is_not_finite_is_refused(broken: float, n_keep: int) -> None:
    weights = {"b": np.full((1, 3), broken, dtype=np.float32), "a": np.array([[1, broken, 2, 3]], dtype=np.float32)}
    within = {"b": np.zeros((1, 3), dtype=bool), "a": np.ones((1, 4), dtype=bool)}
    with pytest.raises(ValueError, match=r"^a has a weight that is not finite$"):
        largest(weights, within, n_keep)
    within["a"][0, 1] = False  # those outside are not looked at
    assert sum(int(kept.sum()) for kept in largest(weights, within, n_keep).values()) == n_keep


def test_weights_most_of_which_are_not_finite_are_refused_without_a_warning() -> None:
    weights = {"b": np.ones(3, dtype=np.float32), "a": np.full(1000, np.nan, dtype=np.float32)}
    with pytest.raises(ValueError, match=r"^a has a weight that is not finite$"):
        largest(weights, {name: np.ones(tensor.shape, dtype=bool) for name, tensor in weights.items()}, 0)


@pytest.mark.parametrize("n_keep", [-1, 3])
def test_a_number_to_keep_below_0_or_above_all_weights_is_refused(n_keep: int) -> None:
    with pytest.raises(ValueError, match=f"cannot keep {n_keep} of 2 weights"):
        largest({"a": np.ones((1, 3), dtype=np.float32)}, {"a": np.array([[True, False, True]])}, n_keep)


def test_the_memory_order_of_a_tensor_does_not_matter() -> None:
    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    kept = largest({"a": np.asfortranarray(weights)}, {"a": np.ones((4, 3), dtype=bool)}, 5)["a"]
    assert np.array_equal(kept, weights >= 7)


def test_twenty_million_weights_need_a_few_megabytes_besides_the_result() -> None:
    # A sort, or its ranks, would take 80 to 160 MB here: the bound rules both out.
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((2000, 5000), dtype=np.float32) for name in "ab"}
    within = {name: np.ones((2000, 5000), dtype=bool) for name in "ab"}
    tracemalloc.start()
    kept = largest(weights, within, 7_654_321)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(int(tensor.sum()) for tensor in kept.values()) == 7_654_321
    assert peak_bytes < 20_000_000 + 15_000_000

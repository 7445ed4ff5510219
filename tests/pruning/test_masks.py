"""Masks are exact, only remove, mirror one another, and rewind to the initial weights bit for bit."""

from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lxmert_tickets.errors import ConfigError
from lxmert_tickets.pruning.masks import (
    Mask,
    Ranked,
    check_prunes_some,
    complement,
    keep_all,
    keep_largest,
    keep_random,
    n_kept,
    n_prunable,
    n_pruned_at,
    rewind,
)

RANKED = get_args(Ranked)
SHAPES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5)
PERCENT = st.floats(0.01, 99.99) | st.integers(1, 99)


def network(shapes: list[tuple[int, int]], seed: int = 0) -> dict[str, np.ndarray]:
    """Return weights with many ties, and a tensor that no mask covers."""
    rng = np.random.default_rng(seed)
    drawn = {f"layer{k}": rng.integers(-4, 5, shape).astype(np.float32) / 4 for k, shape in enumerate(shapes)}
    return drawn | {"bias": rng.standard_normal(3).astype(np.float32)}


def everything(weights: dict[str, np.ndarray]) -> Mask:
    return keep_all(weights, [name for name in weights if name != "bias"])


def removes_only(mask: Mask, previous: Mask) -> bool:
    return mask.keys() == previous.keys() and not any((mask[name] & ~previous[name]).any() for name in mask)


@pytest.mark.parametrize(
    ("percent", "n_weights", "expected"),
    [
        (50, 4, 2),
        (10, 182_255_616, 18_225_562),
        (0.1, 1000, 1),
        (0.1, 500, 0),  # 0.5, although 0.1 is slightly more in binary
        (0.3, 500, 2),
        (10.8, 375, 40),  # 40.5, although 10.8 * 375 is slightly more in binary
        (12.5, 4, 0),  # a half rounds to even
        (12.5, 12, 2),
        (37.5, 4, 2),
        (35, 10, 4),
        (45, 10, 4),
        (70, 45, 32),  # 31.5, although 0.7 * 45 is slightly less in binary
        (99.99, 10_000, 9999),
        (1e-05, 10_000_000, 1),
        (np.float64(10), 30, 3),
    ],
)
def test_the_number_of_pruned_weights_is_the_rounded_decimal(percent: float, n_weights: int, expected: int) -> None:
    assert n_pruned_at(percent, n_weights) == expected


@pytest.mark.parametrize(("percent", "extreme"), [(0.4, "none"), (99.6, "all")])
def test_a_sparsity_that_prunes_nothing_or_all_is_refused(percent: float, extreme: str) -> None:
    check_prunes_some("here", percent, 1000)
    with pytest.raises(ConfigError, match=rf"here: {percent} % of 100 prunable weights is {extreme} of them"):
        check_prunes_some("here", percent, 100)


@given(SHAPES, PERCENT, st.sampled_from(RANKED))
def test_a_mask_prunes_exactly_its_sparsity_of_all_weights(
    shapes: list[tuple[int, int]], percent: float, ranked: Ranked
) -> None:
    weights = network(shapes)
    n_weights = sum(rows * columns for rows, columns in shapes)
    for mask in (
        keep_largest(weights, everything(weights), percent, ranked),
        keep_random(weights, list(everything(weights)), percent, ranked, seed=1),
    ):
        assert {name: kept.shape for name, kept in mask.items()} == {
            f"layer{k}": shape for k, shape in enumerate(shapes)
        }
        assert n_prunable(mask) == n_weights
        assert sum(int((~kept).sum()) for kept in mask.values()) == n_pruned_at(percent, n_weights)
        assert n_kept(mask) == n_weights - n_pruned_at(percent, n_weights)


@given(SHAPES, st.lists(PERCENT, min_size=2, max_size=6).map(sorted), st.sampled_from(RANKED))
def test_a_round_keeps_exactly_what_was_asked_and_revives_nothing(
    shapes: list[tuple[int, int]], rounds: list[float], ranked: Ranked
) -> None:
    masks = [everything(network(shapes))]
    for round_index, percent in enumerate(rounds):
        masks.append(keep_largest(network(shapes, seed=round_index), masks[-1], percent, ranked))
        assert n_prunable(masks[-1]) - n_kept(masks[-1]) == n_pruned_at(percent, n_prunable(masks[-1]))
    assert all(removes_only(mask, previous) for previous, mask in pairwise(masks))


@given(SHAPES, st.lists(PERCENT, min_size=1, max_size=4).map(sorted))
def test_ranked_per_tensor_each_tensor_is_within_one_weight_per_round_of_its_share(
    shapes: list[tuple[int, int]], rounds: list[float]
) -> None:
    mask = everything(network(shapes))
    for round_index, percent in enumerate(rounds, 1):
        mask = keep_largest(network(shapes, seed=round_index), mask, percent, "per_tensor")
        for kept in mask.values():
            assert abs(kept.sum() - kept.size * n_kept(mask) / n_prunable(mask)) < round_index


def test_ranked_per_tensor_the_smallest_weights_of_each_tensor_are_pruned() -> None:
    weights = {"small": np.array([[0.1, 0.2, 0.3, 0.4]], np.float32), "large": np.array([[9, 8, 7, 6]], np.float32)}
    assert keep_largest(weights, keep_all(weights, ["small", "large"]), 50, "per_tensor")["small"].tolist() == [
        [False, False, True, True]
    ]
    assert not keep_largest(weights, keep_all(weights, ["small", "large"]), 50, "global")["small"].any()


def test_ranked_per_tensor_nothing_is_pruned_from_a_tensor_with_nothing_left() -> None:
    weights = {name: np.ones((4, 4), np.float32) for name in ("none", "all")}
    within = {"none": np.zeros((4, 4), bool), "all": np.ones((4, 4), bool)}
    kept = keep_largest(weights, within, 75, "per_tensor")
    assert (kept["none"].sum(), kept["all"].sum()) == (0, 8)


@pytest.mark.parametrize("ranked", RANKED)
def test_a_mask_cannot_be_made_less_sparse(ranked: Ranked) -> None:
    weights = network([(2, 3), (1, 4)])
    half = keep_largest(weights, everything(weights), 50, ranked)
    with pytest.raises(ValueError, match="cannot keep 6 of 5 weights"):
        keep_largest(weights, half, 40, ranked)


@given(SHAPES, PERCENT)
def test_a_complement_shares_no_weight_and_leaves_none_out(shapes: list[tuple[int, int]], percent: float) -> None:
    weights = network(shapes)
    low = keep_largest(weights, everything(weights), percent)
    high = complement(low)
    assert all(np.array_equal(high[name] ^ low[name], np.ones_like(low[name])) for name in low)
    assert n_kept(high) == n_prunable(low) - n_kept(low)


@given(SHAPES.filter(lambda shapes: sum(rows * columns for rows, columns in shapes) % 2 == 0))
def test_complement_of_half_is_disjoint_and_equal_in_size(shapes: list[tuple[int, int]]) -> None:
    weights = network(shapes)
    low = keep_largest(weights, everything(weights), 50)
    high = complement(low)
    assert n_kept(high) == n_kept(low)
    assert not any((high[name] & low[name]).any() for name in low)


@pytest.mark.parametrize("ranked", RANKED)
def test_a_random_mask_depends_on_its_seed_alone(ranked: Ranked) -> None:
    weights = network([(40, 50), (30, 20)])
    first, again, other = (keep_random(weights, ["layer0", "layer1"], 50, ranked, seed) for seed in (3, 3, 4))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    # Two draws of half agree on about half.
    assert all(0.4 < (first[name] == other[name]).mean() < 0.6 for name in first)


def test_a_random_mask_ignores_the_weights() -> None:
    ascending = {"a": np.arange(1000, dtype=np.float32).reshape(20, 50)}
    zeros = {"a": np.zeros((20, 50), dtype=np.float32)}
    masks = [keep_random(weights, ["a"], 30, "global", seed=0)["a"] for weights in (ascending, zeros)]
    assert np.array_equal(*masks)


def test_every_choice_of_a_random_mask_is_equally_likely() -> None:
    weights = {"a": np.zeros((1, 2), dtype=np.float32), "b": np.zeros((2, 1), dtype=np.float32)}
    counts: dict[tuple[bool, ...], int] = {}
    for seed in range(1200):
        mask = keep_random(weights, ["a", "b"], 50, "global", seed)
        choice = (*mask["a"].ravel().tolist(), *mask["b"].ravel().tolist())
        counts[choice] = counts.get(choice, 0) + 1
    # 6 ways to keep 2 of 4, 200 each; the standard deviation is 13.
    assert len(counts) == 6
    assert all(140 < count < 260 for count in counts.values())


def test_a_global_random_mask_prunes_tensors_nearly_but_not_exactly_equally() -> None:
    weights = {name: np.zeros((100, columns), dtype=np.float32) for name, columns in [("a", 100), ("b", 300)]}
    pruned = [int((~keep_random(weights, ["a", "b"], 30, "global", seed)["a"]).sum()) for seed in range(10)]
    # 3,000 expected; the standard deviation is 40.
    assert all(2800 < count < 3200 for count in pruned)
    assert len(set(pruned)) > 5


def test_a_random_mask_per_tensor_prunes_exactly_its_share_of_every_tensor() -> None:
    weights = network([(10, 10), (10, 30)])
    mask = keep_random(weights, ["layer0", "layer1"], 30, "per_tensor", seed=0)
    assert [int((~kept).sum()) for kept in mask.values()] == [30, 90]


def test_ranked_per_tensor_the_left_over_weight_comes_from_the_largest_remainder() -> None:
    weights = network([(1, 10), (1, 10), (1, 13)])
    # 10 of 33 are 3.03, 3.03 and 3.94.
    mask = keep_random(weights, ["layer0", "layer1", "layer2"], 30, "per_tensor", seed=0)
    assert [int((~kept).sum()) for kept in mask.values()] == [3, 3, 4]
    # Of equal remainders, that of the earlier tensor: half of 5 and 5 are 2.5 each.
    mask = keep_random(network([(1, 5), (1, 5)]), ["layer0", "layer1"], 50, "per_tensor", seed=0)
    assert [int((~kept).sum()) for kept in mask.values()] == [3, 2]


def bits(tensor: np.ndarray) -> list[int]:
    return tensor.reshape(-1).view(np.uint32).tolist()


@given(SHAPES, PERCENT)
def test_start_weights_are_the_initial_weights_times_the_mask_bit_for_bit(
    shapes: list[tuple[int, int]], percent: float
) -> None:
    initial = network(shapes, seed=7)
    mask = keep_largest(network(shapes), everything(initial), percent)
    start = rewind(initial, mask)
    assert start.keys() == initial.keys()
    for name, kept in mask.items():
        assert start[name].dtype == np.float32
        assert bits(start[name]) == [
            b if k else 0 for b, k in zip(bits(initial[name]), kept.ravel().tolist(), strict=True)
        ]
    assert start["bias"] is initial["bias"]


def test_a_pruned_weight_is_plus_zero_and_a_kept_minus_zero_stays() -> None:
    initial = {"a": np.array([[-3.0, -0.0, np.inf]], dtype=np.float32)}
    start = rewind(initial, {"a": np.array([[False, True, False]])})
    assert np.signbit(start["a"]).tolist() == [[False, True, False]]
    assert not start["a"].any()


@settings(max_examples=20)
@given(SHAPES)
def test_rewinding_leaves_the_initial_weights_as_they_are(shapes: list[tuple[int, int]]) -> None:
    initial = network(shapes)
    before = {name: tensor.copy() for name, tensor in initial.items()}
    rewind(initial, complement(everything(initial)))
    assert all(bits(initial[name]) == bits(before[name]) for name in before)

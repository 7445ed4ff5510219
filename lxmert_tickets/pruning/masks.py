"""Masks: which prunable weights a subnetwork keeps.

A mask maps the name of each prunable tensor to a bool array of its shape, True = kept.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np

from lxmert_tickets.errors import ConfigError
from lxmert_tickets.pruning.selection import largest

Mask = dict[str, np.ndarray]
Weights = Mapping[str, np.ndarray]
Ranked = Literal["global", "per_tensor"]


def keep_all(weights: Weights, names: Sequence[str]) -> Mask:
    """Return the mask over the tensors `names` that prunes nothing."""
    return {name: np.ones(weights[name].shape, dtype=bool) for name in names}


def n_prunable(mask: Mask) -> int:
    """Return the number of weights that `mask` covers."""
    return sum(kept.size for kept in mask.values())


def n_kept(mask: Mask) -> int:
    """Return the number of weights that `mask` keeps."""
    return sum(int(np.count_nonzero(kept)) for kept in mask.values())


def n_pruned_at(sparsity_percent: float, n_weights: int) -> int:
    """Return round(sparsity * n) in exact arithmetic: 0.1 means one tenth, and halves round to even."""
    return round(Fraction(str(sparsity_percent)) / 100 * n_weights)


def check_prunes_some(place: str, sparsity_percent: float, n_weights: int) -> None:
    """Raise ConfigError, naming `place`, when `sparsity_percent` of `n_weights` is none of them, or all."""
    n_pruned = n_pruned_at(sparsity_percent, n_weights)
    if n_pruned in (0, n_weights):
        raise ConfigError(
            place, f"{sparsity_percent} % of {n_weights} prunable weights is {'all' if n_pruned else 'none'} of them",
            "some, and not all", "Leave it out, or choose one further from 0 and 100.",
        )  # fmt: skip


def keep_largest(weights: Weights, within: Mask, sparsity_percent: float, ranked: Ranked = "global") -> Mask:
    """Return the mask inside `within` that keeps the weights of largest magnitude, at exactly `sparsity_percent`.

    The sparsity is of all prunable weights, including those that `within` already prunes. If `ranked` is "global", the
    weights of all tensors compete (Frankle & Carbin 2019, section 2); if "per_tensor", each tensor reaches the sparsity
    by itself, with counts rounded so that the whole mask is exact too.

    Raises ValueError when `within` is already sparser.
    """
    n_keep = n_prunable(within) - n_pruned_at(sparsity_percent, n_prunable(within))
    if ranked == "global":
        return largest(weights, within, n_keep)
    # In proportion to what each tensor has left, not to its size, so that no later round has to revive a weight.
    left = [int(np.count_nonzero(inside)) for inside in within.values()]
    if n_keep > sum(left):
        raise ValueError(f"cannot keep {n_keep} of {sum(left)} weights")
    kept: Mask = {}
    for (name, inside), n in zip(within.items(), _share_out(n_keep, left), strict=True):
        kept |= largest(weights, {name: inside}, n)
    return kept


def complement(mask: Mask) -> Mask:
    """Return the mask that keeps what `mask` prunes."""
    return {name: ~kept for name, kept in mask.items()}


def keep_random(weights: Weights, names: Sequence[str], sparsity_percent: float, ranked: Ranked, seed: int) -> Mask:
    """Return a mask of exactly `sparsity_percent` over the tensors `names`, every choice equally likely."""
    rng = np.random.default_rng(seed)
    sizes = [weights[name].size for name in names]
    n_pruned = n_pruned_at(sparsity_percent, sum(sizes))
    if ranked == "global":
        counts = rng.multivariate_hypergeometric(sizes, n_pruned, method="marginals").tolist()
    else:
        counts = _share_out(n_pruned, sizes)
    mask: Mask = {}
    for name, size, n in zip(names, sizes, counts, strict=True):
        kept = np.ones(size, dtype=bool)
        kept[rng.choice(size, size=n, replace=False, shuffle=False)] = False
        mask[name] = kept.reshape(weights[name].shape)
    return mask


def rewind(initial: Weights, mask: Mask) -> dict[str, np.ndarray]:
    """Return the initial weights with pruned ones at 0; tensors without a mask are untouched, bit for bit."""
    return {
        # Not a product: that would turn a pruned negative weight into -0.0.
        name: np.where(mask[name], tensor, tensor.dtype.type(0)) if name in mask else tensor
        for name, tensor in initial.items()
    }


def _share_out(total: int, sizes: Sequence[int]) -> list[int]:
    """Return `total` divided in proportion to `sizes`, by largest remainder; no share is off by 1 or more."""
    whole = max(sum(sizes), 1)  # nothing may be left to share out
    exact = [Fraction(total * size, whole) for size in sizes]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda k: (counts[k] - exact[k], k))
    for k in by_remainder[: total - sum(counts)]:
        counts[k] += 1
    return counts

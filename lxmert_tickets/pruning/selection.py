"""Exact selection of the largest magnitudes, without sorting.

The bits of non-negative float32 numbers, read as integers, sort like the numbers. So the magnitude at a given rank is
found by counting: one histogram of the upper half of the bits, then one of the lower half among those with the right
upper half. That takes two passes over the weights, in chunks, and a few megabytes of extra memory for any network.
"""

from collections.abc import Iterator, Mapping

import numpy as np

CHUNK = 1 << 18  # weights processed at once; the temporaries of one chunk stay in cache
HALF_BITS = 16
N_BINS = 1 << HALF_BITS

Weights = Mapping[str, np.ndarray]
Kept = dict[str, np.ndarray]


def largest(weights: Weights, within: Kept, n_keep: int) -> Kept:
    """Return bool tensors, True at the `n_keep` weights of largest magnitude among those True in `within`.

    Weights are ranked over all tensors of `within` together. Among equal magnitudes the earlier is kept, in the order
    of the names in `within` and of the elements in a tensor.

    Args:
        weights: float32 tensors; those not named in `within` are ignored.
        within: bool tensors of the same shapes.

    Raises:
        ValueError: `within` holds fewer than `n_keep`, or a weight is not finite.
    """
    n_within = sum(int(np.count_nonzero(inside)) for inside in within.values())
    if not 0 <= n_keep <= n_within:
        raise ValueError(f"cannot keep {n_keep} of {n_within} weights")
    threshold, n_ties = _threshold(weights, within, n_keep)
    kept = {name: np.empty(inside.shape, dtype=bool) for name, inside in within.items()}
    for name, inside in within.items():
        n_ties = _keep_from(weights[name], inside, kept[name], threshold, n_ties)
    return kept


def _threshold(weights: Weights, within: Kept, n_keep: int) -> tuple[int, int]:
    """Return the magnitude bits of the smallest kept weight, and how many weights of exactly that magnitude to keep."""
    upper = np.zeros(N_BINS, dtype=np.int64)
    for bits in _magnitude_bits(weights, within):
        upper += np.bincount(bits >> HALF_BITS, minlength=N_BINS)
    if upper[_INFINITY >> HALF_BITS :].any():
        [name, *_] = [name for name, inside in within.items() if not np.isfinite(weights[name][inside]).all()]
        raise ValueError(f"{name} has a weight that is not finite")
    upper_half, n_left = _bin_of_rank(upper, n_keep)

    lower = np.zeros(N_BINS, dtype=np.int64)
    for bits in _magnitude_bits(weights, within):
        candidates = bits[(bits >> HALF_BITS) == upper_half]
        lower += np.bincount(candidates & (N_BINS - 1), minlength=N_BINS)
    lower_half, n_ties = _bin_of_rank(lower, n_left)
    return upper_half << HALF_BITS | lower_half, n_ties


_INFINITY = 0x7F800000  # bits of infinity; NaNs lie above


def _bin_of_rank(counts: np.ndarray, rank: int) -> tuple[int, int]:
    """Return the bin that holds the `rank`-th largest (1-based), and its rank within that bin.

    For rank 0, which is above all items, return the last bin and 0.
    """
    at_least = counts[::-1].cumsum()[::-1]  # items in this bin and above
    position = int(np.flatnonzero(at_least >= rank)[-1])
    return position, rank - int(at_least[position] - counts[position])


def _magnitude_bits(weights: Weights, within: Kept) -> Iterator[np.ndarray]:
    """Yield the magnitude bits (uint32) of the weights in `within`, a chunk at a time."""
    for name, inside in within.items():
        bits, flat = _bits(weights[name]), inside.reshape(-1)
        for start in range(0, bits.size, CHUNK):
            chunk, allowed = bits[start : start + CHUNK], flat[start : start + CHUNK]
            yield (chunk if allowed.all() else chunk[allowed]) & _WITHOUT_SIGN


_WITHOUT_SIGN = np.uint32(0x7FFFFFFF)


def _bits(tensor: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(tensor, dtype=np.float32).reshape(-1).view(np.uint32)


def _keep_from(tensor: np.ndarray, inside: np.ndarray, kept: np.ndarray, threshold: int, n_ties: int) -> int:
    """Fill `kept` for one tensor; return how many weights at the threshold may still be kept after it."""
    bits, allowed, out = _bits(tensor), inside.reshape(-1), kept.reshape(-1)
    for start in range(0, bits.size, CHUNK):
        part = slice(start, start + CHUNK)
        magnitude = bits[part] & _WITHOUT_SIGN
        np.greater(magnitude, threshold, out=out[part])
        out[part] &= allowed[part]
        if n_ties:
            ties = np.flatnonzero((magnitude == threshold) & allowed[part])[:n_ties]
            out[part][ties] = True
            n_ties -= len(ties)
    return n_ties

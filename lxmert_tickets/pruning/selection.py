"""Exact selection of the largest magnitudes, without sorting.

The bits of non-negative float32 numbers, read as integers, sort like the numbers. A random sample says between which
two the smallest kept magnitude almost certainly lies. One pass over the weights, in chunks, counts those above and
collects those between, some 2 %, where the exact rank is found. Should the sample mislead, all are collected.
"""

from collections.abc import Iterator, Mapping

import numpy as np

CHUNK = 1 << 18  # weights processed at once; the temporaries of one chunk stay in cache
SAMPLE = 1 << 18  # weights looked at first
MARGIN = 4  # on either side of the rank, in square roots of the sample: at least eight standard deviations

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
    threshold, n_ties = _threshold(weights, within, n_keep, n_within)
    kept = {name: np.empty(inside.shape, dtype=bool) for name, inside in within.items()}
    for name, inside in within.items():
        n_ties = _keep_from(weights[name], inside, kept[name], threshold, n_ties)
    return kept


def _threshold(weights: Weights, within: Kept, n_keep: int, n_within: int) -> tuple[int, int]:
    """Return the magnitude bits of the smallest kept weight, and how many weights of exactly that magnitude to keep.

    If none is kept, the first are those of the largest weight.
    """
    if n_within == 0:
        return 0, 0
    rank = max(n_keep, 1)
    found, n_above = _between(*_likely_bounds(weights, within, rank, n_within), weights, within)
    if not n_above < rank <= n_above + found.size:  # a misleading sample
        found, n_above = _between(np.uint32(0), _LARGEST, weights, within)
    place = n_above + found.size - rank
    found.partition(place)
    threshold = found[place]
    return int(threshold), n_keep - n_above - int(np.count_nonzero(found > threshold))


_LARGEST = np.uint32(0x7F7FFFFF)  # bits of the largest finite number; infinity and NaNs lie above


def _likely_bounds(weights: Weights, within: Kept, rank: int, n_within: int) -> tuple[np.uint32, np.uint32]:
    """Return bounds of the magnitude bits at `rank`, 1 for the largest of `n_within`, as a sample suggests."""
    rng = np.random.default_rng(0)
    parts = []
    for name, inside in within.items():
        size = inside.size
        places = rng.integers(0, max(size, 1), min(size, size * SAMPLE // n_within + 1))
        parts.append((_bits(weights[name])[places] & _WITHOUT_SIGN)[inside.reshape(-1)[places]])
    sample = np.sort(np.concatenate(parts))
    place, margin = sample.size * (1 - rank / n_within), MARGIN * sample.size**0.5 + 1
    below, above = int(np.floor(place - margin)), int(np.ceil(place + margin))
    sample = np.minimum(sample, _LARGEST)  # what is not finite is refused later
    low = sample[below] if below >= 0 else np.uint32(0)
    return low, sample[above] if above < sample.size else _LARGEST


def _between(low: np.uint32, high: np.uint32, weights: Weights, within: Kept) -> tuple[np.ndarray, int]:
    """Return the magnitude bits from `low` to `high`, in any order, and how many are above; refuse others."""
    found, n_above = [], 0
    for bits in _magnitude_bits(weights, within):
        if bits.max(initial=0) > _LARGEST:
            [name, *_] = [name for name, inside in within.items() if not np.isfinite(weights[name][inside]).all()]
            raise ValueError(f"{name} has a weight that is not finite")
        found.append(bits[bits - low <= high - low])  # smaller ones wrap around
        n_above += int(np.count_nonzero(bits > high))
    return np.concatenate(found), n_above


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

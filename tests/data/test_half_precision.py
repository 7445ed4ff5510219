"""Rounding to float16 matches NumPy's, number for number, and its reported errors are the true ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lxmert_tickets.data.half_precision import HalfPrecision


def rounded(values: np.ndarray) -> tuple[np.ndarray, HalfPrecision, bool]:
    half, out = HalfPrecision(values.size), np.empty(values.size, np.float16)
    return out, half, half.round_into(values, out)


def test_every_float16_and_values_between_two_of_them_are_rounded_as_by_numpy() -> None:
    exact = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    halfway = (exact[:-1] + exact[1:]) / 2
    above = np.nextafter(halfway, np.float32(np.inf))
    below = np.nextafter(halfway, np.float32(-np.inf))
    tiny = np.array([1e-45, 1e-40, 2**-25, 2**-24, 2**-14, 65519.996], np.float32)
    values = np.concatenate([exact, halfway, above, below, tiny])
    values = np.concatenate([values, -values])
    out, half, fits = rounded(values)
    assert fits
    assert np.array_equal(out.view(np.uint16), values.astype(np.float16).view(np.uint16))
    assert half.max_absolute_error == 16
    assert 0 < half.max_relative_error <= 2**-11


@given(arrays(np.float32, st.integers(1, 50), elements=st.floats(-65504, 65504, width=32)))
def test_the_errors_are_those_of_float64_arithmetic(values: np.ndarray) -> None:
    out, half, fits = rounded(values)
    assert fits
    assert np.array_equal(out.view(np.uint16), values.astype(np.float16).view(np.uint16))
    errors = np.abs(out.astype(np.float64) - values)
    assert half.max_absolute_error == errors.max()
    assert half.max_relative_error == pytest.approx((errors / np.maximum(np.abs(values), 2**-14)).max(), rel=1e-6)


def test_errors_are_the_largest_of_all_arrays_so_far() -> None:
    half, out = HalfPrecision(1), np.empty(1, np.float16)
    for value, largest in [(0.1, 2.4414062e-05), (1000.2, 0.2000122), (0.3, 0.2000122)]:
        assert half.round_into(np.array([value], np.float32), out)
        assert half.max_absolute_error == pytest.approx(largest, rel=1e-3)


@pytest.mark.parametrize("bad", [65520, -65520, np.inf, -np.inf, np.nan, -np.nan])
def test_values_that_float16_cannot_hold_do_not_fit(bad: float) -> None:
    assert not rounded(np.array([1, bad, 2], np.float32))[2]
    assert rounded(np.array([1, 65519, 2], np.float32))[2]

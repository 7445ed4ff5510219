"""Rounding of float32 to float16, with its rounding errors, in few passes over memory.

`ndarray.astype` converts one number at a time. Here every step is one operation on a whole array that fits in a
processor's cache: adding a power of two makes the float32 unit drop the bits that float16 has no room for, by its own
rule (to nearest, ties to even), and subtracting it again leaves the rounded number, which gives the error.
"""

import numpy as np

OVERFLOW = 65520.0
"""From here on, float16 rounds to infinity; its largest number is 65504."""

SMALLEST_NORMAL = 2.0**-14
"""Smaller numbers are subnormal in float16."""

MAGNITUDE_BITS, EXPONENT_BITS, SIGN_BIT = np.int32(0x7FFFFFFF), np.int32(0x7F800000), np.int32(0x8000)
BITS_LOST = np.int32(23 - 10)
"""float32 has a fraction of 23 bits, float16 one of 10."""

EXPONENT_OFFSET = np.int32((127 - 15 + 1 + int(BITS_LOST)) << 10)
"""The difference of the biases; 1 for the leading bit, counted twice; and the extra exponent of the power of two."""


class HalfPrecision:
    """Rounds arrays of `size` float32 numbers; `max_absolute_error` and `max_relative_error` cover all so far.

    The relative error is |stored - given| / max(|given|, 2^-14), since smaller numbers have only absolute precision.
    """

    def __init__(self, size: int) -> None:
        self.max_absolute_error, self.max_relative_error = np.float32(0), np.float32(0)
        self._magnitude, self._power, self._sum, self._error = (np.empty(size, np.float32) for _ in range(4))
        self._smallest = np.full(size, SMALLEST_NORMAL, np.float32)  # `maximum` is five times slower with a scalar

    def round_into(self, values: np.ndarray, out: np.ndarray) -> bool:
        """Write `values`, float32 (size,), to `out`, float16 (size,), as `astype` does; return whether all of them fit.

        If not, because one is not finite or rounds to infinity, `out` and the errors are unchanged.
        """
        magnitude, power, total, error = self._magnitude, self._power, self._sum, self._error
        given_bits, bits, total_bits = values.view(np.int32), power.view(np.int32), total.view(np.int32)
        np.bitwise_and(given_bits, MAGNITUDE_BITS, out=magnitude.view(np.int32))
        if not magnitude.max() < OVERFLOW:  # false for nan too
            return False
        np.bitwise_and(magnitude.view(np.int32), EXPONENT_BITS, out=bits)
        np.maximum(power, self._smallest, out=power)
        np.multiply(power, np.float32(1 << BITS_LOST), out=power)
        np.add(magnitude, power, out=total)

        np.subtract(total, power, out=error)
        np.subtract(error, magnitude, out=error)
        np.abs(error, out=error)
        self.max_absolute_error = max(self.max_absolute_error, error.max())
        np.maximum(magnitude, self._smallest, out=magnitude)
        np.divide(error, magnitude, out=error)
        self.max_relative_error = max(self.max_relative_error, error.max())

        np.subtract(total_bits, bits, out=total_bits)  # the fraction, and a carry if it rounded up to the next power
        np.right_shift(bits, BITS_LOST, out=bits)
        np.add(total_bits, bits, out=total_bits)
        np.subtract(total_bits, EXPONENT_OFFSET, out=total_bits)
        if given_bits.min() < 0:
            np.right_shift(given_bits, 16, out=bits)
            np.bitwise_and(bits, SIGN_BIT, out=bits)
            np.bitwise_or(total_bits, bits, out=total_bits)
        out.view(np.uint16)[:] = total_bits
        return True

"""Arrow columns to and from NumPy and text, without pandas.

`pyarrow.array` and `to_numpy` import pandas wherever it is installed, which takes longer than scoring a split.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]


def numbers_to_column(values: np.ndarray) -> pa.Array:
    """Return the numbers (n) as a column of their dtype."""
    contiguous = np.ascontiguousarray(values)
    dtype = pa.from_numpy_dtype(contiguous.dtype)
    return pa.Array.from_buffers(dtype, len(contiguous), [None, pa.py_buffer(contiguous)])


def texts_to_column(texts: Sequence[str]) -> pa.Array:
    """Return the texts as a column of strings; raises TypeError for anything else."""
    encoded = [str.encode(text) for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def column_to_numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers without nulls as an array (n) of its dtype."""
    return np.from_dlpack(column.combine_chunks())

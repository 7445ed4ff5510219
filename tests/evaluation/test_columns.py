"""Columns made without pandas equal those that pyarrow makes with it, and convert back unchanged."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.evaluation.columns import column_to_numbers, numbers_to_column, texts_to_column

SAVE_AND_LOAD = """
import sys
from pathlib import Path
from lxmert_tickets.evaluation.predictions import load_predictions, save_predictions
save_predictions(sys.argv[1], [1, 2], ["yes", "no"], [0.5, 0.25], {})
load_predictions(sys.argv[1])
print("pandas" in sys.modules)
"""


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_texts_become_the_column_that_pyarrow_makes(texts: list[str]) -> None:
    column = texts_to_column(texts)
    column.validate(full=True)
    assert column.equals(pa.array(texts, pa.string()))


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_numbers_become_the_column_that_pyarrow_makes_and_convert_back(dtype: type[np.generic]) -> None:
    numbers = np.arange(10, dtype=dtype)[::2]
    column = numbers_to_column(numbers)
    column.validate(full=True)
    assert column.equals(pa.array(numbers))
    assert np.array_equal(column_to_numbers(pa.chunked_array([column])), numbers)


def test_several_chunks_and_a_slice_convert_to_numbers_in_order() -> None:
    column = pa.chunked_array([pa.array([1, 2, 3]), pa.array([], pa.int64()), pa.array([4, 5])])
    assert column_to_numbers(column).tolist() == [1, 2, 3, 4, 5]
    assert column_to_numbers(column.slice(1, 3)).tolist() == [2, 3, 4]


def test_a_column_without_rows_becomes_an_empty_array() -> None:
    assert column_to_numbers(pa.chunked_array([], pa.float32())).tolist() == []


def test_predictions_are_saved_and_loaded_without_pandas(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAVE_AND_LOAD, f"{tmp_path}/p.parquet"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"

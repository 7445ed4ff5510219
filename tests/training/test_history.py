"""Histories are CSV: a column per field, numbers in full."""

import csv
from dataclasses import dataclass
from pathlib import Path

from lxmert_tickets.training.history import write_history


@dataclass(frozen=True)
class Line:
    step: int
    loss: float


def test_a_history_has_a_column_per_field_and_a_row_per_line(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", [Line(1, 0.5), Line(2, 0.25)])
    assert (tmp_path / "history.csv").read_bytes() == b"step,loss\n1,0.5\n2,0.25\n"


def test_numbers_come_back_exactly(tmp_path: Path) -> None:
    numbers = [0.1 + 0.2, 1 / 3, 1e-300, 123456789.123456789]
    write_history(tmp_path / "history.csv", [Line(k, number) for k, number in enumerate(numbers)])
    with open(tmp_path / "history.csv", newline="", encoding="utf-8") as handle:
        assert [float(row["loss"]) for row in csv.DictReader(handle)] == numbers


def test_an_old_history_is_replaced_whole(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", [Line(k, 0.5) for k in range(9)])
    write_history(tmp_path / "history.csv", [Line(1, 0.5)])
    assert (tmp_path / "history.csv").read_text(encoding="utf-8") == "step,loss\n1,0.5\n"
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]

"""Scores of all networks as one tidy table, and what is computed from it."""

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from lxmert_tickets.artifacts import REMAKE
from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.evaluation.accuracy import Score
from lxmert_tickets.report.names import subnetwork_of

METRICS = {"yes_no": "Yes/No", "number": "Number", "other": "Other", "overall": "Overall"}
ANSWER_TYPES = {"yes_no": "yes/no", "number": "number", "other": "other"}
NAMES = ("subnetwork", "split", "measure", "question_type", "part", "name", "stream", "row")
"""The text columns of tidy tables, whose values may look like a number or a missing value: a split "2014" or "NA"."""


def read_table(path: str | Path) -> pd.DataFrame:
    """Return a CSV file of the workflow: names as they are, NaN where a number is left empty.

    Raises ArtifactError, naming the file, when it is missing, cut off, or unreadable, or holds something else than
    numbers, such as a spreadsheet's decimal commas, dates and semicolons.
    """
    try:
        text = Path(path).read_bytes()
        table = pd.read_csv(BytesIO(text), dtype=dict.fromkeys(NAMES, str), keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:  # pandas raises only ValueError for bad files
        reason = getattr(error, "strerror", None) or str(error).strip()
        raise ArtifactError(path, f"cannot be read ({reason})", "a table as CSV", REMAKE) from None
    if not text.endswith(b"\n"):
        raise ArtifactError(path, "is cut off", "a line break at its end", REMAKE)
    texts = table.drop(columns=[*NAMES], errors="ignore").select_dtypes(exclude=["number", "bool"])
    if len(texts.columns):  # also of a table without rows
        raise ArtifactError(path, f"no numbers in {', '.join(map(str, texts))}", "numbers there", REMAKE)
    return table


def collect_results(scores: Iterable[tuple[int, str, str, Score]]) -> pd.DataFrame:
    """Return one row per network and split, from (seed, model, split, score): accuracies in percent.

    Columns: subnetwork ("dense" for the full model), sparsity (percent), seed, split, measure (see `Score`), overall,
    yes_no, number, other. An answer type that a split does not have is left empty.
    """
    rows: list[dict[str, Any]] = []
    for seed, model, split, score in scores:
        name, sparsity = subnetwork_of(model)
        row = {"subnetwork": name, "sparsity": sparsity, "seed": seed, "split": split, "measure": score.measure}
        row["overall"] = score.overall
        rows.append(row | {column: score.per_answer_type.get(kind) for column, kind in ANSWER_TYPES.items()})
    return pd.DataFrame(rows)


def collect_question_types(scores: Iterable[tuple[int, str, str, Score]]) -> pd.DataFrame:
    """Return rows by network, split and question type: subnetwork, sparsity, seed, split, question_type, accuracy."""
    rows: list[dict[str, Any]] = []
    for seed, model, split, score in scores:
        name, sparsity = subnetwork_of(model)
        rows += [
            {"subnetwork": name, "sparsity": sparsity, "seed": seed, "split": split,
             "question_type": kind, "accuracy": accuracy}
            for kind, accuracy in sorted(score.per_question_type.items())
        ]  # fmt: skip
    return pd.DataFrame(rows)


def collect_files(files: Iterable[tuple[int, str, str]]) -> pd.DataFrame:
    """Return the CSV files of many networks, from (seed, model, path), stacked and labelled.

    Raises ArtifactError when one cannot be read, has an empty cell, or columns other than the one before.
    """
    tables: list[pd.DataFrame] = []
    before = ""
    for seed, model, path in files:
        name, sparsity = subnetwork_of(model)
        table = read_table(path)
        if table.isna().any(axis=None):
            raise ArtifactError(path, "has an empty cell", "a number or a name in each cell", REMAKE)
        if tables and list(table.columns) != list(tables[-1].columns[3:]):
            found, expected = (", ".join(map(str, columns)) for columns in (table.columns, tables[-1].columns[3:]))
            raise ArtifactError(path, f"columns {found}", f"{expected}, as in {before}", REMAKE)
        before = path
        table.insert(0, "subnetwork", name)
        table.insert(1, "sparsity", sparsity)
        table.insert(2, "seed", seed)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def over_seeds(results: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Return mean, sample standard deviation (n - 1), minimum, maximum and count of `columns` over seeds, by `by`.

    The standard deviation of one seed is NaN: unknown, not 0.
    """
    grouped = results.groupby(list(by), sort=True)[list(columns)]
    return grouped.agg(["mean", "std", "min", "max", "count"])

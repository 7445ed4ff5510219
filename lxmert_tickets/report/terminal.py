"""What `make demo` ends with: Table 1, and where everything lies."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table as RichTable

from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.layout import Layout
from lxmert_tickets.report.names import row_label
from lxmert_tickets.report.results import METRICS, read_table


def show_experiment(folder: Path, console: Console) -> None:
    """Print Table 1 of the experiment in `folder`, and the paths of its tables, figures and report.

    Raises ArtifactError when the workflow has not made the table yet.
    """
    paths = Layout(folder)
    numbers, words = Path(f"{paths.table}.csv"), Path(f"{paths.table}.md")
    for file in (numbers, words):
        if not file.is_file():
            raise ArtifactError(file, "no such file", "a finished experiment", "Run snakemake first.")
    table = read_table(numbers)
    shown = [column.removesuffix(" mean").rsplit(" ", 1) for column in table.columns if column.endswith(" mean")]
    for split in dict.fromkeys(split for split, _ in shown):
        console.print(_table(table, split, [metric for of_split, metric in shown if of_split == split]))
    caption = words.read_text(encoding="utf-8").rstrip().splitlines()[-1]
    console.print(f"{caption}\n", highlight=False, markup=False)
    for what, files in (
        ("tables", sorted(folder.glob("tables/*"))),
        ("figures", sorted([*folder.glob("figures/*.png"), *folder.glob("figures/*.html")])),
        ("results", [Path(paths.results)]),
        ("report", [Path(paths.report)]),
    ):
        for file in files:
            if file.is_file():
                console.print(f"{what:8s} {file}", highlight=False, markup=False, soft_wrap=True)


def _table(table: pd.DataFrame, split: str, metrics: Sequence[str]) -> RichTable:
    """Return the columns of one split: a terminal of 80 columns would cut them off, all side by side."""
    shown = RichTable(title=f"Table 1, {split}")
    shown.add_column("")
    for metric in metrics:
        shown.add_column(METRICS[metric], justify="right", no_wrap=True)
    n_seeds = table.filter(regex=" n_seeds$").max(axis=None)
    for _, row in table.iterrows():
        cells = [_cell(row[f"{split} {metric} mean"], row[f"{split} {metric} std"]) for metric in metrics]
        n_here = row.get(f"{split} n_seeds", 0)
        few = f" (n = {n_here})" if 0 < n_here < n_seeds else ""  # said of the row: cells have no room
        shown.add_row(row_label(row["row"]) + few, *cells)
    return shown


def _cell(mean: float, std: float) -> str:
    return " ±".join(f"{value:.2f}" for value in (mean, std) if not pd.isna(value))

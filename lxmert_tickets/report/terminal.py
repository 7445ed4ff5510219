"""What `make demo` ends with: Table 1, and where everything lies."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table as RichTable

from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.layout import Layout
from lxmert_tickets.report.names import row_label
from lxmert_tickets.report.results import METRICS


def show_experiment(folder: Path, console: Console) -> None:
    """Print Table 1 of the experiment in `folder`, and the paths of its tables, figures and report.

    Raises ArtifactError when the workflow has not made the table yet.
    """
    paths = Layout(folder)
    table_file = Path(f"{paths.table}.csv")
    if not table_file.is_file():
        raise ArtifactError(table_file, "no such file", "a finished experiment", "Run snakemake first.")
    table = pd.read_csv(table_file)
    shown = [column.removesuffix(" mean").rsplit(" ", 1) for column in table.columns if column.endswith(" mean")]
    for split in dict.fromkeys(split for split, _ in shown):
        console.print(_table(table, split, [metric for of_split, metric in shown if of_split == split]))
    console.print(f"{_caption(paths)}\n", highlight=False, markup=False)
    for what, files in (
        ("tables", sorted(folder.glob("tables/*"))),
        ("figures", sorted([*folder.glob("figures/*.png"), *folder.glob("figures/*.html")])),
        ("results", [Path(paths.results)]),
        ("report", [Path(paths.report)]),
    ):
        for file in files:
            if file.is_file():
                console.print(f"{what:8s} {file}", highlight=False, markup=False, soft_wrap=True)


def _caption(paths: Layout) -> str:
    """Return what the numbers are: the last line of the table in Markdown."""
    return Path(f"{paths.table}.md").read_text(encoding="utf-8").rstrip().splitlines()[-1]


def _table(table: pd.DataFrame, split: str, metrics: Sequence[str]) -> RichTable:
    """Return the columns of one split: a terminal of 80 columns would cut them off, all side by side."""
    shown = RichTable(title=f"Table 1, {split}")
    shown.add_column("")
    for metric in metrics:
        shown.add_column(METRICS[metric], justify="right", no_wrap=True)
    for _, row in table.iterrows():
        cells = [_cell(row[f"{split} {metric} mean"], row[f"{split} {metric} std"]) for metric in metrics]
        shown.add_row(row_label(row["row"]), *cells)
    return shown


def _cell(mean: float, std: float) -> str:
    return " ±".join(f"{value:.2f}" for value in (mean, std) if not pd.isna(value))

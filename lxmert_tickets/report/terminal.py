"""What `make demo` ends with: Table 1, and where everything lies."""

from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
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
    console.print(_table(read_table(numbers)), "")
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


def _table(table: pd.DataFrame) -> RichTable:
    """Return the splits below each other: side by side, a terminal of 80 columns would cut them off."""
    shown = RichTable(title="Table 1", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, 1))
    shown.add_column("")  # only names may wrap: a number that is cut off is another number
    for metric in METRICS.values():
        shown.add_column(metric, justify="right", no_wrap=True)
    ending = f" {next(iter(METRICS))} mean"
    n_seeds = table.filter(regex=" n_seeds$").max(axis=None)
    for split in (column.removesuffix(ending) for column in table.columns if column.endswith(ending)):
        shown.add_section()
        shown.add_row(split, style="bold")
        for _, row in table.iterrows():
            cells = [_cell(row[f"{split} {metric} mean"], row[f"{split} {metric} std"]) for metric in METRICS]
            n_here = row.get(f"{split} n_seeds", 0)
            few = f" (n = {n_here})" if 0 < n_here < n_seeds else ""  # said of the row: cells have no room
            shown.add_row(row_label(row["row"]) + few, *cells)
    return shown


def _cell(mean: float, std: float) -> str:
    return " ±".join(f"{value:.2f}" for value in (mean, std) if not pd.isna(value))

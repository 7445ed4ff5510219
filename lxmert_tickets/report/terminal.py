"""What `make demo` ends with: Table 1, and where everything is."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable

from lxmert_tickets.artifacts import REMAKE
from lxmert_tickets.environment import LEAST_WIDTH
from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.layout import Layout
from lxmert_tickets.report.names import row_label
from lxmert_tickets.report.results import METRICS, read_table

OF_A_SPLIT = ["n_seeds", *(f"{metric} {part}" for metric in METRICS for part in ("mean", "std"))]


def show_experiment(folder: Path, console: Console) -> None:
    """Print Table 1 of the experiment in `folder`, and the paths of its tables, figures and report.

    Raises ArtifactError when the workflow has not made the table yet, or it is damaged.
    """
    paths = Layout(folder)
    numbers, words = Path(f"{paths.table}.csv"), Path(f"{paths.table}.md")
    for file in (numbers, words):
        if not file.is_file():
            raise ArtifactError(file, "no such file", "a finished experiment", "Run snakemake first.")
    table, splits = _read(numbers)
    caption = _caption(words)
    console.width = max(console.width, LEAST_WIDTH)
    console.print(_table(table, splits), "")
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


def _read(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return Table 1 and the names of its splits."""
    table = read_table(path)
    splits = [column.removesuffix(" n_seeds") for column in table.columns if column.endswith(" n_seeds")]
    if not splits or list(table.columns) != ["row", *(f"{split} {what}" for split in splits for what in OF_A_SPLIT)]:
        found, expected = f"columns {', '.join(table.columns)}", f"row, and of each split {', '.join(OF_A_SPLIT)}"
        raise ArtifactError(path, found, expected, REMAKE)
    return table, splits


def _caption(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.endswith("\n"):
        raise ArtifactError(path, "is cut off", "a line break at its end", REMAKE)
    return text.splitlines()[-1]


def _table(table: pd.DataFrame, splits: Sequence[str]) -> RichTable:
    """Return the table with splits stacked: side by side, they would be cut off in a terminal of 80 columns."""
    shown = RichTable(title="Table 1", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, 1))
    shown.add_column("")  # only names may wrap: a number that is cut off is another number
    for metric in METRICS.values():
        shown.add_column(metric, justify="right", no_wrap=True)
    n_seeds = table[[f"{split} n_seeds" for split in splits]].max(axis=None)
    for split in splits:
        shown.add_section()
        shown.add_row(split, style="bold")
        for _, row in table.iterrows():
            cells = [_cell(row[f"{split} {metric} mean"], row[f"{split} {metric} std"]) for metric in METRICS]
            n_here = row[f"{split} n_seeds"]
            few = f" (n = {n_here})" if 0 < n_here < n_seeds else ""  # in the row's name: cells have no room
            shown.add_row(row_label(row["row"]) + few, *cells)
    return shown


def _cell(mean: float, std: float) -> str:
    return " ±".join(f"{value:.2f}" for value in (mean, std) if not pd.isna(value))

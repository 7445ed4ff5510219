"""What `make demo` ends with: Table 1, and where everything lies."""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table as RichTable

from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.layout import Layout
from lxmert_tickets.report.results import METRICS
from lxmert_tickets.report.tables import row_label


def show_experiment(folder: Path, console: Console) -> None:
    """Print Table 1 of the experiment in `folder`, and the paths of its tables, figures and report.

    Raises ArtifactError when the workflow has not made the table yet.
    """
    paths = Layout(folder)
    table_file = Path(f"{paths.table}.csv")
    if not table_file.is_file():
        raise ArtifactError(table_file, "no such file", "a finished experiment", "Run snakemake first.")
    console.print(_table(pd.read_csv(table_file)))
    for what, files in (
        ("tables", sorted(folder.glob("tables/*"))),
        ("figures", sorted(folder.glob("figures/*.png"))),
        ("results", [Path(paths.results)]),
        ("report", [Path(paths.report)]),
    ):
        for file in files:
            if file.is_file():
                console.print(f"{what:8s} {file}", highlight=False, markup=False, soft_wrap=True)


def _table(table: pd.DataFrame) -> RichTable:
    columns = [column.removesuffix(" mean") for column in table.columns if column.endswith(" mean")]
    n_seeds = int(table["n_seeds"].max())
    spread = f"mean ± standard deviation over {n_seeds} seeds" if n_seeds > 1 else "one seed"
    shown = RichTable(title="Table 1", caption=f"official VQA accuracy in percent, {spread}")
    shown.add_column("")
    for column in columns:
        split, metric = column.rsplit(" ", 1)
        shown.add_column(f"{split}\n{METRICS[metric]}", justify="right")
    for _, row in table.iterrows():
        cells = [_cell(row[f"{column} mean"], row[f"{column} std"]) for column in columns]
        shown.add_row(row_label(row["row"]), *cells)
    return shown


def _cell(mean: float, std: float) -> str:
    return " ±".join(f"{value:.2f}" for value in (mean, std) if not pd.isna(value))

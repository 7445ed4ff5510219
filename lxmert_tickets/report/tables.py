"""Table 1 of the paper: the full model and each subnetwork at one sparsity, on the test splits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lxmert_tickets.configuration.experiment import DENSE, percent_text
from lxmert_tickets.report.names import row_label
from lxmert_tickets.report.pages import page
from lxmert_tickets.report.results import METRICS, over_seeds

# Two splits take up to 1200 pixels. In a narrower window the type is smaller, and if that is not enough the table
# scrolls by itself. Paper does not scroll.
STYLE = """
thead tr:first-child th{text-align:center}
.scrolling{overflow-x:auto}
@media (max-width:1200px){.scrolling table{font-size:.8em}.scrolling :is(th,td){padding:.35em .4em}}
@media print{.scrolling{overflow-x:visible}.scrolling table{font-size:.6em}}
"""
MEASURES = {"official": "Official VQA accuracy", "soft labels": "Accuracy by soft labels"}


@dataclass(frozen=True)
class Cell:
    """Accuracy over seeds, in percent; `std` is None for a single seed, `mean` NaN where nothing is known."""

    mean: float
    std: float | None
    n_seeds: int


@dataclass(frozen=True)
class Table:
    """Rows of cells by (split, metric), the accuracies of `measure`; `seeds` are those behind any of them."""

    sparsity: float
    splits: tuple[str, ...]
    rows: dict[str, dict[tuple[str, str], Cell]]
    measure: str
    seeds: frozenset[int]
    notes: tuple[str, ...] = ()

    @property
    def n_seeds(self) -> int:
        """The largest number of seeds behind any cell."""
        return max(cell.n_seeds for row in self.rows.values() for cell in row.values())


def table_1(
    results: pd.DataFrame, sparsity: float, splits: Sequence[str], otherwise: str, notes: Sequence[str] = ()
) -> Table:
    """Return the dense network's row, and that of every subnetwork that was trained at `sparsity`.

    Shown are those of `splits` that have scores. If none has, as before EvalAI has scored a submission, the table shows
    the split `otherwise`, says so, and adds the `notes` on that split.
    """
    at = results[results["subnetwork"].eq(DENSE) | results["sparsity"].eq(sparsity)]
    names = list(dict.fromkeys(at["subnetwork"]))  # in the order of the configuration
    shown, told = [split for split in splits if split in set(at["split"])], []
    if not shown:
        told = [f"No score of {' or '.join(splits) or 'a test split'} is known yet: this is {otherwise}.", *notes]
        shown = [otherwise]
    at = at[at["split"].isin(shown)]
    summary = over_seeds(at, ["subnetwork", "split"], list(METRICS))
    rows = {
        name: {(split, metric): _cell(summary, (name, split), metric) for split in shown for metric in METRICS}
        for name in names
    }
    measure = " and ".join(MEASURES[name] for name in dict.fromkeys(at["measure"]))
    return Table(sparsity, tuple(shown), rows, measure, frozenset(at["seed"]), tuple(told))


def _cell(summary: pd.DataFrame, row: tuple[str, str], metric: str) -> Cell:
    if row not in summary.index:  # EvalAI has not scored it
        return Cell(math.nan, None, 0)
    mean, std, n_seeds = summary.loc[[row], [(metric, "mean"), (metric, "std"), (metric, "count")]].to_numpy()[0]
    return Cell(float(mean), float(std) if n_seeds > 1 else None, int(n_seeds))


def as_csv(table: Table) -> str:
    """Return the table with a column n_seeds for each split, and mean and std for each split and metric."""
    header, lines = ["row"], [[name] for name in table.rows]
    for split in table.splits:
        header += [f"{split} n_seeds", *(f"{split} {metric} {part}" for metric in METRICS for part in ("mean", "std"))]
        for line, row in zip(lines, table.rows.values(), strict=True):
            cells = [row[split, metric] for metric in METRICS]
            line.append(str(max(cell.n_seeds for cell in cells)))
            line += [text for cell in cells for text in (_number(cell.mean), _number(cell.std))]
    return "".join(",".join(line) + "\n" for line in [header, *lines])


def as_markdown(table: Table) -> str:
    """Return the table for a README."""
    columns = [(split, metric) for split in table.splits for metric in METRICS]
    head = ["", *(f"{split} {METRICS[metric]}" for split, metric in columns)]
    lines = [_piped(head), _piped(["---", *("---:" for _ in columns)])]
    lines += [
        _piped([row_label(name), *(_text(table, row[column]) for column in columns)])
        for name, row in table.rows.items()
    ]
    return "\n".join([*lines, "", caption(table)]) + "\n"


def as_latex(table: Table) -> str:
    """Return the table for a paper; needs the package booktabs."""
    columns = [(split, metric) for split in table.splits for metric in METRICS]
    splits = [split.replace("_", r"\_") for split in table.splits]
    groups = " & ".join(rf"\multicolumn{{{len(METRICS)}}}{{c}}{{{split}}}" for split in splits)
    rules = "".join(
        rf"\cmidrule(lr){{{2 + k * len(METRICS)}-{1 + (k + 1) * len(METRICS)}}}" for k in range(len(table.splits))
    )
    lines = [
        rf"% {caption(table)}".replace("±", "+-"),
        r"% Needs \usepackage{booktabs}.",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        rf" & {groups} \\",
        rules,
        " & ".join(["", *(METRICS[metric] for _, metric in columns)]) + r" \\",
        r"\midrule",
    ]
    for name, row in table.rows.items():
        cells = [_text(table, row[column]).replace("±", r"$\pm$") for column in columns]
        lines.append(" & ".join([row_label(name), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def as_html(table: Table) -> str:
    """Return the table as a page of its own, for the report."""
    columns = [(split, metric) for split in table.splits for metric in METRICS]
    groups = "".join(f'<th colspan="{len(METRICS)}">{split}</th>' for split in table.splits)
    metrics = "".join(f"<th>{METRICS[metric]}</th>" for _, metric in columns)
    body = "".join(
        f"<tr><th>{row_label(name)}</th>{''.join(f'<td>{_text(table, row[column])}</td>' for column in columns)}</tr>"
        for name, row in table.rows.items()
    )
    head = f"<thead><tr><th></th>{groups}</tr><tr><th></th>{metrics}</tr></thead>"
    shown = f'<div class="scrolling"><table>{head}<tbody>{body}</tbody></table></div>'
    return page("Table 1", f"{shown}<p>{caption(table)}</p>", STYLE)


def caption(table: Table) -> str:
    """Return the caption, which says what the numbers are."""
    spread = f"mean ± sample standard deviation over {table.n_seeds} seeds" if table.n_seeds > 1 else "one seed"
    if len(table.seeds) > table.n_seeds:
        spread += ", not the same in every cell"
    said = f"{table.measure} in percent at {percent_text(table.sparsity)} % sparsity, {spread}."
    return " ".join([said, *table.notes])


def text_of(cell: Cell) -> str:
    """Return a cell as "72.45 ± 0.52", or the mean alone for one seed."""
    return " ± ".join(filter(None, [_number(cell.mean), _number(cell.std)]))


def _text(table: Table, cell: Cell) -> str:
    """Return a cell's text; it says so if fewer seeds are behind it than behind others."""
    return f"{text_of(cell)} (n = {cell.n_seeds})" if 0 < cell.n_seeds < table.n_seeds else text_of(cell)


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.2f}"  # NaN: no such questions, or not scored


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

"""How figures look: readable in print, in grey, and by the colour-blind."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.textpath import TextPath

from lxmert_tickets.artifacts import replacing

# Okabe & Ito (2008): distinguishable with any colour vision; markers and dashes distinguish them in grey.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")  # one more, so that colour and marker repeat together only after 56
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = ((0, ()), (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
DENSE_STYLE: dict[str, Any] = {"color": "#000000", "marker": "x", "linestyle": (0, (4, 3)), "linewidth": 1}
NARROW_INCHES = 4.5  # a narrower figure fits one column of a paper: smaller type, stacked panels

SETTINGS: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.handlelength": 3.3,  # so that the marker leaves room for dashes
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 0.9,  # so that two networks fit in a row of 3.3 inches
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "errorbar.capsize": 3,
    "svg.hashsalt": "lxmert-tickets",  # equal figures give equal bytes
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def settings(width_inches: float) -> dict[Any, Any]:
    """Return matplotlib's settings for a figure of this width."""
    size = 7 if width_inches < NARROW_INCHES else 9
    return SETTINGS | {"font.size": size, "axes.titlesize": size}


def line_style(position: int) -> dict[str, Any]:
    """Return color, marker and dashes of the subnetwork at `position` of the configuration."""
    return {
        "color": COLORS[position % len(COLORS)],
        "marker": MARKERS[position % len(MARKERS)],
        "linestyle": DASHES[position % len(DASHES)],
    }


def new_figure(width_inches: float, panel_inches: float, n_panels: int = 1, *, share_y: bool = False) -> Figure:
    """Return a figure of empty panels, `panel_inches` high with their labels: side by side, or stacked."""
    n_rows = n_panels if width_inches < NARROW_INCHES else 1
    figure = Figure(figsize=(width_inches, panel_inches * n_rows), layout="constrained")
    figure.subplots(n_rows, n_panels // n_rows, sharey=share_y)
    return figure


def legend_below(figure: Figure) -> None:
    """Add the first panel's legend below all panels, in rows of equal length, with as many entries per row as fit."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    width, height = figure.get_size_inches()
    letter_inches = mpl.rcParams["font.size"] / 72
    n_rows = math.ceil(len(labels) / max(1, int(width / max(map(_entry_inches, labels)))))
    figure.set_figheight(height + (1.5 * n_rows + 0.5) * letter_inches)
    figure.legend(handles, labels, loc="outside lower center", ncols=math.ceil(len(labels) / n_rows))


def _entry_inches(label: str) -> float:
    """Return the width of `label` in a legend, with the line before it and the space to the next."""
    now = mpl.rcParams
    ems = now["legend.handlelength"] + now["legend.handletextpad"] + now["legend.columnspacing"]
    words = TextPath((0, 0), label, size=now["font.size"]).get_extents()
    return float(words.width + ems * now["font.size"]) / 72


def step_of_columns(figure: Figure, axes: Axes, texts: Iterable[Text], gap_points: float = 0.0) -> int:
    """Return the least k such that the widest of `texts` fits in every k-th column, each 1 wide on the x axis.

    Neighbours are at least `gap_points` apart.
    """
    figure.draw_without_rendering()  # lays out
    (left, _), (right, _) = axes.transData.transform([(0, 0), (1, 0)])
    widest = max(text.get_window_extent().width for text in texts)
    return math.ceil((float(widest) + gap_points * figure.dpi / 72) / float(right - left))


def save_figure(figure: Figure, paths: Sequence[str | Path], dpi: int) -> None:
    """Write `figure` to each of `paths`, by suffix (.png, .pdf, .svg); no dates inside."""
    undated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    with mpl.rc_context(settings(figure.get_figwidth())):
        for path in map(Path, paths):
            with replacing(path) as temporary:
                kind = path.suffix
                figure.savefig(temporary, format=kind[1:], dpi=dpi, metadata=undated.get(kind))

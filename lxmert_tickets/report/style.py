"""How figures look: readable in print, in grey, and by the colour-blind."""

import math
import textwrap
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
    """Add the first panel's legend below all panels, in rows of equal length, with as many entries per row as fit.

    A label that is wider than the figure takes several lines.
    """
    now = mpl.rcParams
    letter_inches = now["font.size"] / 72
    ems = now["legend.handlelength"] + now["legend.handletextpad"] + now["legend.columnspacing"]
    beside = ems * letter_inches  # the line before a label, and the space to the next entry
    handles, labels = figure.axes[0].get_legend_handles_labels()
    width, height = figure.get_size_inches()
    labels = [_in_lines(label, width - beside) for label in labels]
    widest = beside + max(_inches(line) for label in labels for line in label.split("\n"))
    n_rows = math.ceil(len(labels) / max(1, int(width / widest)))
    n_more_lines = sum(label.count("\n") for label in labels)
    figure.set_figheight(height + (1.5 * n_rows + 1.2 * n_more_lines + 0.5) * letter_inches)
    figure.legend(handles, labels, loc="outside lower center", ncols=math.ceil(len(labels) / n_rows))


def keep_inside(figure: Figure) -> None:
    """Break the labels of axes that reach beyond the figure into lines: they hold names of any length."""
    figure.draw_without_rendering()  # lays out
    for axes in figure.axes:
        panel = axes.get_window_extent()
        x_label, y_label = axes.xaxis.label, axes.yaxis.label
        for label, taken, middle, length in (
            (x_label, x_label.get_window_extent().width, (panel.x0 + panel.x1) / 2, figure.bbox.width),
            (y_label, y_label.get_window_extent().height, (panel.y0 + panel.y1) / 2, figure.bbox.height),
        ):
            there_is = 2 * min(middle, length - middle)  # a label is centered on its panel
            if taken > there_is:
                label.set_text(_in_lines(label.get_text(), there_is / figure.dpi))


def _in_lines(text: str, inches: float) -> str:
    """Return `text` in lines of at most `inches`, broken at spaces and dashes, and elsewhere if there are none."""
    lines = text.split("\n")
    n_characters = max(map(len, lines))
    # Hinted letters are wider than their outlines.
    while n_characters > 1 and (share := inches / (1.1 * max(map(_inches, lines)))) < 1:
        n_characters = max(1, min(n_characters - 1, int(n_characters * share)))
        lines = [part for line in text.split("\n") for part in textwrap.wrap(line, n_characters)]
    return "\n".join(lines)


def _inches(line: str) -> float:
    """Return the width of a line of text."""
    return float(TextPath((0, 0), line, size=mpl.rcParams["font.size"]).get_extents().width) / 72 if line else 0.0


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

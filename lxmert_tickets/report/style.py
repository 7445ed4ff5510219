"""How figures look: readable in print, in grey, and by the colour-blind."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from lxmert_tickets.artifacts import replacing
from lxmert_tickets.experiment import Report

# Okabe & Ito (2008): told apart with any colour vision; markers and dashes tell them apart in grey.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = ((0, ()), (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
DENSE_COLOR = "#000000"

SETTINGS = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "errorbar.capsize": 3,
    "svg.hashsalt": "lxmert-tickets",  # equal figures give equal bytes
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def color(position: int) -> str:
    return COLORS[position % len(COLORS)]


def marker(position: int) -> str:
    return MARKERS[position % len(MARKERS)]


def dashes(position: int) -> tuple[int, tuple[float, ...]]:
    return DASHES[position % len(DASHES)]


def new_figure(look: Report, height_share: float = 0.62, n_rows: int = 1, n_columns: int = 1) -> Figure:
    """Return an empty figure, `height_share` as high as wide, with `figure.axes` in reading order."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(
            figsize=(look.figure_width_inches, look.figure_width_inches * height_share), layout="constrained"
        )
        figure.subplots(n_rows, n_columns, squeeze=False)
        return figure


def save_figure(figure: Figure, paths: Sequence[str | Path], dpi: int) -> None:
    """Write `figure` to each of `paths`, by suffix (.png, .pdf, .svg); no dates inside."""
    undated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    with mpl.rc_context(SETTINGS):
        for path in map(Path, paths):
            with replacing(path) as temporary:
                kind = path.suffix
                figure.savefig(temporary, format=kind[1:], dpi=dpi, metadata=undated.get(kind))

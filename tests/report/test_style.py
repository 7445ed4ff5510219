"""Figures share one style, and are saved with the same bytes every time."""

import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from test_contact_sheet import sheet
from test_figures import DRAWN, LABELS, NARROW, WIDE, Draw, curves, figure1

from lxmert_tickets.report.style import line_style, new_figure, save_figure


@pytest.mark.parametrize("draw", [*DRAWN, sheet])
def test_equal_figures_give_equal_bytes(tmp_path: Path, draw: Draw) -> None:
    written = []
    for name in "ab":
        paths = [tmp_path / f"{name}.{suffix}" for suffix in ("png", "pdf", "svg")]
        save_figure(draw(), paths, dpi=40)
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]


def test_a_vector_figure_holds_text_as_text_and_no_date(tmp_path: Path) -> None:
    save_figure(figure1(), [tmp_path / "a.svg", tmp_path / "a.pdf"], dpi=40)
    svg = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert all(f">{label}</text>" in svg for label in LABELS)
    assert not re.search(r"<dc:date>", svg)
    assert b"CreationDate" not in (tmp_path / "a.pdf").read_bytes()


@pytest.mark.parametrize(("width", "size"), [(WIDE, 9), (NARROW, 7)])
def test_text_is_smaller_in_a_narrow_figure(tmp_path: Path, width: float, size: int) -> None:
    figure = curves(width=width)
    save_figure(figure, [tmp_path / "a.png"], dpi=40)
    axes = figure.axes[0]
    words = [axes.xaxis.label, *axes.get_yticklabels(), *figure.legends[0].get_texts()]
    assert {text.get_fontsize() for text in words} == {size}


def test_panels_are_stacked_in_a_narrow_figure() -> None:
    for width, n_rows in ((WIDE, 1), (NARROW, 3)):
        tops = {round(axes.get_position().y0, 3) for axes in new_figure(width, panel_inches=2, n_panels=3).axes}
        assert len(tops) == n_rows


def test_there_is_a_style_for_any_number_of_subnetworks_and_the_first_ones_differ() -> None:
    styles = [line_style(position) for position in range(30)]
    assert len({style["color"] for style in styles[:7]}) == 7
    assert len({(style["color"], style["marker"]) for style in styles}) == 30  # also where there are no lines to dash


@pytest.mark.parametrize("width", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_legend_shows_dashes_beside_the_marker(width: float) -> None:
    figure = curves(width=width)
    figure.set_dpi(288)  # 4 pixels a point
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    grey = np.asarray(canvas.buffer_rgba())[:, :, :3].mean(axis=2)
    widest = {}
    joining = [line for line in figure.legends[0].findobj(Line2D) if line.get_linestyle() != "None"]
    for label, line in zip(LABELS, (line.get_window_extent() for line in joining), strict=True):
        row = grey[len(grey) - 1 - round(line.y0), round(line.x0) : round(line.x1)]
        gaps = [len(list(pixels)) for is_paper, pixels in groupby(row > 200) if is_paper]
        widest[label] = max(gaps, default=0) / 4
    assert widest.pop("low-magnitude pruned") == 0
    assert min(widest.values()) > 1.5, widest  # points, the thickness of the line

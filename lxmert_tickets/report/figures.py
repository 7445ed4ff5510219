"""Figure 1 of the paper, and figures that explain it.

Error bars and bands over seeds show a `spread`: "std", one sample standard deviation to either side, or "range",
minimum to maximum.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lxmert_tickets.configuration.experiment import DENSE, percent_text
from lxmert_tickets.report.names import label_of
from lxmert_tickets.report.results import METRICS, over_seeds
from lxmert_tickets.report.style import (
    DENSE_STYLE,
    keep_inside,
    legend_below,
    line_style,
    new_figure,
    settings,
    step_of_columns,
)

UNREAD = "*"  # marks layers that the answer does not depend on
STREAMS = ("language", "vision", "cross", "pooler", "other")
BRANCHES = ("attention", "language", "vision")  # of a cross layer: the first feeds the other two


def accuracy_figure(results: pd.DataFrame, split: str, spread: str, width_inches: float) -> Figure:
    """Return Figure 1: overall accuracy against sparsity on `split`, over seeds, with the dense network as a line."""
    with mpl.rc_context(settings(width_inches)):
        figure = new_figure(width_inches, panel_inches=0.58 * width_inches)
        axes = figure.axes[0]
        _draw_accuracy(axes, results[results["split"] == split], "overall", spread)
        axes.set(xlabel="pruned weights (% of prunable)", ylabel=f"{split} accuracy (%)", xticks=range(0, 101, 20))
        legend_below(figure)
        keep_inside(figure)
    return figure


def answer_type_figure(results: pd.DataFrame, split: str, spread: str, width_inches: float) -> Figure:
    """Return accuracy against sparsity on `split` for each answer type, side by side."""
    kinds = [metric for metric in METRICS if metric != "overall"]
    with mpl.rc_context(settings(width_inches)):
        figure = new_figure(width_inches, panel_inches=2.3, n_panels=len(kinds), share_y=True)
        for axes, kind in zip(figure.axes, kinds, strict=True):
            _draw_accuracy(axes, results[results["split"] == split], kind, spread)
            axes.set(title=METRICS[kind], xlabel="pruned (%)", xticks=range(20, 100, 20))
        figure.axes[0].set_ylabel(f"{split} accuracy (%)")
        legend_below(figure)
        keep_inside(figure)
    return figure


def _draw_accuracy(axes: Axes, results: pd.DataFrame, metric: str, spread: str) -> None:
    styles = _styles(results["subnetwork"])
    dense = over_seeds(results[results["subnetwork"] == DENSE], ["subnetwork"], [metric])
    mean, (below, above) = float(dense[metric, "mean"].iloc[0]), _reach(dense, metric, spread)[:, 0]
    axes.axhspan(mean - below, mean + above, color="#000000", alpha=0.1, linewidth=0)
    axes.axhline(mean, label=label_of(DENSE), **styles.pop(DENSE) | {"marker": ""})
    for name, style in styles.items():
        part = over_seeds(results[results["subnetwork"] == name], ["sparsity"], [metric])
        if len(part) == 1:
            style |= {"linestyle": "none"}
        axes.errorbar(
            part.index, part[metric, "mean"], yerr=_bars(part, metric, spread), label=label_of(name), **style
        )  # fmt: skip
    axes.set_xlim(0, 100)


def _styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return how to draw the dense network and each subnetwork; by position, so that all figures agree."""
    subnetworks = [name for name in dict.fromkeys(names) if name != DENSE]
    return {DENSE: dict(DENSE_STYLE)} | {name: line_style(position) for position, name in enumerate(subnetworks)}


def _reach(part: pd.DataFrame, column: str, spread: str) -> np.ndarray:
    """Return how far error bars reach below and above the mean, (2, n); 0 for one seed."""
    if spread == "range":
        reach = [part[column, "mean"] - part[column, "min"], part[column, "max"] - part[column, "mean"]]
    else:
        reach = [part[column, "std"].fillna(0)] * 2
    return np.asarray(reach, dtype=float)


def _bars(part: pd.DataFrame, column: str, spread: str) -> np.ndarray | None:
    """Return the reach of error bars; None for one seed, whose spread is not known."""
    return _reach(part, column, spread) if (part[column, "count"] > 1).any() else None


def question_type_figure(
    question_types: pd.DataFrame, split: str, sparsity: float, spread: str, width_inches: float
) -> Figure:
    """Return accuracy by question type on `split`: the dense network and every subnetwork at `sparsity`."""
    part, styles = _at_sparsity(question_types[question_types["split"] == split], sparsity)
    summary = over_seeds(part, ["question_type", "subnetwork"], ["accuracy"])
    order = summary["accuracy", "mean"].xs(DENSE, level="subnetwork").sort_values().index
    rows = np.arange(len(order))
    step = 0.72 / len(styles)
    with mpl.rc_context(settings(width_inches)):
        figure = new_figure(width_inches, panel_inches=0.6 + 0.1 * len(order) * (1 + len(styles)))
        axes = figure.axes[0]
        for position, (name, style) in enumerate(styles.items()):
            values = summary.loc[[(kind, name) for kind in order]]
            height = rows + step * ((len(styles) - 1) / 2 - position)
            axes.errorbar(
                values["accuracy", "mean"], height, xerr=_bars(values, "accuracy", spread), label=label_of(name),
                **style | {"linestyle": "none", "elinewidth": 1.2},
            )  # fmt: skip
        axes.set_yticks(rows, [f"{kind} …" for kind in order])
        axes.set_yticks(rows[1:] - 0.5, minor=True)
        axes.tick_params(axis="y", which="both", length=0)
        axes.grid(visible=False, which="major", axis="y")
        axes.grid(visible=True, which="minor", axis="y")
        axes.set(
            xlabel=f"{split} accuracy at {percent_text(sparsity)} % sparsity (%)",
            xlim=(-3, 103), ylim=(-0.5, len(order) - 0.5),
        )  # fmt: skip
        legend_below(figure)
        keep_inside(figure)
    return figure


def _at_sparsity(table: pd.DataFrame, sparsity: float) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Return the rows of the dense network and of subnetworks at `sparsity`, and how to draw each."""
    part = table[table["subnetwork"].eq(DENSE) | table["sparsity"].eq(sparsity)]
    present = set(part["subnetwork"])
    return part, {name: style for name, style in _styles(table["subnetwork"]).items() if name in present}


def sparsity_figure(sparsities: pd.DataFrame, subnetwork: str, width_inches: float) -> Figure:
    """Return where magnitude pruned `subnetwork`: each layer's sparsity at each overall sparsity, mean over seeds.

    A row is a layer, in the order of the network; the color shows more or less than an even share. If columns are
    narrow, only every second, third, ... has numbers.
    """
    part = sparsities[(sparsities["subnetwork"] == subnetwork) & (sparsities["part"] == "layer")]
    names = sorted(set(part["name"]), key=_depth)
    unread = set(part.loc[~part["reaches_answer"].astype(bool), "name"])
    means = part.pivot_table(index="name", columns="sparsity", values="sparsity_percent", aggfunc="mean").loc[names]
    values, wholes = means.to_numpy(), means.columns.to_numpy()
    excess = values - wholes
    limit = max(1.0, float(np.abs(excess).max()))
    with mpl.rc_context(settings(width_inches)):
        figure = new_figure(width_inches, panel_inches=max(2.9, 1.05 + 0.2 * len(names)))
        axes = figure.axes[0]
        mesh = axes.pcolormesh(excess, cmap="PuOr_r", vmin=-limit, vmax=limit, edgecolors="white", linewidth=0.8)
        for row, column in np.ndindex(*values.shape):
            ink = "white" if abs(excess[row, column]) > 0.5 * limit else "black"
            axes.text(
                column + 0.5, row + 0.5, _whole_percent(float(values[row, column])),
                color=ink, fontsize="x-small", ha="center", va="center",
            )  # fmt: skip
        centers, labels = np.arange(len(wholes)) + 0.5, [percent_text(whole) for whole in wholes]
        axes.set_xticks(centers, labels)
        axes.set_yticks(np.arange(len(names)) + 0.5, [name + UNREAD * (name in unread) for name in names])
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        # On separate lines: text wider than the panel would be cut off.
        lines = ["pruned in the whole network (%)", f"subnetwork: {label_of(subnetwork)}"]
        lines += [f"{UNREAD} never reaches the answer"] if unread else []
        axes.set(xlabel="\n".join(lines), ylabel="pruned in the layer (%)")
        figure.colorbar(mesh, ax=axes, label="points above an even share", aspect=30, pad=0.02)
        keep_inside(figure)
        step = step_of_columns(figure, axes, axes.get_xticklabels())
        axes.set_xticks(centers[::step], labels[::step])
        step = step_of_columns(figure, axes, axes.texts)
        if step > 1:
            mesh.set_edgecolor("face")  # numbers extend into the next column
        for text in axes.texts:
            text.set_visible(int(text.get_position()[0]) % step == 0)
    return figure


def _whole_percent(percent: float) -> str:
    """Return a share as a whole number: 0 only for nothing, 100 only for all of a layer."""
    text = f"{percent:.0f}"
    return "<1" if text == "0" and percent > 0 else ">99" if text == "100" and percent < 100 else text


def _depth(layer: str) -> tuple[int, list[int]]:
    """Return where in the network a layer such as "cross 4 vision" computes, to sort by."""
    stream, *rest = layer.split()
    return STREAMS.index(stream), [int(word) if word.isdigit() else BRANCHES.index(word) for word in rest]


def learning_curve_figure(histories: pd.DataFrame, sparsity: float, spread: str, width_inches: float) -> Figure:
    """Return loss and validation accuracy by epoch: the dense network and each subnetwork at `sparsity`."""
    part, styles = _at_sparsity(histories, sparsity)
    shown = {"train_loss": "training loss", "val_accuracy_percent": "validation accuracy (%)"}
    with mpl.rc_context(settings(width_inches)):
        figure = new_figure(width_inches, panel_inches=2.4, n_panels=2)
        for axes, (column, label) in zip(figure.axes, shown.items(), strict=True):
            for name, style in styles.items():
                line = over_seeds(part[part["subnetwork"] == name], ["epoch"], [column])
                axes.errorbar(
                    line.index, line[column, "mean"], yerr=_bars(line, column, spread), label=label_of(name), **style
                )  # fmt: skip
            axes.set(xlabel=f"epoch, at {percent_text(sparsity)} % sparsity", ylabel=label)
            axes.set_xticks(sorted(set(part["epoch"])))
        legend_below(figure)
        for axes in figure.axes:
            step = step_of_columns(figure, axes, axes.get_xticklabels(), gap_points=4)
            axes.set_xticks([epoch for epoch in axes.get_xticks() if epoch % step == 0])
    return figure


# The function that draws each figure, by the name of its file.
FIGURES: Mapping[str, Callable[..., Figure]] = {
    "figure1": accuracy_figure,
    "answer_types": answer_type_figure,
    "question_types": question_type_figure,
    "sparsity": sparsity_figure,
    "learning_curves": learning_curve_figure,
}

"""Figure 1 of the paper, and figures that explain it."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lxmert_tickets.experiment import DENSE, Report
from lxmert_tickets.report.results import METRICS, over_seeds
from lxmert_tickets.report.style import DENSE_COLOR, SETTINGS, color, dashes, marker, new_figure


def label_of(name: str) -> str:
    """Return a subnetwork's name as a legend shows it."""
    return "full model" if name == DENSE else f"{name.replace('_', '-')} pruned"


def accuracy_figure(results: pd.DataFrame, split: str, look: Report) -> Figure:
    """Return Figure 1: overall accuracy against sparsity on `split`, over seeds, with the dense network as a line."""
    with mpl.rc_context(SETTINGS):
        figure = new_figure(look)
        axes = figure.axes[0]
        _draw_accuracy(axes, results[results["split"] == split], "overall", look)
        axes.set(xlabel="pruned weights (% of prunable)", ylabel=f"{split} accuracy (%)")
        axes.legend(loc="lower left")
    return figure


def answer_type_figure(results: pd.DataFrame, split: str, look: Report) -> Figure:
    """Return accuracy against sparsity on `split` for each answer type, side by side."""
    kinds = [metric for metric in METRICS if metric != "overall"]
    with mpl.rc_context(SETTINGS):
        figure = new_figure(look, height_share=0.45, n_columns=len(kinds))
        for axes, kind in zip(figure.axes, kinds, strict=True):
            _draw_accuracy(axes, results[results["split"] == split], kind, look)
            axes.set(title=METRICS[kind], xlabel="pruned (%)")
        figure.axes[0].set_ylabel(f"{split} accuracy (%)")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _draw_accuracy(axes: Axes, results: pd.DataFrame, metric: str, look: Report) -> None:
    names = [name for name in dict.fromkeys(results["subnetwork"]) if name != DENSE]
    for position, name in enumerate(names):
        part = over_seeds(results[results["subnetwork"] == name], ["sparsity"], [metric])[metric]
        axes.errorbar(
            part.index, part["mean"], yerr=_spread(part, look), color=color(position), marker=marker(position),
            linestyle=dashes(position) if len(part) > 1 else "none", label=label_of(name),
        )  # fmt: skip
    dense = over_seeds(results[results["subnetwork"] == DENSE], ["subnetwork"], [metric])[metric]
    mean, (below, above) = float(dense["mean"].iloc[0]), _spread(dense, look)[:, 0]
    axes.axhline(mean, color=DENSE_COLOR, linestyle=(0, (4, 3)), linewidth=1, label=label_of(DENSE))
    axes.axhspan(mean - below, mean + above, color=DENSE_COLOR, alpha=0.1, linewidth=0)
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 20))


def _spread(part: pd.DataFrame, look: Report) -> np.ndarray:
    """Return how far the error bars reach below and above the mean, (2, n); 0 for one seed."""
    if look.spread == "range":
        reach = [part["mean"] - part["min"], part["max"] - part["mean"]]
    else:
        reach = [part["std"].fillna(0)] * 2
    return np.asarray(reach, dtype=float)


def question_type_figure(question_types: pd.DataFrame, split: str, look: Report) -> Figure:
    """Return accuracy by question type on `split`: the dense network and every subnetwork at Table 1's sparsity."""
    sparsity = look.table_sparsity
    part = question_types[
        (question_types["split"] == split)
        & (question_types["subnetwork"].eq(DENSE) | question_types["sparsity"].eq(sparsity))
    ]
    names = list(dict.fromkeys(part["subnetwork"]))
    summary = over_seeds(part, ["question_type", "subnetwork"], ["accuracy"])["accuracy"]
    order = summary.xs(DENSE, level="subnetwork")["mean"].sort_values().index
    rows = np.arange(len(order))
    with mpl.rc_context(SETTINGS):
        figure = new_figure(look, height_share=0.3 + 0.05 * len(order))
        axes = figure.axes[0]
        for position, name in enumerate(names):
            values = summary.xs(name, level="subnetwork").loc[order]
            offset = 0.12 * (position - (len(names) - 1) / 2)
            look_of = (DENSE_COLOR, "|") if name == DENSE else (color(position - 1), marker(position - 1))
            axes.errorbar(
                values["mean"], rows - offset, xerr=_spread(values, look), linestyle="none",
                color=look_of[0], marker=look_of[1], markersize=10 if name == DENSE else 5, label=label_of(name),
            )  # fmt: skip
        axes.set_yticks(rows, [f"{kind} …" for kind in order])
        axes.set(xlabel=f"{split} accuracy at {sparsity:g} % sparsity (%)", xlim=(0, 100))
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def sparsity_figure(sparsities: pd.DataFrame, subnetwork: str, look: Report) -> Figure:
    """Return where magnitude pruned: the sparsity of each layer at each sparsity of the whole, mean over seeds.

    Lines of one stream share a color; the branch that never reaches the answer is dashed.
    """
    part = sparsities[(sparsities["subnetwork"] == subnetwork) & (sparsities["part"] == "layer")]
    summary = over_seeds(part, ["stream", "name", "reaches_answer", "sparsity"], ["sparsity_percent"])
    means = summary["sparsity_percent", "mean"]
    streams = list(dict.fromkeys(means.index.get_level_values("stream")))
    with mpl.rc_context(SETTINGS):
        figure = new_figure(look, height_share=0.75, n_rows=2, n_columns=2)
        for axes, (position, stream) in zip(figure.axes, enumerate(streams), strict=False):
            of_stream = means.xs(stream, level="stream")
            names = list(dict.fromkeys(of_stream.index.get_level_values("name")))
            for row, name in enumerate(names):
                line = of_stream.xs(name, level="name")
                dead = not bool(line.index.get_level_values("reaches_answer")[0])
                axes.plot(
                    line.index.get_level_values("sparsity"), line.to_numpy(), marker=marker(row), markersize=4,
                    color=color(position), alpha=1 - 0.6 * row / max(len(names), 1),
                    linestyle=(0, (2, 2)) if dead else "-", label=name + (" (never reaches the answer)" if dead else ""),
                )  # fmt: skip
            axes.plot([0, 100], [0, 100], color="#888888", linewidth=0.7, zorder=0)
            axes.set(title=stream, xlim=(0, 100), ylim=(0, 102))
            axes.legend(fontsize=6, loc="upper left")
        for axes in figure.axes[len(streams) :]:
            axes.set_axis_off()
        figure.supxlabel("pruned in the whole network (%)", fontsize=9)
        figure.supylabel("pruned in the layer (%)", fontsize=9)
    return figure


def learning_curve_figure(histories: pd.DataFrame, look: Report) -> Figure:
    """Return training loss and validation accuracy by epoch: the dense network and each subnetwork at Table 1's sparsity."""
    sparsity = look.table_sparsity
    part = histories[histories["subnetwork"].eq(DENSE) | histories["sparsity"].eq(sparsity)]
    names = [DENSE, *(name for name in dict.fromkeys(part["subnetwork"]) if name != DENSE)]
    shown = {"train_loss": "training loss", "val_accuracy_percent": "validation accuracy (%)"}
    with mpl.rc_context(SETTINGS):
        figure = new_figure(look, height_share=0.5, n_columns=2)
        for axes, (column, label) in zip(figure.axes, shown.items(), strict=True):
            for position, name in enumerate(names):
                line = over_seeds(part[part["subnetwork"] == name], ["epoch"], [column])[column]
                axes.errorbar(
                    line.index, line["mean"], yerr=_spread(line, look), label=label_of(name), marker=marker(position),
                    color=DENSE_COLOR if name == DENSE else color(position - 1), linestyle=dashes(position),
                )  # fmt: skip
            axes.set(xlabel="epoch", ylabel=label)
            axes.set_xticks(sorted(set(part["epoch"])))
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure

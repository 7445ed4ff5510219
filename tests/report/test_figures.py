"""Every figure draws what the tables say, for one seed and many, one sparsity and many, wide and narrow."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import (
    KINDS,
    MODELS,
    SPLITS,
    WITH_LONGER_NAMES,
    Models,
    histories,
    question_types,
    results,
    sparsities,
)
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from PIL import Image

from lxmert_tickets.report.figures import (
    FIGURES,
    accuracy_figure,
    answer_type_figure,
    learning_curve_figure,
    question_type_figure,
    sparsity_figure,
)
from lxmert_tickets.report.names import label_of
from lxmert_tickets.report.style import COLORS, save_figure

ONE_SPARSITY = tuple(model for model in MODELS if model[1] in {0.0, 50.0})
LABELS = ["full model", "low-magnitude pruned", "high-magnitude pruned", "random pruned"]
WIDE, NARROW = 6.0, 3.3  # inches

Draw = Callable[..., Figure]


def figure1(n_seeds: int = 3, models: Models = MODELS, width: float = WIDE) -> Figure:
    return accuracy_figure(results(n_seeds, models), "test-dev", "std", width)


def answer_types(n_seeds: int = 3, models: Models = MODELS, width: float = WIDE) -> Figure:
    return answer_type_figure(results(n_seeds, models), "test-dev", "std", width)


def types(n_seeds: int = 3, models: Models = MODELS, width: float = WIDE) -> Figure:
    return question_type_figure(question_types(n_seeds, models), "test-dev", 50.0, "std", width)


def layers(n_seeds: int = 3, models: Models = MODELS, width: float = WIDE) -> Figure:
    return sparsity_figure(sparsities(n_seeds, models), "low_magnitude", width)


def curves(n_seeds: int = 3, models: Models = MODELS, width: float = WIDE) -> Figure:
    return learning_curve_figure(histories(n_seeds, models), 50.0, "std", width)


DRAWN = [figure1, answer_types, types, layers, curves]
WITH_LEGEND = [figure1, answer_types, types, curves]


def bars_of(axes: Axes) -> dict[str, ErrorbarContainer]:
    """Return the drawn networks of a panel by their labels."""
    return {str(bar.get_label()): bar for bar in axes.containers if isinstance(bar, ErrorbarContainer)}


def points_of(bar: ErrorbarContainer) -> np.ndarray:
    return np.asarray(bar.lines[0].get_xydata())


def reach_of(bar: ErrorbarContainer) -> np.ndarray:
    """Return the two ends of each error bar, (n, 2)."""
    return np.array([segment[:, int(bar.has_yerr)] for segment in bar.lines[2][0].get_segments()])


def band_of(axes: Axes) -> np.ndarray:
    """Return the two edges of the band around the dense line, (2,)."""
    box = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    return np.asarray(box.get_points()[:, 1])


@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize("width", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize(("n_seeds", "models"), [(3, MODELS), (1, ONE_SPARSITY)], ids=["many", "one"])
def test_a_figure_is_drawn_as_wide_as_asked_for(
    tmp_path: Path, draw: Draw, width: float, models: Models, n_seeds: int
) -> None:
    save_figure(draw(n_seeds, models, width), [tmp_path / "a.png"], dpi=40)
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == pytest.approx(40 * width, abs=1)
        assert len(image.convert("L").getcolors() or []) > 1


@pytest.mark.parametrize("draw", WITH_LEGEND)
def test_a_legend_names_every_network_once(draw: Draw) -> None:
    assert [text.get_text() for text in draw().legends[0].get_texts()] == LABELS


@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize("width", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("models", [MODELS, WITH_LONGER_NAMES], ids=["short", "long"])
def test_nothing_is_cut_off(draw: Draw, width: float, models: Models) -> None:
    assert_nothing_is_cut_off(draw(models=models, width=width))


def assert_nothing_is_cut_off(figure: Figure) -> None:
    figure.draw_without_rendering()
    tight = figure.get_tightbbox()
    assert tight.x0 >= -0.02
    assert tight.y0 >= -0.02
    assert tight.x1 <= figure.get_figwidth() + 0.02
    assert tight.y1 <= figure.get_figheight() + 0.02


@pytest.mark.parametrize("width", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize(
    ("split", "subnetwork"),
    [("test-compositional", "magnitude_per_tensor_at_initialization_one_shot"), (100 * "x", 100 * "m")],
    ids=["long", "longest"],
)
def test_names_of_any_length_take_several_lines_and_are_whole(width: float, split: str, subnetwork: str) -> None:
    table, kinds, layers = (
        made.replace({"test-dev": split, "low_magnitude": subnetwork})
        for made in (results(), question_types(), sparsities())
    )
    figures = [draw(table, split, "std", width) for draw in (accuracy_figure, answer_type_figure)]
    figures += [question_type_figure(kinds, split, 50.0, "std", width), sparsity_figure(layers, subnetwork, width)]
    for figure in figures:
        assert_nothing_is_cut_off(figure)
    label = f"{subnetwork.replace('_', '-')} pruned"
    for figure in figures[:3]:
        shown = [text.get_text() for text in figure.legends[0].get_texts()]
        assert unbroken(label) in [unbroken(text) for text in shown]
        assert unbroken(split) in unbroken(figure.axes[0].get_ylabel() + figure.axes[0].get_xlabel())
    assert unbroken(label) in unbroken(figures[3].axes[0].get_xlabel())


@pytest.mark.parametrize("width", [WIDE, NARROW], ids=["wide", "narrow"])
def test_long_names_make_a_figure_higher_and_not_its_panels_lower(width: float) -> None:
    heights = []
    for name in ("low_magnitude", 100 * "m"):
        figure = accuracy_figure(results().replace({"low_magnitude": name}), "test-dev", "std", width)
        figure.draw_without_rendering()
        heights.append(figure.axes[0].get_window_extent().height)
    assert heights[1] > 0.95 * heights[0]


def unbroken(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize(("width", "n_rows"), [(WIDE, [2, 4]), (NARROW, [2, 7])], ids=["wide", "narrow"])
def test_a_legend_row_has_as_many_entries_as_the_longest_label_allows(width: float, n_rows: list[int]) -> None:
    for models, n in zip((MODELS, WITH_LONGER_NAMES), n_rows, strict=True):
        figure = figure1(models=models, width=width)
        figure.draw_without_rendering()
        heights = {round(text.get_window_extent().y0) for text in figure.legends[0].get_texts()}
        assert len(heights) == n


@pytest.mark.parametrize("draw", WITH_LEGEND)
@pytest.mark.parametrize("width", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_legend_covers_no_panel(draw: Draw, width: float) -> None:
    figure = draw(width=width)
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert not any(legend.overlaps(axes.get_tightbbox()) for axes in figure.axes)


@pytest.mark.parametrize(
    ("draw", "labels"),
    [
        (figure1, [("pruned weights (% of prunable)", "test-dev accuracy (%)")]),
        (answer_types, [("pruned (%)", "test-dev accuracy (%)"), ("pruned (%)", ""), ("pruned (%)", "")]),
        (types, [("test-dev accuracy at 50 % sparsity (%)", "")]),
        (
            curves,
            [("epoch, at 50 % sparsity", "training loss"), ("epoch, at 50 % sparsity", "validation accuracy (%)")],
        ),
        (
            layers,
            [("pruned in the whole network (%)\nsubnetwork: low-magnitude pruned\n* never reaches the answer",
              "pruned in the layer (%)"),
             ("", "points above an even share")],
        ),
    ],
)  # fmt: skip
def test_axes_say_what_they_show_and_in_which_unit(draw: Draw, labels: list[tuple[str, str]]) -> None:
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in draw().axes] == labels


@pytest.mark.parametrize("draw", WITH_LEGEND)
def test_a_network_looks_the_same_in_every_figure(draw: Draw) -> None:
    for axes in draw().axes:
        for label, bar in bars_of(axes).items():
            color = "#000000" if label == "full model" else COLORS[LABELS.index(label) - 1].lower()
            assert to_hex(bar.lines[0].get_color()) == color


def test_a_subnetwork_that_lacks_the_sparsity_does_not_shift_the_colors_of_others() -> None:
    fewer = tuple(model for model in MODELS if model != ("low_magnitude", 50.0))
    (bars,) = (bars_of(axes) for axes in types(models=fewer).axes)
    assert to_hex(bars["high-magnitude pruned"].lines[0].get_color()) == COLORS[1].lower()


def test_figure_1_shows_means_over_seeds_at_their_sparsity() -> None:
    data = results()
    bars = bars_of(figure1().axes[0])
    for (name, sparsity), split in ((model, "test-dev") for model in MODELS[1:]):
        of_model = data[(data["subnetwork"] == name) & (data["sparsity"] == sparsity) & (data["split"] == split)]
        points = dict(points_of(bars[label_of(name)]).tolist())
        assert points[sparsity] == pytest.approx(of_model["overall"].mean())


def test_the_dense_line_is_drawn_at_the_dense_mean() -> None:
    data = results()
    dense = data[(data["subnetwork"] == "dense") & (data["split"] == "test-dev")]["overall"]
    axes = figure1().axes[0]
    (line,) = (line for line in axes.lines if line.get_label() == "full model")
    assert np.asarray(line.get_ydata()) == pytest.approx(dense.mean())


@pytest.mark.parametrize("draw", WITH_LEGEND)
def test_one_seed_has_no_error_bars(draw: Draw) -> None:
    assert not any(bar.has_yerr or bar.has_xerr for axes in draw(1).axes for bar in bars_of(axes).values())
    assert any(bar.has_yerr or bar.has_xerr for axes in draw(3).axes for bar in bars_of(axes).values())


def test_several_sparsities_are_joined_by_a_line_and_a_single_one_is_not() -> None:
    bars = bars_of(figure1().axes[0])
    assert bars["low-magnitude pruned"].lines[0].get_linestyle() != "None"
    assert bars["random pruned"].lines[0].get_linestyle() == "None"


def test_only_the_requested_split_is_drawn() -> None:
    data = results()
    for split in SPLITS:
        mean = data[(data["subnetwork"] == "random") & (data["split"] == split)]["overall"].mean()
        bars = bars_of(accuracy_figure(data, split, "std", WIDE).axes[0])
        assert points_of(bars["random pruned"])[0, 1] == pytest.approx(mean)


def test_answer_types_have_a_panel_each_on_one_scale() -> None:
    figure = answer_types()
    assert [axes.get_title() for axes in figure.axes] == ["Yes/No", "Number", "Other"]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    data = results()
    for axes, column in zip(figure.axes, ("yes_no", "number", "other"), strict=True):
        mean = data[(data["subnetwork"] == "random") & (data["split"] == "test-dev")][column].mean()
        assert points_of(bars_of(axes)["random pruned"])[0, 1] == pytest.approx(mean)


def test_a_kind_of_question_that_a_split_lacks_leaves_its_panel_empty() -> None:
    figure = answer_type_figure(results().assign(number=float("nan")), "test-dev", "std", WIDE)
    figure.draw_without_rendering()
    n_drawn = {
        axes.get_title(): sum(int(np.isfinite(points_of(bar)).all(axis=1).sum()) for bar in bars_of(axes).values())
        for axes in figure.axes
    }
    assert n_drawn["Number"] == 0
    assert n_drawn["Yes/No"] == n_drawn["Other"] > 0


def test_question_types_are_in_the_order_of_the_full_models_accuracy() -> None:
    axes = types().axes[0]
    data = question_types()
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"{kind} …" for kind in reversed(KINDS)]
    of_low = data[(data["subnetwork"] == "low_magnitude") & (data["sparsity"] == 50) & (data["split"] == "test-dev")]
    means = of_low.groupby("question_type")["accuracy"].mean()
    drawn = points_of(bars_of(axes)["low-magnitude pruned"])
    assert drawn[:, 0] == pytest.approx([means[kind] for kind in reversed(KINDS)])


@pytest.mark.parametrize("width", [WIDE, NARROW], ids=["wide", "narrow"])
def test_markers_at_0_and_at_100_percent_are_not_cut_off(width: float) -> None:
    figure = types(width=width)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    (least, _), (most, _) = axes.transData.transform([(0, 0), (100, 0)])
    size = 5 / 72 * figure.dpi  # of a marker, without its edge
    inside = axes.get_window_extent()
    assert inside.x0 < least - 0.6 * size
    assert most + 0.6 * size < inside.x1


@pytest.mark.parametrize("draw", [figure1, answer_types])
def test_the_axis_of_sparsity_has_room_for_every_percentage(draw: Draw) -> None:
    assert {axes.get_xlim() for axes in draw().axes} == {(0, 100)}


def test_networks_of_one_question_type_do_not_overlap() -> None:
    heights = [points_of(bar)[:, 1] for bar in bars_of(types().axes[0]).values()]
    rows = np.sort(np.concatenate(heights))
    assert np.diff(rows).min() > 0.15
    assert all(np.abs(height - np.arange(len(KINDS))).max() < 0.5 for height in heights)


def test_learning_curves_show_every_epoch_at_the_sparsity_of_table_1() -> None:
    data = histories()
    of_low = data[(data["subnetwork"] == "low_magnitude") & (data["sparsity"] == 50)]
    for axes, column in zip(curves().axes, ("train_loss", "val_accuracy_percent"), strict=True):
        drawn = points_of(bars_of(axes)["low-magnitude pruned"])
        assert drawn[:, 0].tolist() == [1, 2, 3] == axes.get_xticks().tolist()
        assert drawn[:, 1] == pytest.approx(of_low.groupby("epoch")[column].mean().to_numpy())


@pytest.mark.parametrize("width", [3.0, 6.0])
def test_of_many_epochs_as_many_are_labelled_as_there_is_room_for(width: float) -> None:
    data = pd.concat([histories().assign(epoch=lambda part, n=n: part["epoch"] + n) for n in range(0, 60, 3)])
    figure = learning_curve_figure(data, 50, "std", width)
    figure.draw_without_rendering()
    for axes in figure.axes:
        named = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert len(named) > 5
        assert all(left.x1 + 4 < right.x0 for left, right in pairwise(named))  # at 72 or more dots an inch


def spread_of(values: pd.Series, spread: str) -> list[float]:
    """Return the expected ends of an error bar over the seeds of one network."""
    if spread == "range":
        return [values.min(), values.max()]
    return [values.mean() - values.std(), values.mean() + values.std()]


@pytest.mark.parametrize("spread", ["std", "range"])
def test_bands_and_bars_of_accuracies_show_the_requested_spread(spread: str) -> None:
    data = results()
    of = {name: part[part["split"] == "test-dev"] for name, part in data.groupby("subnetwork")}
    overall = accuracy_figure(data, "test-dev", spread, WIDE).axes[0]
    _, number, _ = answer_type_figure(data, "test-dev", spread, WIDE).axes
    for axes, column in ((overall, "overall"), (number, "number")):
        assert band_of(axes) == pytest.approx(spread_of(of["dense"][column], spread))
        (reach,) = reach_of(bars_of(axes)["random pruned"])
        assert reach == pytest.approx(spread_of(of["random"][column], spread))


@pytest.mark.parametrize("spread", ["std", "range"])
def test_bars_of_question_types_and_epochs_show_the_requested_spread(spread: str) -> None:
    of_types = question_types().query("subnetwork == 'random' and split == 'test-dev'").set_index("question_type")
    of_epochs = histories().query("subnetwork == 'random'").set_index("epoch")
    (by_type,) = question_type_figure(question_types(), "test-dev", 50.0, spread, WIDE).axes
    loss, accuracy = learning_curve_figure(histories(), 50.0, spread, WIDE).axes
    for axes, values, rows in (
        (by_type, of_types["accuracy"], [*reversed(KINDS)]),
        (loss, of_epochs["train_loss"], [1, 2, 3]),
        (accuracy, of_epochs["val_accuracy_percent"], [1, 2, 3]),
    ):
        expected = np.array([spread_of(values[row], spread) for row in rows])
        assert reach_of(bars_of(axes)["random pruned"]) == pytest.approx(expected)


@pytest.mark.parametrize(("name", "titles"), [("figure1", [""]), ("answer_types", ["Yes/No", "Number", "Other"])])
def test_each_figure_name_draws_its_own_figure(name: str, titles: list[str]) -> None:
    figure = FIGURES[name](results(), split="test-dev", spread="std", width_inches=WIDE)
    assert [axes.get_title() for axes in figure.axes] == titles

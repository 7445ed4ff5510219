"""The figure of layers shows how much of each is pruned, at any number of sparsities, wide and narrow."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from made_up import LAYERS, WITH_LONGER_NAMES, Models, sparsities
from test_figures import NARROW, WIDE, layers

from lxmert_tickets.report.figures import sparsity_figure


def test_the_sparsity_of_every_layer_is_written_in_its_cell() -> None:
    axes = layers().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        name + ("" if reaches else "*") for name, reaches in LAYERS.items()
    ]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["25", "50"]
    assert (axes.get_xticks().tolist(), axes.get_yticks().tolist()) == ([0.5, 1.5], [0.5, 1.5, 2.5, 3.5])
    cells = {(text.get_position()[1] - 0.5, text.get_position()[0] - 0.5): text.get_text() for text in axes.texts}
    means = {(row, column): whole + 3 * row - 4.5 for row in range(4) for column, whole in enumerate((25.0, 50.0))}
    assert cells == {where: f"{mean:.0f}" for where, mean in means.items()}


def test_a_cell_is_the_mean_over_seeds() -> None:
    report = sparsities(n_seeds=3)
    report["sparsity_percent"] += report["seed"].map({0: 0.0, 1: 9.0, 2: 1.5})
    (axes, _) = sparsity_figure(report, "low_magnitude", WIDE).axes
    [first] = [text for text in axes.texts if text.get_position() == (0.5, 0.5)]
    assert first.get_text() == "24"  # of 20.5, 29.5 and 22


def test_only_a_layer_that_lost_all_its_weights_has_a_100_and_only_an_untouched_one_a_0() -> None:
    columns = {"subnetwork": "a", "part": "layer", "sparsity": 99.0, "reaches_answer": True}
    shares = [0.0, 0.02, 0.6, 99.4, 99.8, 100.0]
    report = pd.DataFrame({"name": [f"language {k}" for k in range(6)], "sparsity_percent": shares}).assign(**columns)
    (axes, _) = sparsity_figure(report, "a", WIDE).axes
    assert [text.get_text() for text in axes.texts] == ["0", "<1", "1", "99", ">99", "100"]


def test_layers_are_in_the_order_in_which_they_compute() -> None:
    in_order = ["language 0", "language 2", "language 10", "vision 0", "cross 0 attention", "cross 0 language",
                "cross 0 vision", "cross 1 attention", "pooler", "other"]  # fmt: skip
    columns = {"subnetwork": "a", "part": "layer", "sparsity": 50.0, "sparsity_percent": 40.0, "reaches_answer": True}
    report = pd.DataFrame({"name": sorted(in_order)}).assign(**columns)
    figure = sparsity_figure(report, "a", WIDE)
    figure.draw_without_rendering()
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == in_order
    heights = [label.get_window_extent().y0 for label in labels]
    assert heights == sorted(heights, reverse=True)


def rounds(n: int) -> Models:
    """Return the dense network and one pruned a fifth more in each of `n` rounds: labels of four characters."""
    return (("dense", 0.0), *(("low_magnitude", round(100 - 90 * 0.8**k, 1)) for k in range(n)))


@pytest.mark.parametrize("width", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("n_sparsities", [9, 18, 40])
def test_numbers_of_neighbouring_columns_do_not_overlap(width: float, n_sparsities: int) -> None:
    figure = layers(2, rounds(n_sparsities), width)
    figure.draw_without_rendering()
    (axes, _) = figure.axes
    cells = [text for text in axes.texts if text.get_visible() and text.get_position()[1] == 0.5]
    for texts in (axes.get_xticklabels(), cells):
        boxes = [text.get_window_extent() for text in texts]
        assert len(boxes) > 2
        assert all(before.x1 <= after.x0 + 1 for before, after in pairwise(boxes))


@pytest.mark.parametrize(("width", "n_sparsities"), [(WIDE, 18), (NARROW, 9)], ids=["wide", "narrow"])
def test_every_column_is_labelled_where_there_is_room(width: float, n_sparsities: int) -> None:
    models = (("dense", 0.0), *(("low_magnitude", 5.0 + 5 * k) for k in range(n_sparsities)))
    axes = layers(1, models, width).axes[0]
    assert len(axes.get_xticklabels()) == n_sparsities
    assert all(text.get_visible() for text in axes.texts)


def test_the_color_of_a_layer_is_its_distance_from_an_even_share() -> None:
    (mesh,) = layers().axes[0].collections
    assert np.asarray(mesh.get_array()).ravel() == pytest.approx(np.repeat([-4.5, -1.5, 1.5, 4.5], 2))
    assert mesh.get_clim() == (-4.5, 4.5)
    purple, orange = mesh.to_rgba(np.array([-4.5, 4.5]))  # as the caption says
    assert purple[2] > purple[0]
    assert orange[0] > orange[2]


def test_a_network_whose_layers_all_reach_the_answer_needs_no_note() -> None:
    figure = sparsity_figure(sparsities().assign(reaches_answer=True), "low_magnitude", WIDE)
    assert "*" not in figure.axes[0].get_xlabel()


def test_an_even_share_everywhere_has_one_color_and_no_warning() -> None:
    data = sparsities()
    (mesh,) = sparsity_figure(data.assign(sparsity_percent=data["sparsity"]), "low_magnitude", WIDE).axes[0].collections
    assert mesh.get_clim() == (-1, 1)


@pytest.mark.parametrize("width", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_long_name_of_the_subnetwork_shown_is_not_cut_off(width: float) -> None:
    figure = sparsity_figure(sparsities(models=WITH_LONGER_NAMES), "low_magnitude_per_tensor", width)
    figure.draw_without_rendering()
    (axes, _) = figure.axes
    assert "low-magnitude-per-tensor pruned" in axes.get_xlabel()
    name = axes.xaxis.label.get_window_extent()
    assert 0 <= name.x0 < name.x1 <= figure.bbox.x1

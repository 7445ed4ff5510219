"""Boxes like a detector's, and features computed from pixels and boxes alone."""

import dataclasses
import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.data.scenes.regions import DESCRIPTIONS, _median, describe_regions, propose_boxes
from lxmert_tickets.data.scenes.render import render
from lxmert_tickets.data.scenes.world import COLORS, IMAGE_SIZE, SHAPES, Object, Scene, draw_scene

N_REGIONS = 12


def scene_and_boxes(seed: int, n_regions: int = N_REGIONS) -> tuple[Scene, np.ndarray]:
    rng = np.random.default_rng(seed)
    scene = draw_scene(1, rng)
    return scene, propose_boxes(scene, n_regions, rng)


def row_of(item: Object, boxes: np.ndarray) -> int:
    """Return the row of the one box that contains all of `item`."""
    reach = np.array([-item.radius, -item.radius, item.radius, item.radius])
    edges = np.array([item.x, item.y, item.x, item.y]) + reach
    holds = (boxes[:, :2] <= edges[:2] + 1e-4).all(axis=1) & (boxes[:, 2:] >= edges[2:] - 1e-4).all(axis=1)
    assert holds.sum() == 1
    return int(holds.argmax())


def share_in(box: np.ndarray, item: Object) -> float:
    """Return the share of a fine grid of points over the object's box that lies in `box`."""
    steps = np.linspace(-item.radius, item.radius, 101)
    in_x = (box[0] <= item.x + steps) & (item.x + steps <= box[2])
    in_y = (box[1] <= item.y + steps) & (item.y + steps <= box[3])
    return float(in_x.mean() * in_y.mean())


@given(st.integers(0, 2**32), st.integers(6, 20))
def test_boxes_are_as_many_as_asked_for_and_inside_the_image(seed: int, n_regions: int) -> None:
    _, boxes = scene_and_boxes(seed, n_regions)
    assert boxes.shape == (n_regions, 4)
    assert boxes.dtype == np.float32
    assert boxes.min() >= 0
    assert boxes.max() <= IMAGE_SIZE
    assert (boxes[:, 2:] - boxes[:, :2] >= 7).all()


@given(st.integers(0, 2**32))
def test_every_object_has_one_box_and_ground_boxes_hold_little_of_any(seed: int) -> None:
    scene, boxes = scene_and_boxes(seed)
    of_objects = [row_of(item, boxes) for item in scene.objects]
    assert len(set(of_objects)) == len(scene.objects)
    for row in set(range(N_REGIONS)) - set(of_objects):
        assert all(share_in(boxes[row], item) < 0.22 for item in scene.objects)


def test_boxes_of_objects_are_loose_by_varying_amounts_and_ground_boxes_touch_objects() -> None:
    loose, shares = [], []
    for scene, boxes in map(scene_and_boxes, range(60)):
        of_objects = {row_of(item, boxes): item for item in scene.objects}
        for row, item in of_objects.items():
            edges = np.array([item.x, item.y, item.x, item.y]) + item.radius * np.array([-1, -1, 1, 1])
            loose += ((boxes[row] - edges) * [-1, -1, 1, 1]).tolist()
        shares += [
            share_in(boxes[row], item) for row in set(range(N_REGIONS)) - set(of_objects) for item in scene.objects
        ]
    assert 0.5 <= min(loose) + 1e-4 < 0.6
    assert 1.9 < max(loose) - 1e-4 <= 2
    assert 0.15 < max(shares) < 0.22


def test_a_region_is_all_pixels_that_its_box_touches() -> None:
    pixels = np.zeros((30, 50, 3), np.uint8)  # not square
    pixels[10:18, 40:48] = 255
    boxes = np.array([[40.9, 10.9, 47.1, 17.1], [39.9, 10, 48, 18], [40, 10, 48, 18.1]])
    exact, left, below = describe_regions(pixels, boxes, "pixels").reshape(3, 8, 8, 3)
    assert (exact == 1).all()
    assert (left[:, 0] < 1).all()
    assert (below[-1] < 1).all()


@pytest.mark.parametrize(("distance", "response"), [(0, 1.0), (40, math.exp(-1)), (80, math.exp(-4))])
def test_a_color_response_falls_with_the_distance_from_the_color(distance: int, response: float) -> None:
    pixels = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 120, dtype=np.uint8)
    pixels[20:40, 20:40] = np.add(COLORS["green"], [0, 0, distance])
    found = describe_regions(pixels, np.array([[18, 18, 42, 42]]), "silhouette")[0, 64:]
    assert found[list(COLORS).index("green")] == pytest.approx(response, rel=1e-5)


def test_an_outline_shows_how_much_of_each_cell_of_its_bounding_box_a_figure_fills() -> None:
    pixels = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 120, dtype=np.uint8)
    figure = np.random.default_rng(0).random((16, 16)) < 0.7
    figure[[0, 1, 14, 15]] = True
    figure[:, [0, 1, 14, 15]] = True
    pixels[21:37, 23:39][figure] = COLORS["red"]
    found = describe_regions(pixels, np.array([[20, 20, 41, 40]]), "silhouette")[0, :64].reshape(8, 8)
    assert np.allclose(found, figure.reshape(8, 2, 8, 2).mean(axis=(1, 3)), atol=0.003)


@given(st.integers(1, 9), st.integers(0, 2**32))
def test_medians_are_numpys(n: int, seed: int) -> None:
    colors = np.random.default_rng(seed).integers(0, 256, (3, n)).astype(np.float32)
    assert np.array_equal(_median(colors), np.median(colors, axis=1))


def test_a_seed_decides_the_boxes() -> None:
    assert np.array_equal(scene_and_boxes(1)[1], scene_and_boxes(1)[1])
    assert not np.array_equal(scene_and_boxes(1)[1], scene_and_boxes(2)[1])


def test_the_order_of_boxes_reveals_nothing() -> None:
    first_is_object = [any(row_of(item, boxes) == 0 for item in scene.objects)
                       for scene, boxes in map(scene_and_boxes, range(200))]  # fmt: skip
    assert 0.25 < np.mean(first_is_object) < 0.5  # 4.5 objects among 12 regions: 0.375


def test_features_come_from_pixels_and_boxes_and_nothing_else() -> None:
    assert list(inspect.signature(describe_regions).parameters) == ["pixels", "boxes", "description"]


@pytest.mark.parametrize(("description", "dim"), [("pixels", 192), ("silhouette", 72), ("responses", 16)])
def test_features_are_finite_float32_of_known_size(description: str, dim: int) -> None:
    scene, boxes = scene_and_boxes(0)
    found = describe_regions(render(scene), boxes, description)
    assert found.shape == (N_REGIONS, dim)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_the_same_pixels_and_boxes_give_the_same_features(description: str) -> None:
    scene, boxes = scene_and_boxes(3)
    pixels = render(scene)
    once = describe_regions(pixels, boxes, description)
    assert np.array_equal(once, describe_regions(pixels.copy(), boxes.copy(), description))
    assert np.array_equal(once[::-1], describe_regions(pixels, boxes[::-1], description))


@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_repainting_an_object_changes_its_region_and_no_far_one(description: str) -> None:
    for seed in range(10):
        scene, boxes = scene_and_boxes(seed)
        item, *others = scene.objects
        repainted = dataclasses.replace(item, color="blue" if item.color != "blue" else "yellow")
        after = dataclasses.replace(scene, objects=(repainted, *others))
        was, now = (describe_regions(render(which), boxes, description) for which in (scene, after))
        changed = (was != now).any(axis=1)
        far = [row for row, box in enumerate(boxes) if share_in(box + np.array([-5, -5, 5, 5]), item) == 0]
        assert changed[row_of(item, boxes)]
        assert far
        assert not changed[far].any()


@pytest.mark.parametrize("description", ["silhouette", "responses"])
def test_features_of_ground_without_a_figure_are_all_zero(description: str) -> None:
    pixels = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 120, dtype=np.uint8)
    assert not describe_regions(pixels, np.array([[10, 10, 30, 30], [0, 0, 80, 80]]), description).any()


@pytest.mark.parametrize("box", [(0, 0, 0.4, 0.4), (79.8, 79.8, 80, 80), (20, 20, 20, 20), (0, 0, 80, 80)])
@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_a_box_of_any_size_is_described(description: str, box: tuple[float, ...]) -> None:
    found = describe_regions(render(draw_scene(1, np.random.default_rng(0))), np.array([box]), description)
    assert np.isfinite(found).all()


def test_the_detector_is_right_about_shape_and_color_of_nearly_all_objects() -> None:
    right = []
    for scene, boxes in map(scene_and_boxes, range(120)):
        responses = describe_regions(render(scene), boxes, "responses")
        for item in scene.objects:
            shape, color = np.split(responses[row_of(item, boxes)], [len(SHAPES)])
            right.append((SHAPES[shape.argmax()], list(COLORS)[color.argmax()]) == (item.shape, item.color))
    assert len(right) > 400
    assert np.mean(right) >= 0.97


def test_most_ground_boxes_show_no_figure() -> None:
    shown = []
    for scene, boxes in map(scene_and_boxes, range(60)):
        ground = sorted(set(range(N_REGIONS)) - {row_of(item, boxes) for item in scene.objects})
        shown += describe_regions(render(scene), boxes, "responses")[ground].any(axis=1).tolist()
    assert np.mean(shown) < 0.35

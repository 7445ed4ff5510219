"""Scenes are drawn from a seed: a few objects, inside the image and apart from one another."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.data.scenes.world import (
    COLORS,
    GAP,
    IMAGE_SIZE,
    MAX_OBJECTS,
    MAX_RADIUS,
    MIN_OBJECTS,
    MIN_RADIUS,
    SHAPES,
    Object,
    Scene,
    draw_scene,
)

seeds = st.integers(0, 2**32)


def scene_of(seed: int) -> Scene:
    return draw_scene(7, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(0)
    return [draw_scene(image_id, rng) for image_id in range(600)]


@given(seeds)
def test_a_seed_decides_a_scene(seed: int) -> None:
    assert scene_of(seed) == scene_of(seed) != scene_of(seed + 1)


@given(seeds)
def test_objects_lie_inside_the_image(seed: int) -> None:
    for item in scene_of(seed).objects:
        assert MIN_RADIUS <= item.radius <= MAX_RADIUS
        assert min(item.x, item.y) - item.radius >= GAP
        assert max(item.x, item.y) + item.radius <= IMAGE_SIZE - GAP


@given(seeds)
def test_objects_do_not_overlap(seed: int) -> None:
    for a, b in combinations(scene_of(seed).objects, 2):
        apart_x, apart_y = abs(a.x - b.x), abs(a.y - b.y)
        assert max(apart_x, apart_y) > a.radius + b.radius + GAP


def test_numbers_of_objects_shapes_and_colors_are_about_evenly_distributed(scenes: list[Scene]) -> None:
    items = [item for scene in scenes for item in scene.objects]
    for values, kinds in (
        ([len(scene.objects) for scene in scenes], range(MIN_OBJECTS, MAX_OBJECTS + 1)),
        ([item.shape for item in items], SHAPES),
        ([item.color for item in items], COLORS),
    ):
        counts = Counter(values)
        assert set(counts) == set(kinds)
        assert max(counts.values()) < 1.4 * min(counts.values())


def test_scenes_drawn_one_after_the_other_differ(scenes: list[Scene]) -> None:
    assert len({scene.objects for scene in scenes}) == len({scene.texture_seed for scene in scenes}) == len(scenes)


def test_images_of_one_id_in_two_sets_have_different_textures() -> None:
    assert scene_of(0).texture_seed != scene_of(1).texture_seed


def test_an_object_is_named_by_color_and_shape() -> None:
    assert Object("star", "red", 40, 40, 8).name == "red star"

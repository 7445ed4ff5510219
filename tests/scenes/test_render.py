"""A scene determines its pixels: shapes in their colors on grey ground, where the scene says and nowhere else."""

import dataclasses

import numpy as np
import pytest

from lxmert_tickets.data.scenes.render import OUTLINES, render
from lxmert_tickets.data.scenes.world import COLORS, IMAGE_SIZE, SHAPES, Object, Scene, draw_scene

EMPTY = Scene(0, (), texture_seed=5)


def with_one(shape: str, color: str = "red", x: float = 40.0, y: float = 40.0, radius: float = 10.0) -> Scene:
    return dataclasses.replace(EMPTY, objects=(Object(shape, color, x, y, radius),))


def painted(scene: Scene) -> np.ndarray:
    """Return which pixels (H, W) the objects of `scene` change, by more than rounding."""
    ground = render(dataclasses.replace(scene, objects=())).astype(int)
    return np.abs(render(scene).astype(int) - ground).max(axis=2) > 1


def test_a_scene_determines_its_pixels() -> None:
    scene = draw_scene(1, np.random.default_rng(0))
    pixels = render(scene)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert np.array_equal(pixels, render(scene))


def test_the_image_id_does_not_affect_the_pixels() -> None:
    scene = draw_scene(1, np.random.default_rng(0))
    assert np.array_equal(render(scene), render(dataclasses.replace(scene, image_id=2)))


def test_the_texture_seed_changes_the_ground() -> None:
    assert not np.array_equal(render(EMPTY), render(dataclasses.replace(EMPTY, texture_seed=6)))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_fills_its_box_and_nothing_outside(shape: str) -> None:
    rows, columns = np.nonzero(painted(with_one(shape, x=30, y=50)))
    for found, low, high in ((columns, 20, 40), (rows, 40, 60)):
        assert low - 1 <= found.min() <= low + 3
        assert high - 4 <= found.max() <= high


@pytest.mark.parametrize("color", COLORS)
def test_a_square_shows_its_color_and_no_other(color: str) -> None:
    for texture_seed in range(20):
        shown = render(dataclasses.replace(with_one("square", color), texture_seed=texture_seed))[36:44, 36:44]
        distances = {name: np.linalg.norm(shown.mean(axis=(0, 1)) - COLORS[name]) for name in COLORS}
        assert min(distances, key=distances.__getitem__) == color


def test_shades_of_a_color_vary() -> None:
    shades = np.array([render(dataclasses.replace(with_one("square"), texture_seed=k))[40, 40] for k in range(40)])
    assert len(np.unique(shades, axis=0)) == 40
    assert 0.05 < shades[:, 0].std() / shades[:, 0].mean() < 0.12  # lighter and darker, not only off in hue


def test_the_ground_is_greyish_textured_and_neither_black_nor_white() -> None:
    for texture_seed in range(20):
        ground = render(dataclasses.replace(EMPTY, texture_seed=texture_seed)).astype(float)
        assert np.ptp(ground, axis=2).mean() < 20
        assert ground.mean(axis=2).std() > 8
        assert 60 < ground.mean() < 200


def test_shapes_stand_upright_and_their_edges_are_smooth() -> None:
    for shape in SHAPES:
        seen = painted(with_one(shape))[30:50, 30:50]
        assert (seen != seen[:, ::-1]).mean() < 0.1, shape
    for shape, widest in (("triangle", slice(15, 20)), ("heart", slice(0, 9))):
        widths = painted(with_one(shape))[30:50, 30:50].sum(axis=1)
        assert widths.argmax() in range(20)[widest], shape
    covered = np.abs(render(with_one("circle")).astype(int) - render(EMPTY)).max(axis=2)
    assert ((covered > 0.2 * covered.max()) & (covered < 0.7 * covered.max())).sum() > 20


def test_shapes_cover_different_pixels() -> None:
    covered = [painted(with_one(shape)).tobytes() for shape in SHAPES]
    assert len(set(covered)) == len(SHAPES)


def test_a_ring_is_open_and_a_circle_is_not() -> None:
    assert not painted(with_one("ring"))[40, 40]
    assert painted(with_one("circle"))[40, 40]


def test_every_shape_can_be_drawn_and_stays_in_the_unit_square() -> None:
    assert {"circle", "ring", *OUTLINES} == set(SHAPES)
    assert all(abs(value) <= 1 for outline in OUTLINES.values() for corner in outline for value in corner)

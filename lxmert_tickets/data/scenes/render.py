"""Scenes to pixels: anti-aliased shapes of varying shade on a textured, greyish ground."""

import math

import numpy as np
from PIL import Image, ImageDraw

from lxmert_tickets.data.scenes.world import COLORS, IMAGE_SIZE, Object, Scene, uniform

SUPERSAMPLING = 3  # drawn this much larger, then averaged down
N_BLOBS = 10  # cells of the ground's random field along a side


def render(scene: Scene) -> np.ndarray:
    """Return the scene as uint8 pixels (IMAGE_SIZE, IMAGE_SIZE, 3); a pure function of the scene."""
    rng = np.random.default_rng(scene.texture_seed)
    side = IMAGE_SIZE * SUPERSAMPLING
    canvas = _ground(rng).resize((side, side), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(canvas)
    for item in scene.objects:
        _draw(draw, item, _shade(COLORS[item.color], rng))
    return np.asarray(canvas.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX))


def _ground(rng: np.random.Generator) -> Image.Image:
    """Return blobs of low saturation around one tone."""
    tone = uniform(70, 190, rng)
    blobs = tone + rng.normal(0, 14, (N_BLOBS, N_BLOBS, 1)) + rng.normal(0, 6, (N_BLOBS, N_BLOBS, 3))
    coarse = Image.fromarray(np.clip(blobs, 0, 255).astype(np.uint8))
    return coarse.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)


def _shade(color: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, int, int]:
    """Return a lighter or darker version of `color`, slightly off in hue."""
    light, off = uniform(0.82, 1.12, rng), rng.normal(0, 6, 3).tolist()
    red, green, blue = (int(min(max(c * light + d, 0), 255)) for c, d in zip(color, off, strict=True))
    return red, green, blue


def _draw(draw: ImageDraw.ImageDraw, item: Object, fill: tuple[int, int, int]) -> None:
    x, y, r = (SUPERSAMPLING * value for value in (item.x, item.y, item.radius))
    if item.shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif item.shape == "ring":
        width = round(0.42 * r)
        draw.ellipse((x - r, y - r, x + r, y + r), outline=fill, width=width)
    else:
        draw.polygon([(x + r * u, y + r * v) for u, v in OUTLINES[item.shape]], fill=fill)


def _star() -> list[tuple[float, float]]:
    radii = (1.0, 0.42)
    angles = [math.pi * k / 5 - math.pi / 2 for k in range(10)]
    return [(radii[k % 2] * math.cos(a), radii[k % 2] * math.sin(a)) for k, a in enumerate(angles)]


def _heart() -> list[tuple[float, float]]:
    turns = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    x = np.sin(turns) ** 3
    y = -(13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns) - np.cos(4 * turns)) / 17
    return list(zip(x.tolist(), y.tolist(), strict=True))


# Corners on the unit square around the centre, y downwards.
OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": [(0, -1), (1, 0.9), (-1, 0.9)],
    "diamond": [(0, -1), (0.85, 0), (0, 1), (-0.85, 0)],
    "cross": [
        (-0.32, -1), (0.32, -1), (0.32, -0.32), (1, -0.32), (1, 0.32), (0.32, 0.32),
        (0.32, 1), (-0.32, 1), (-0.32, 0.32), (-1, 0.32), (-1, -0.32), (-0.32, -0.32),
    ],
    "star": _star(),
    "heart": _heart(),
}  # fmt: skip

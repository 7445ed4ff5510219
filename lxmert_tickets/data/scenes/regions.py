"""What stands in for a detector: proposes boxes, and describes each from the pixels alone.

LXMERT reads regions through a Faster R-CNN trained to name objects and attributes. Here the same role is played by
fixed image analysis: cut the region out, separate figure from local ground, and describe the figure. Three
descriptions can be compared (docs/data.md has the measurements):

- `pixels`: the crop itself, resized to 8 x 8 x 3;
- `silhouette`: the figure's outline on an 8 x 8 grid and how near its color is to each of the eight color names;
- `responses`: `silhouette`, and how well the outline fits each of the eight shape templates.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from lxmert_tickets.data.scenes.render import render
from lxmert_tickets.data.scenes.world import COLORS, IMAGE_SIZE, SHAPES, Object, Scene

GRID = 8  # cells along a side of a crop or silhouette
RIM = 2  # pixels around a box that tell the local ground
CONTRAST = 44.0  # least difference from the ground, in 0..255, that makes a pixel part of a figure
MAX_SHARED = 0.2  # share of an object that a ground box may hold
MIN_FIGURE = 0.12  # share of a box that a figure covers at least
COLOR_WIDTH = 40.0  # RGB distance at which a color response has fallen to exp(-1)
TEMPLATE_SHARPNESS = 12.0


def propose_boxes(scene: Scene, n_regions: int, rng: np.random.Generator) -> np.ndarray:
    """Return float32 (n_regions, 4) pixel boxes x1 y1 x2 y2: one jittered box an object, then ground, shuffled.

    Like a detector after non-maximum suppression, a ground box may touch an object but never holds most of one.
    """
    boxes = [_jittered(item, rng) for item in scene.objects]
    while len(boxes) < n_regions:
        candidate = _anywhere(rng)
        if all(_shared_area(candidate, item) < MAX_SHARED for item in scene.objects):
            boxes.append(candidate)
    order = rng.permutation(n_regions)
    return np.clip(np.asarray(boxes, dtype=np.float32)[order], 0, IMAGE_SIZE)


def _jittered(item: Object, rng: np.random.Generator) -> tuple[float, ...]:
    loose = item.radius + rng.uniform(0.5, 2.0, 4)
    return (item.x - loose[0], item.y - loose[1], item.x + loose[2], item.y + loose[3])


def _anywhere(rng: np.random.Generator) -> tuple[float, ...]:
    width, height = rng.uniform(8, 24, 2)
    x, y = rng.uniform(0, IMAGE_SIZE - width), rng.uniform(0, IMAGE_SIZE - height)
    return (x, y, x + width, y + height)


def _shared_area(box: tuple[float, ...], item: Object) -> float:
    """Return what share of the object's bounding box lies in `box`."""
    width = min(box[2], item.x + item.radius) - max(box[0], item.x - item.radius)
    height = min(box[3], item.y + item.radius) - max(box[1], item.y - item.radius)
    return max(width, 0.0) * max(height, 0.0) / (2 * item.radius) ** 2


def describe_regions(pixels: np.ndarray, boxes: np.ndarray, description: str) -> np.ndarray:
    """Return float32 (regions, dim) features of `boxes` (regions, 4; pixels), a pure function of `pixels` (H, W, 3)."""
    describe = DESCRIPTIONS[description]
    return np.stack([describe(pixels, _whole_pixels(box, pixels.shape)) for box in boxes]).astype(np.float32)


def _whole_pixels(box: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    x1, y1 = np.floor(box[:2]).astype(int)
    x2, y2 = np.ceil(box[2:]).astype(int)
    return max(0, x1), max(0, y1), min(shape[1], max(x2, x1 + 1)), min(shape[0], max(y2, y1 + 1))


def _pixels(pixels: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x1, y1, x2, y2 = box
    crop = Image.fromarray(pixels[y1:y2, x1:x2]).resize((GRID, GRID), Image.Resampling.BOX)
    return np.asarray(crop, dtype=np.float32).ravel() / 255


def _silhouette(pixels: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    outline, color = _figure(pixels, box)
    return np.concatenate([outline.ravel(), color])


def _responses(pixels: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    outline, color = _figure(pixels, box)
    if not outline.any():
        return np.zeros(len(SHAPES) + len(COLORS))
    distance = ((outline.ravel() - _templates()) ** 2).mean(axis=1)
    fit = np.exp(-TEMPLATE_SHARPNESS * distance / distance.mean())
    return np.concatenate([fit / fit.sum(), color / max(color.sum(), 1e-6)])


def _figure(pixels: np.ndarray, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the figure's outline, cut tight, on a (GRID, GRID) grid in 0..1, and its responses to the color names.

    Both are 0 where the box holds no figure.
    """
    x1, y1, x2, y2 = box
    crop = pixels[y1:y2, x1:x2].astype(np.float32)
    figure = np.abs(crop - _local_ground(pixels, box)).max(axis=2) > CONTRAST
    if np.count_nonzero(figure) / figure.size < MIN_FIGURE:
        return np.zeros((GRID, GRID)), np.zeros(len(COLORS))
    rows, columns = np.flatnonzero(figure.any(axis=1)), np.flatnonzero(figure.any(axis=0))
    tight = figure[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    outline = Image.fromarray(tight.astype(np.uint8) * 255).resize((GRID, GRID), Image.Resampling.BOX)
    distance = np.linalg.norm(_prototypes() - _median(crop[figure]), axis=1)
    return np.asarray(outline, dtype=np.float32) / 255, np.exp(-((distance / COLOR_WIDTH) ** 2))


def _local_ground(pixels: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Return the median color (3) of a rim just inside and outside the box."""
    x1, y1, x2, y2 = box
    top, left = max(0, y1 - RIM), max(0, x1 - RIM)
    around = pixels[top : y2 + RIM, left : x2 + RIM]
    rim = np.ones(around.shape[:2], dtype=bool)
    rim[y1 - top + 1 : y2 - top - 1, x1 - left + 1 : x2 - left - 1] = False
    return _median(around[rim].astype(float))


def _median(colors: np.ndarray) -> np.ndarray:
    """Return the median (3) of `colors` (n, 3), of their dtype: numpy's own, in a third of the time for so few."""
    middle = (len(colors) - 1) // 2, len(colors) // 2
    ordered = np.partition(colors, middle, axis=0)
    return (ordered[middle[0]] + ordered[middle[1]]) / 2  # type: ignore[no-any-return]


@cache
def _prototypes() -> np.ndarray:
    return np.asarray(list(COLORS.values()), dtype=np.float32)


@cache
def _templates() -> np.ndarray:
    """Return the outline (shapes, GRID * GRID) of each shape, seen by the same analysis on a plain scene."""
    outlines = []
    for shape in SHAPES:
        centre = IMAGE_SIZE / 2
        item = Object(shape, "red", centre, centre, 10.0)
        box = _whole_pixels(np.asarray([centre - 11, centre - 11, centre + 11, centre + 11]), (IMAGE_SIZE, IMAGE_SIZE))
        outlines.append(_figure(render(Scene(0, (item,), texture_seed=0)), box)[0].ravel())
    return np.stack(outlines)


DESCRIPTIONS: dict[str, Callable[[np.ndarray, tuple[int, int, int, int]], np.ndarray]] = {
    "pixels": _pixels,
    "silhouette": _silhouette,
    "responses": _responses,
}

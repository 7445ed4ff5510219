"""A stand-in for a detector: proposes boxes, and describes each from the pixels alone.

LXMERT reads regions through a Faster R-CNN trained to name objects and attributes. Here the same role is played by
fixed image analysis: cut the region out, separate figure from local ground, and describe the figure. Three
descriptions can be compared (docs/data.md has the measurements):

- `pixels`: the crop itself, resized to 8 x 8 x 3;
- `silhouette`: the figure's outline on an 8 x 8 grid and how near its color is to each of the eight color names;
- `responses`: how well the outline fits each of the eight shape templates, and how near the color is to each name.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from lxmert_tickets.data.scenes.render import render
from lxmert_tickets.data.scenes.world import COLORS, IMAGE_SIZE, SHAPES, Object, Scene, uniform

GRID = 8  # cells along a side of a crop or silhouette
RIM = 2  # pixels around a box that define the local ground
CONTRAST = 44.0  # least difference from the ground, in 0..255, that makes a pixel part of a figure
MAX_SHARED = 0.2  # share of an object that a ground box may contain
MIN_FIGURE = 0.12  # least share of a box that a figure covers
COLOR_WIDTH = 40.0  # RGB distance at which a color response has fallen to exp(-1)
TEMPLATE_SHARPNESS = 12.0


def propose_boxes(scene: Scene, n_regions: int, rng: np.random.Generator) -> np.ndarray:
    """Return float32 (n_regions, 4) pixel boxes x1 y1 x2 y2: one jittered box per object, the rest ground, shuffled.

    Like a detector after non-maximum suppression, a ground box may touch an object but never contains most of one.
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
    width, height = uniform(8, 24, rng), uniform(8, 24, rng)
    x, y = uniform(0, IMAGE_SIZE - width, rng), uniform(0, IMAGE_SIZE - height, rng)
    return (x, y, x + width, y + height)


def _shared_area(box: tuple[float, ...], item: Object) -> float:
    """Return the share of the object's bounding box that lies in `box`."""
    width = min(box[2], item.x + item.radius) - max(box[0], item.x - item.radius)
    height = min(box[3], item.y + item.radius) - max(box[1], item.y - item.radius)
    return max(width, 0.0) * max(height, 0.0) / (2 * item.radius) ** 2


def describe_regions(pixels: np.ndarray, boxes: np.ndarray, description: str) -> np.ndarray:
    """Return float32 (regions, dim) features of `boxes` (regions, 4; pixels), a pure function of `pixels` (H, W, 3)."""
    return DESCRIPTIONS[description](pixels, _whole_pixels(boxes, pixels.shape))


def _whole_pixels(boxes: np.ndarray, shape: tuple[int, ...]) -> list[list[int]]:
    """Return x1 y1 x2 y2 of the pixels that each box touches, at least one."""
    first, end = np.floor(boxes[:, :2]).astype(int), np.ceil(boxes[:, 2:]).astype(int)
    end = np.minimum(np.maximum(end, first + 1), (shape[1], shape[0]))
    return np.concatenate([np.maximum(first, 0), end], axis=1).tolist()  # type: ignore[no-any-return]


def _pixels(pixels: np.ndarray, boxes: list[list[int]]) -> np.ndarray:
    crops = [Image.fromarray(pixels[y1:y2, x1:x2]) for x1, y1, x2, y2 in boxes]
    small = [np.asarray(crop.resize((GRID, GRID), Image.Resampling.BOX)).ravel() for crop in crops]
    return np.stack(small).astype(np.float32) / 255


def _silhouette(pixels: np.ndarray, boxes: list[list[int]]) -> np.ndarray:
    return np.concatenate(_figures(pixels, boxes), axis=1)


def _responses(pixels: np.ndarray, boxes: list[list[int]]) -> np.ndarray:
    outlines, colors = _figures(pixels, boxes)
    responses = np.zeros((len(boxes), len(SHAPES) + len(COLORS)), np.float32)
    seen = outlines.any(axis=1)
    distance = ((outlines[seen, None] - _templates()) ** 2).mean(axis=2)  # (figures, shapes)
    fit = np.exp(-TEMPLATE_SHARPNESS * distance / distance.mean(axis=1, keepdims=True))
    of_shapes = fit / fit.sum(axis=1, keepdims=True)
    of_colors = colors[seen] / np.maximum(colors[seen].sum(axis=1, keepdims=True), 1e-6)
    responses[seen] = np.concatenate([of_shapes, of_colors], axis=1)
    return responses


def _figures(pixels: np.ndarray, boxes: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the outline of the figure in each box, tightly cropped, on a grid, and its responses to the color names.

    Both are float32 in 0..1, (regions, GRID * GRID) and (regions, colors), and 0 where a box holds no figure.
    """
    outlines, medians = np.zeros((len(boxes), GRID * GRID), np.uint8), np.zeros((len(boxes), 3), np.float32)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32)  # (3, H, W): each color is contiguous
    seen = []
    for row, (x1, y1, x2, y2) in enumerate(boxes):
        crop = planes[:, y1:y2, x1:x2]
        ground = _local_ground(planes, x1, y1, x2, y2)
        figure = np.abs(crop - ground[:, None, None]).max(axis=0) > CONTRAST
        if np.count_nonzero(figure) / figure.size >= MIN_FIGURE:
            seen.append(row)
            outlines[row] = _outline(figure)
            medians[row] = _median(crop[:, figure])
    colors = np.zeros((len(boxes), len(COLORS)), np.float32)
    distance = np.linalg.norm(_prototypes() - medians[seen, None], axis=2)
    colors[seen] = np.exp(-((distance / COLOR_WIDTH) ** 2))
    return outlines.astype(np.float32) / 255, colors


def _outline(figure: np.ndarray) -> np.ndarray:
    """Return uint8 (GRID * GRID): how much of each cell of its tight bounding box `figure` fills."""
    rows, columns = np.flatnonzero(figure.any(axis=1)), np.flatnonzero(figure.any(axis=0))
    tight = figure[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    outline = Image.fromarray(tight.astype(np.uint8) * 255).resize((GRID, GRID), Image.Resampling.BOX)
    return np.asarray(outline).ravel()


def _local_ground(planes: np.ndarray, x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    """Return the median color (3) of a rim just inside and outside the box."""
    top, left = max(0, y1 - RIM), max(0, x1 - RIM)
    around = planes[:, top : y2 + RIM, left : x2 + RIM]
    rim = np.ones(around.shape[1:], dtype=bool)
    rim[y1 - top + 1 : y2 - top - 1, x1 - left + 1 : x2 - left - 1] = False
    return _median(around[:, rim])


def _median(colors: np.ndarray) -> np.ndarray:
    """Return the median (3) of `colors` (3, n), in their dtype: as numpy does, in a third of the time for so few."""
    n = colors.shape[1]
    middle = (n - 1) // 2, n // 2
    ordered = np.partition(colors, middle, axis=1)
    return (ordered[:, middle[0]] + ordered[:, middle[1]]) / 2


@cache
def _prototypes() -> np.ndarray:
    return np.asarray(list(COLORS.values()), dtype=np.float32)


@cache
def _templates() -> np.ndarray:
    """Return the outline (shapes, GRID * GRID) of each shape, seen by the same analysis on a plain scene."""
    centre = IMAGE_SIZE / 2
    box = np.asarray([[centre - 11, centre - 11, centre + 11, centre + 11]])
    items = (Object(shape, "red", centre, centre, 10.0) for shape in SHAPES)
    plain = [render(Scene(0, (item,), texture_seed=0)) for item in items]
    return np.concatenate([_figures(pixels, _whole_pixels(box, pixels.shape))[0] for pixels in plain])


DESCRIPTIONS: dict[str, Callable[[np.ndarray, list[list[int]]], np.ndarray]] = {
    "pixels": _pixels,
    "silhouette": _silhouette,
    "responses": _responses,
}

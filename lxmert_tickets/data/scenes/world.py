"""What can be in a scene, and where: 3 to 6 objects of 8 shapes and 8 colors that do not overlap."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

IMAGE_SIZE = 80  # pixels, width and height
SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "ring", "heart")
COLORS = {
    "red": (214, 48, 44),
    "orange": (240, 140, 30),
    "yellow": (236, 214, 52),
    "green": (52, 162, 68),
    "cyan": (60, 196, 206),
    "blue": (48, 84, 206),
    "purple": (134, 58, 176),
    "pink": (240, 128, 182),
}
COLOR_NAMES = tuple(COLORS)
MIN_OBJECTS, MAX_OBJECTS = 3, 6
MIN_RADIUS, MAX_RADIUS = 7.0, 11.0  # pixels
GAP = 2.0  # least pixels between two objects


@dataclass(frozen=True)
class Object:
    """One object: what it is and where, in pixels from the top left corner."""

    shape: str
    color: str
    x: float
    y: float
    radius: float

    @property
    def name(self) -> str:
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """One image to render: its id, its objects, and the seed of its texture and shades."""

    image_id: int
    objects: tuple[Object, ...]
    texture_seed: int

    @cached_property
    def of_kind(self) -> dict[str, list[Object]]:
        """The objects of each shape and of each color present; cached, as thousands of questions look them up."""
        found: dict[str, list[Object]] = {}
        for item in self.objects:
            for kind in (item.shape, item.color):
                found.setdefault(kind, []).append(item)
        return found


def draw_scene(image_id: int, rng: np.random.Generator) -> Scene:
    """Return a random scene; the number of objects, shapes, colors and sizes are drawn uniformly."""
    n_objects = int(rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1))
    objects = _place(n_objects, rng)
    while objects is None:
        objects = _place(n_objects, rng)
    return Scene(image_id, objects, texture_seed=int(rng.integers(2**32)))


def _place(n_objects: int, rng: np.random.Generator) -> tuple[Object, ...] | None:
    """Return `n_objects` that do not overlap; None when the first few left no room for the rest."""
    objects: list[Object] = []
    for _ in range(20 * n_objects):
        candidate = _draw_object(rng)
        if all(_apart(candidate, other) for other in objects):
            objects.append(candidate)
        if len(objects) == n_objects:
            return tuple(objects)
    return None


def uniform(low: float, high: float, rng: np.random.Generator) -> float:
    """Return the same as `rng.uniform(low, high)`, in a fifth of the time."""
    return low + (high - low) * rng.random()


def _draw_object(rng: np.random.Generator) -> Object:
    radius = uniform(MIN_RADIUS, MAX_RADIUS, rng)
    margin = radius + GAP
    x, y = uniform(margin, IMAGE_SIZE - margin, rng), uniform(margin, IMAGE_SIZE - margin, rng)
    shape = SHAPES[rng.integers(len(SHAPES))]
    color = COLOR_NAMES[rng.integers(len(COLOR_NAMES))]
    return Object(shape, color, x, y, radius)


def _apart(a: Object, b: Object) -> bool:
    # Bounding boxes, not circles: a region that shows one object then shows no part of another.
    return max(abs(a.x - b.x), abs(a.y - b.y)) > a.radius + b.radius + GAP

"""Sentences that describe a scene, for pretraining."""

from collections.abc import Sequence

import numpy as np

from lxmert_tickets.data.scenes.questions import CLEARLY, RELATIONS, article
from lxmert_tickets.data.scenes.world import Object, Scene


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Return a true sentence about `scene`: where one object is relative to another, or a list of objects."""
    order = [scene.objects[row] for row in rng.permutation(len(scene.objects))]
    if rng.integers(2):
        return _relation(order[0], order[1], rng)
    return _list(order[: int(rng.integers(2, 4))])


def _relation(a: Object, b: Object, rng: np.random.Generator) -> str:
    holding = [name for name, distance in RELATIONS.items() if distance(a, b) > CLEARLY]
    relation = holding[rng.integers(len(holding))]  # never empty: objects do not overlap
    return f"{_named(a)} {relation} {_named(b)}"


def _list(items: Sequence[Object]) -> str:
    *first, last = map(_named, items)
    return f"{', '.join(first)} and {last}"


def _named(item: Object) -> str:
    return f"{article(item.name)} {item.name}"

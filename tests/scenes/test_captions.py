"""Captions say only what is true of their scene."""

import re
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.data.scenes.captions import caption
from lxmert_tickets.data.scenes.world import Scene, draw_scene

NAME = r"an? (\w+ \w+)"


def scene_and_caption(seed: int) -> tuple[Scene, str]:
    rng = np.random.default_rng(seed)
    scene = draw_scene(1, rng)
    return scene, caption(scene, rng)


CAPTIONS = [scene_and_caption(seed) for seed in range(1000)]


def holds(scene: Scene, first: str, relation: str, second: str) -> bool:
    """Return whether some `first` is clearly in `relation` to another `second`."""
    axis, sign = {"left of": ("x", -1), "right of": ("x", 1), "above": ("y", -1), "below": ("y", 1)}[relation]
    return any(
        sign * (getattr(a, axis) - getattr(b, axis)) > 6
        for a in scene.objects
        for b in scene.objects
        if a is not b and (a.name, b.name) == (first, second)
    )


@given(st.integers(0, 2**32))
def test_a_seed_decides_a_caption(seed: int) -> None:
    assert scene_and_caption(seed) == scene_and_caption(seed)


def test_relations_in_captions_are_true() -> None:
    told = [(scene, *words) for scene, text in CAPTIONS for words in re.findall(rf"^{NAME} (\w+(?: of)?) {NAME}$", text)
            if words[1] != "and"]  # fmt: skip
    assert 400 < len(told) < 600
    assert {relation for _, _, relation, _ in told} == {"left of", "right of", "above", "below"}
    assert all(holds(*words) for words in told)
    counts = Counter(relation for _, _, relation, _ in told)
    assert min(counts.values()) > 0.2 * len(told)  # a quarter each: none has precedence where two hold


def test_lists_name_two_or_three_objects_of_the_scene() -> None:
    lists = [(scene, re.findall(NAME, text)) for scene, text in CAPTIONS if " and " in text]
    assert {len(names) for _, names in lists} == {2, 3}
    for scene, names in lists:
        there = [item.name for item in scene.objects]
        assert all(there.count(name) >= names.count(name) for name in names)


def test_captions_follow_the_patterns_with_the_right_articles() -> None:
    patterns = [rf"{NAME} (left of|right of|above|below) {NAME}", rf"{NAME} and {NAME}", rf"{NAME}, {NAME} and {NAME}"]
    assert all(any(re.fullmatch(pattern, text) for pattern in patterns) for _, text in CAPTIONS)
    assert not any(re.search(r"\ba orange|\ban (?!orange)", text) for _, text in CAPTIONS)

"""Questions come in pairs that share the wording and differ in the answer, and every answer is true."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.data.scenes.questions import TEMPLATES, Asked, article, ask_in_pairs, plural
from lxmert_tickets.data.scenes.world import COLORS, SHAPES, Object, Scene, draw_scene

SHARES = {"yes/no": 0.38, "number": 0.12, "other": 0.50}


def scenes_of(n: int, seed: int = 0) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [draw_scene(image_id, rng) for image_id in range(1, n + 1)]


SCENES = scenes_of(300)
ASKED = ask_in_pairs(SCENES, 4000, np.random.default_rng(1))
PAIRS = list(zip(ASKED[::2], ASKED[1::2], strict=True))


def matching(scene: Scene, words: str) -> list[Object]:
    """Return the objects meant by "star", "red object", "red star" or a plural of these."""
    singular = re.sub(r"(?<=cross)es$|(?<!cros)s$", "", words)
    found = list(scene.objects)
    for word in singular.split():
        if word in COLORS:
            found = [item for item in found if item.color == word]
        elif word in SHAPES:
            found = [item for item in found if item.shape == word]
        else:
            assert word == "object"
    return found


def the(scene: Scene, words: str) -> Object:
    (item,) = matching(scene, words)
    return item


def relates(scene: Scene, a: str, relation: str, b: str) -> bool:
    first, second = the(scene, a), the(scene, b)
    apart = {"left of": second.x - first.x, "right of": first.x - second.x,
             "above": second.y - first.y, "below": first.y - second.y}[relation]  # fmt: skip
    assert abs(apart) >= 6, "too close to tell"
    return apart > 0


def outermost(scene: Scene, where: str) -> Object:
    sign, axis = {"leftmost": (1, "x"), "rightmost": (-1, "x"), "top": (1, "y"), "bottom": (-1, "y")}[where]
    first, second, *_ = sorted(scene.objects, key=lambda item: sign * getattr(item, axis))
    assert abs(getattr(first, axis) - getattr(second, axis)) >= 6, "too close to tell"
    return first


def yes(value: bool) -> str:
    return "yes" if value else "no"


# How a person would answer, going by the words alone and by no template.
READINGS = {
    r"Is there an? (\w+ \w+)\?": lambda scene, kind: yes(len(matching(scene, kind)) > 0),
    r"Are there any ([\w ]+)\?": lambda scene, kind: yes(len(matching(scene, kind)) > 0),
    r"Is the (.+) (left of|right of|above|below) the (.+)\?": lambda scene, *words: yes(relates(scene, *words)),
    r"Is the (\w+) (\w+)\?": lambda scene, shape, color: yes(the(scene, shape).color == color),
    r"How many (?:objects|shapes|things) are in the picture\?": lambda scene: str(len(scene.objects)),
    r"How many ([\w ]+) are there\?": lambda scene, kind: str(len(matching(scene, kind))),
    r"What color is the (leftmost|rightmost|top|bottom) object\?": lambda scene, where: outermost(scene, where).color,
    r"What is the (leftmost|rightmost|top|bottom) object\?": lambda scene, where: outermost(scene, where).shape,
    r"What color is the (\w+)\?": lambda scene, shape: the(scene, shape).color,
    r"What shape is the (\w+ object)\?": lambda scene, kind: the(scene, kind).shape,
}


def truth(question: str, scene: Scene) -> str:
    for reading, answer_of in READINGS.items():
        if words := re.fullmatch(reading, question):
            return str(answer_of(scene, *words.groups()))
    raise AssertionError(f"what does {question!r} mean?")


def test_every_answer_is_true_of_its_image() -> None:
    scene_of = {scene.image_id: scene for scene in SCENES}
    wrong = [item for item in ASKED if truth(item.question, scene_of[item.image_id]) != item.answer]
    assert wrong == []


def test_a_pair_shares_the_question_and_differs_in_image_and_answer() -> None:
    for a, b in PAIRS:
        assert (a.question, a.question_type, a.answer_type) == (b.question, b.question_type, b.answer_type)
        assert a.image_id != b.image_id
        assert a.answer != b.answer


def test_for_every_wording_half_of_the_yes_no_questions_are_answered_yes() -> None:
    for pair in PAIRS:
        if pair[0].answer_type == "yes/no":
            assert sorted(item.answer for item in pair) == ["no", "yes"]


def test_the_answer_says_nothing_about_its_place_in_the_pair() -> None:
    first = [a.answer for a, _ in PAIRS if a.answer_type == "yes/no"]
    assert 0.4 < np.mean([answer == "yes" for answer in first]) < 0.6


def test_answer_types_occur_in_their_documented_shares() -> None:
    counts = Counter(item.answer_type for item in ASKED)
    assert {kind: count / len(ASKED) for kind, count in counts.items()} == pytest.approx(SHARES, abs=0.03)


def test_every_template_occurs_in_its_share() -> None:
    def opening(question: str) -> str:
        return next(reading for reading in READINGS if re.fullmatch(reading, question))

    counts = Counter(opening(item.question) for item in ASKED)
    weights = [0.12, 0.11, 0.05, 0.10, 0.03, 0.09, 0.025, 0.025, 0.23, 0.22]
    assert [counts[reading] / len(ASKED) for reading in READINGS] == pytest.approx(weights, abs=0.02)


def test_every_possible_answer_occurs() -> None:
    assert {item.answer for item in ASKED} == {"yes", "no", *"0123456", *COLORS, *SHAPES}


def test_a_question_begins_with_the_words_of_its_type() -> None:
    assert all(item.question.lower().startswith(item.question_type) for item in ASKED)
    assert {item.question_type for item in ASKED} == {template.question_type for template in TEMPLATES}


def test_the_weights_of_templates_sum_to_1() -> None:
    assert sum(template.weight for template in TEMPLATES) == pytest.approx(1)


@given(st.integers(2, 40), st.integers(1, 30), st.integers(0, 2**32))
def test_questions_are_as_many_as_asked_for_in_whole_pairs(n_scenes: int, n_questions: int, seed: int) -> None:
    asked = ask_in_pairs(SCENES[:n_scenes], n_questions, np.random.default_rng(seed))
    assert len(asked) == n_questions + n_questions % 2


def test_a_seed_decides_the_questions() -> None:
    def ask(seed: int) -> list[Asked]:
        return ask_in_pairs(SCENES, 100, np.random.default_rng(seed))

    assert ask(1) == ask(1) != ask(2)


@pytest.mark.parametrize(("one", "many"), [("star", "stars"), ("cross", "crosses"), ("red object", "red objects")])
def test_plurals_are_correct(one: str, many: str) -> None:
    assert plural(one) == many


def test_articles_are_correct() -> None:
    assert [article(color) for color in ("orange", "red", "pink")] == ["an", "a", "a"]

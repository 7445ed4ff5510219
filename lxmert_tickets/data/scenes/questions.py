"""Questions from templates, in pairs that share the wording and differ in the answer, as in the balanced VQA v2."""

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lxmert_tickets.data.scenes.world import COLOR_NAMES, MAX_OBJECTS, SHAPES, Object, Scene

Answerer = Callable[[Scene], str | None]  # None: the question makes no sense for this scene


@dataclass(frozen=True)
class Template:
    """One kind of question, as VQA v2 would classify it, and how often it is asked."""

    question_type: str
    answer_type: str  # yes/no, number or other
    weight: float
    draw: Callable[[np.random.Generator], tuple[str, Answerer]]


@dataclass(frozen=True)
class Asked:
    """A question about an image, with its true answer."""

    image_id: int
    question: str
    answer: str
    question_type: str
    answer_type: str


def ask_in_pairs(scenes: Sequence[Scene], n_questions: int, rng: np.random.Generator) -> list[Asked]:
    """Return `n_questions` (rounded up to whole pairs) questions; neighbours 2k and 2k+1 share the wording.

    The two images of a pair have different answers, drawn uniformly from those that the wording has, so that
    language alone does not reveal them. `scenes` must hold at least two that differ.
    """
    weights = np.asarray([template.weight for template in TEMPLATES])
    up_to = np.cumsum(weights / weights.sum()).tolist()
    asked: list[Asked] = []
    while len(asked) < n_questions:
        template = TEMPLATES[bisect(up_to, rng.random() * up_to[-1])]
        asked += _ask(template, scenes, rng)
    return asked


N_CANDIDATES = 32  # images considered for a pair
N_WORDINGS = 50  # tried before another template is drawn; with few, templates that often fail would be rare


def _ask(template: Template, scenes: Sequence[Scene], rng: np.random.Generator) -> list[Asked]:
    """Return a pair of questions from `template`; [] when no wording tried tells two of `scenes` apart."""
    for _ in range(N_WORDINGS):
        question, answer_of = template.draw(rng)
        if pair := _pair(template, question, answer_of, _some(scenes, rng), rng):
            return pair
    return []


def _some(scenes: Sequence[Scene], rng: np.random.Generator) -> list[Scene]:
    rows = rng.choice(len(scenes), size=min(N_CANDIDATES, len(scenes)), replace=False)
    return [scenes[row] for row in rows.tolist()]


def _pair(
    template: Template, question: str, answer_of: Answerer, candidates: list[Scene], rng: np.random.Generator
) -> list[Asked]:
    """Return the question about two of `candidates` with different answers; [] when there are none."""
    by_answer: dict[str, Scene] = {}
    for scene in candidates:
        answer = answer_of(scene)
        if answer is not None:
            by_answer.setdefault(answer, scene)
    if len(by_answer) < 2:
        return []
    answers = sorted(by_answer)
    chosen = rng.choice(len(answers), size=2, replace=False)
    return [
        Asked(by_answer[a].image_id, question, a, template.question_type, template.answer_type)
        for a in (answers[row] for row in chosen)
    ]


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _kind(rng: np.random.Generator) -> tuple[str, str]:
    """Return a name for objects, "star" or "red object", and the shape or color it refers to."""
    if rng.integers(2):
        shape = _pick(SHAPES, rng)
        return shape, shape
    color = _pick(COLOR_NAMES, rng)
    return f"{color} object", color


def _only(scene: Scene, kind: str) -> Object | None:
    """Return the one object of this shape or color; None when there is none or several."""
    found = scene.of_kind.get(kind, ())
    return found[0] if len(found) == 1 else None


def _of_the_only(kind: str, answer: Callable[[Object], str]) -> Answerer:
    """Return what gives `answer` of the one object of this shape or color."""

    def answer_of(scene: Scene) -> str | None:
        item = _only(scene, kind)
        return None if item is None else answer(item)

    return answer_of


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def article(noun: str) -> str:
    """Return the article for `noun`, "a" or "an"."""
    return "an" if noun[0] in "aeiou" else "a"


def _is_there(rng: np.random.Generator) -> tuple[str, Answerer]:
    color, shape = _pick(COLOR_NAMES, rng), _pick(SHAPES, rng)
    question = f"Is there {article(color)} {color} {shape}?"
    return question, lambda scene: _yes_no(any(item.shape == shape for item in scene.of_kind.get(color, ())))


def _are_there(rng: np.random.Generator) -> tuple[str, Answerer]:
    name, kind = _kind(rng)
    return f"Are there any {plural(name)}?", lambda scene: _yes_no(kind in scene.of_kind)


def _has_color(rng: np.random.Generator) -> tuple[str, Answerer]:
    shape, color = _pick(SHAPES, rng), _pick(COLOR_NAMES, rng)
    return f"Is the {shape} {color}?", _of_the_only(shape, lambda item: _yes_no(item.color == color))


RELATIONS: dict[str, Callable[[Object, Object], float]] = {
    "left of": lambda a, b: b.x - a.x,
    "right of": lambda a, b: a.x - b.x,
    "above": lambda a, b: b.y - a.y,
    "below": lambda a, b: a.y - b.y,
}
CLEARLY = 6.0  # pixels apart along the axis asked about, so that annotators would agree


def _relates(rng: np.random.Generator) -> tuple[str, Answerer]:
    first, first_kind = _kind(rng)
    second, second_kind = _kind(rng)
    relation = _pick(tuple(RELATIONS), rng)

    def answer(scene: Scene) -> str | None:
        a, b = _only(scene, first_kind), _only(scene, second_kind)
        if a is None or b is None:
            return None
        distance = RELATIONS[relation](a, b)
        return None if abs(distance) < CLEARLY else _yes_no(distance > 0)

    return f"Is the {first} {relation} the {second}?", answer


def _how_many(rng: np.random.Generator) -> tuple[str, Answerer]:
    name, kind = _kind(rng)
    return f"How many {plural(name)} are there?", lambda scene: str(len(scene.of_kind.get(kind, ())))


def _how_many_in_all(rng: np.random.Generator) -> tuple[str, Answerer]:
    noun = _pick(("objects", "shapes", "things"), rng)
    return f"How many {noun} are in the picture?", lambda scene: str(len(scene.objects))


def _what_color(rng: np.random.Generator) -> tuple[str, Answerer]:
    shape = _pick(SHAPES, rng)
    return f"What color is the {shape}?", _of_the_only(shape, lambda item: item.color)


def _what_shape(rng: np.random.Generator) -> tuple[str, Answerer]:
    color = _pick(COLOR_NAMES, rng)
    return f"What shape is the {color} object?", _of_the_only(color, lambda item: item.shape)


EXTREMES: dict[str, Callable[[Object], float]] = {
    "leftmost": lambda item: item.x,
    "rightmost": lambda item: -item.x,
    "top": lambda item: item.y,
    "bottom": lambda item: -item.y,
}


def _extreme(rng: np.random.Generator) -> tuple[str, Answerer]:
    position = _pick(tuple(EXTREMES), rng)
    asks_color = bool(rng.integers(2))

    def answer(scene: Scene) -> str | None:
        first, second = sorted(scene.objects, key=EXTREMES[position])[:2]
        if EXTREMES[position](second) - EXTREMES[position](first) < CLEARLY:
            return None
        return first.color if asks_color else first.shape

    asked = "color is the {} object" if asks_color else "is the {} object"
    return f"What {asked.format(position)}?", answer


def plural(noun: str) -> str:
    """Return the plural of a shape or "object"."""
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


# The three answer types have roughly VQA v2's shares: 38 % yes/no, 12 % number, 50 % other. Questions about
# positions (relates, extreme) are the hardest to learn and kept to a tenth.
TEMPLATES = (
    Template("is there a", "yes/no", 0.12, _is_there),
    Template("are there any", "yes/no", 0.11, _are_there),
    Template("is the", "yes/no", 0.10, _has_color),
    Template("is the", "yes/no", 0.05, _relates),
    Template("how many", "number", 0.09, _how_many),
    Template("how many", "number", 0.03, _how_many_in_all),
    Template("what color is the", "other", 0.23, _what_color),
    Template("what shape is the", "other", 0.22, _what_shape),
    Template("what", "other", 0.05, _extreme),
)
COUNTS = tuple(str(n) for n in range(MAX_OBJECTS + 1))

"""Ten simulated annotators per question, who mostly answer correctly."""

from collections import Counter

import numpy as np

from lxmert_tickets.data.scenes.questions import COUNTS
from lxmert_tickets.data.scenes.world import COLORS, SHAPES
from lxmert_tickets.data.vqa_json import HumanAnswer

N_ANNOTATORS = 10
SLIP = 0.06  # chance that one annotator gives another answer of the same kind
KINDS = (("yes", "no"), COUNTS, tuple(COLORS), SHAPES)


def answer_in_tens(truth: str, rng: np.random.Generator) -> tuple[str, tuple[HumanAnswer, ...]]:
    """Return the most common answer (ties to the truth) and the ten answers."""
    kind = next(words for words in KINDS if truth in words)
    answers = [_answer(truth, kind, rng) for _ in range(N_ANNOTATORS)]
    return _most_common(answers, truth), tuple(
        HumanAnswer(answer=answer, answer_id=k + 1, answer_confidence="yes" if answer == truth else "maybe")
        for k, answer in enumerate(answers)
    )


def _most_common(answers: list[str], truth: str) -> str:
    if 2 * answers.count(truth) >= len(answers):  # nearly always
        return truth
    counts = Counter(answers)
    return max(counts, key=lambda answer: (counts[answer], answer == truth, answer))


def _answer(truth: str, kind: tuple[str, ...], rng: np.random.Generator) -> str:
    if rng.random() >= SLIP:
        return truth
    if kind is COUNTS:  # miscounted by one
        near = [n for n in COUNTS if abs(int(n) - int(truth)) == 1]
        return near[rng.integers(len(near))]
    others = [answer for answer in kind if answer != truth]
    return others[rng.integers(len(others))]

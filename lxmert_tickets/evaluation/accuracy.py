"""The official VQA accuracy, equal to the official evaluator's to the last printed digit.

Source: Antol et al. 2015 (VQA), section 3, in the form of https://github.com/GT-Vision-Lab/VQA (`vqaEval.py`): an
answer is as good as the other humans make it, min(1, matches / 3), averaged over leaving out each human in turn.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, Literal

import msgspec

from lxmert_tickets.artifacts import REMAKE
from lxmert_tickets.data.asked import AskedQuestion
from lxmert_tickets.data.json_files import read_json
from lxmert_tickets.data.normalise import clean_whitespace, normalise
from lxmert_tickets.data.vqa_json import Annotation, HumanAnswer
from lxmert_tickets.errors import DataError, first_few, repeated

MATCHES_FOR_FULL_CREDIT = 3
DECIMALS = 2

Typed = Annotation | AskedQuestion


class Score(msgspec.Struct, frozen=True):
    """Accuracies in percent, rounded to two places as the official evaluator does.

    `measure` is "official", or "soft labels" if the ten answers are unknown: an answer then scores its soft label, as
    in training. The two differ by tenths of a percent: soft labels take answers as typed, give 30, 60, 90, 100 for
    1, 2, 3, 4 people, and cover only the vocabulary of whoever made them.
    """

    overall: float
    per_answer_type: dict[str, float]
    per_question_type: dict[str, float]
    per_question: dict[int, float]
    measure: Literal["official", "soft labels"] = "official"

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; question ids become strings: {"413918000": 60.0, ...}."""
        return dict(msgspec.to_builtins(self, str_keys=True))


def read_score(path: str | Path) -> Score:
    """Return the score in a file of `as_json()`; other keys, such as provenance, are ignored.

    Raises DataError, naming the file, when it is missing, damaged, or not a score.
    """
    score: Score = read_json(path, Score, "accuracies as JSON", REMAKE, if_damaged=REMAKE)
    return score


def score_predictions(
    annotations: Sequence[Annotation],
    predictions: Iterable[tuple[int, str]],
    place: str | Path = "predictions",
    annotations_place: str | Path = "annotations",
) -> Score:
    """Return the official accuracies of `predictions`: pairs of question_id and answer, in any order.

    Raises DataError, naming `place`, unless every annotated question has exactly one prediction and no other has
    one; and, naming `annotations_place`, when a question has no human answers.
    """
    answer_of = _one_answer_a_question(annotations, list(predictions), place)
    accuracies: list[float] = []
    for annotation in annotations:
        if not annotation.answers:
            at = f"{annotations_place}, question_id {annotation.question_id}"
            raise DataError(
                at, "no human answers", "at least one", "Leave the question out of all files, predictions too."
            )
        accuracies.append(answer_accuracy(annotation.answers, answer_of[annotation.question_id]))
    return _summed_up(annotations, accuracies, "official")


def score_by_soft_labels(
    asked: Sequence[AskedQuestion],
    predictions: Iterable[tuple[int, str]],
    place: str | Path = "predictions",
    asked_place: str | Path = "questions",
) -> Score:
    """Return the mean soft label of `predictions`, as LXMERT's own code scores minival: 0 for an answer without one.

    Raises DataError, naming `place`, unless every question has exactly one prediction and no other has one; and,
    naming `asked_place`, when a question has no labels.
    """
    answer_of = _one_answer_a_question(asked, list(predictions), place)
    accuracies: list[float] = []
    for question in asked:
        if question.labels is None:
            at = f"{asked_place}, question_id {question.question_id}"
            raise DataError(at, "no labels", "the labels of a split that has answers", "Score another split.")
        accuracies.append(dict(question.labels).get(answer_of[question.question_id], 0.0))
    return _summed_up(asked, accuracies, "soft labels")


def _summed_up(
    questions: Sequence[Typed], accuracies: Sequence[float], measure: Literal["official", "soft labels"]
) -> Score:
    by_answer_type: defaultdict[str, list[float]] = defaultdict(list)
    by_question_type: defaultdict[str, list[float]] = defaultdict(list)
    by_question: dict[int, float] = {}
    for question, accuracy in zip(questions, accuracies, strict=True):
        by_question[question.question_id] = accuracy
        by_answer_type[question.answer_type].append(accuracy)
        by_question_type[question.question_type].append(accuracy)
    return Score(
        overall=_mean_percent(list(by_question.values())),
        per_answer_type={name: _mean_percent(group) for name, group in by_answer_type.items()},
        per_question_type={name: _mean_percent(group) for name, group in by_question_type.items()},
        per_question={question_id: _mean_percent([accuracy]) for question_id, accuracy in by_question.items()},
        measure=measure,
    )


def answer_accuracy(human_answers: Sequence[HumanAnswer], answer: str) -> float:
    """Return the accuracy of `answer` in [0, 1]: for each human the credit among the *others*, averaged.

    Answers are normalised only where the humans disagree; when all gave the same, upper case and punctuation count.
    "Others" are those whose record differs, so records equal in id, confidence and answer are left out together.
    """
    given = clean_whitespace(answer)
    texts = [clean_whitespace(human.answer) for human in human_answers]
    if len(set(texts)) > 1:
        given = normalise(given)
        texts = [normalise(text) for text in texts]
    records = [
        (human.answer_id, human.answer_confidence, text) for human, text in zip(human_answers, texts, strict=True)
    ]
    matches = Counter(record for record in records if record[-1] == given)
    n_matches = matches.total()
    if not n_matches:
        return 0.0
    if n_matches - max(matches.values()) >= MATCHES_FOR_FULL_CREDIT:  # whoever is left out
        return 1.0
    credit = [min(1.0, (n_matches - matches[record]) / MATCHES_FOR_FULL_CREDIT) for record in records]
    return _sum(credit) / len(credit)


def _sum(values: Iterable[float]) -> float:
    """Return the sum added strictly left to right, as the official figures were made.

    Since Python 3.12 the builtin compensates for lost digits, which changes a last printed digit in real data.
    """
    return reduce(add, values, 0.0)


def _mean_percent(accuracies: Sequence[float]) -> float:
    return round(100 * _sum(accuracies) / len(accuracies), DECIMALS)


def _one_answer_a_question(
    annotations: Sequence[Typed], predictions: Sequence[tuple[int, str]], place: str | Path
) -> dict[int, str]:
    answer_of = dict(predictions)
    annotated = dict.fromkeys(annotation.question_id for annotation in annotations)
    problems = [
        ("annotated more than once", repeated(annotation.question_id for annotation in annotations)),
        ("predicted more than once", repeated(question_id for question_id, _ in predictions)),
        ("without a prediction", [key for key in annotated if key not in answer_of]),
        ("predicted but not annotated", [key for key in answer_of if key not in annotated]),
    ]
    found = "; ".join(f"{what}: {len(ids)} (question_id {first_few(ids)})" for what, ids in problems if ids)
    if found or not annotations:
        raise DataError(
            place,
            found or "no annotated questions to compare with",
            f"exactly one prediction for each annotated question ({len(annotated)})",
            "Predict the questions of the split that the annotations are of.",
        )
    return answer_of

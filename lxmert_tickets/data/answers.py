"""The answers a network chooses from, and the score of each for a question.

Source: the preparation of VQA v2 by bottom-up attention and LXMERT (Anderson et al. 2018; Tan & Bansal 2019).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from lxmert_tickets.artifacts import Metadata, write_json
from lxmert_tickets.data.json_files import read_json
from lxmert_tickets.data.normalise import normalise
from lxmert_tickets.data.vqa_json import Annotation
from lxmert_tickets.errors import DataError, repeated

SCORE_OF_COUNT = (0.0, 0.3, 0.6, 0.9, 1.0)
"""The score of an answer given by none, one, two, three, or four and more of the ten annotators."""

SoftLabel = tuple[str, float]
"""An answer and its score."""


class _AnswersFile(msgspec.Struct, frozen=True):
    answers: tuple[str, ...]


def build_vocabulary(annotations: Iterable[Annotation], min_count: int) -> tuple[str, ...]:
    """Return every majority answer of at least `min_count` questions: the most frequent first, ties by code point.

    What counts is each annotation's `multiple_choice_answer`, normalised: "A red, big bus." -> "red big bus". This can
    leave the empty string, which counts like any other.
    """
    typed = Counter(annotation.multiple_choice_answer for annotation in annotations)
    counts: Counter[str] = Counter()
    for answer, count in typed.items():
        counts[normalise(answer)] += count
    frequent = [answer for answer, count in counts.items() if count >= min_count]
    return tuple(sorted(frequent, key=lambda answer: (-counts[answer], answer)))


def soft_labels(annotation: Annotation) -> tuple[SoftLabel, ...]:
    """Return (answer, score) of each distinct answer, as typed, in the order of the annotators.

    Scores are .3, .6, .9, 1 for 1, 2, 3, and 4 or more people.
    """
    counts = Counter(human.answer for human in annotation.answers)
    return tuple((answer, SCORE_OF_COUNT[min(count, 4)]) for answer, count in counts.items())


def within_vocabulary(labels: Iterable[SoftLabel], index_of: Mapping[str, int]) -> list[tuple[int, float]]:
    """Return (index, score) of the answers among `labels` that the vocabulary `index_of` has, by ascending index."""
    return sorted((index_of[answer], score) for answer, score in labels if answer in index_of)


def write_answers(path: str | Path, answers: Sequence[str], metadata: Metadata) -> None:
    """Write the vocabulary, in order, as {"answers": [...], "provenance": metadata}; equal answers, equal bytes."""
    write_json(path, {"answers": list(answers), "provenance": metadata})


def read_answers(path: str | Path) -> tuple[str, ...]:
    """Return the vocabulary in our own file, or in a bare JSON list such as LXMERT's trainval_label2ans.json.

    The empty string is an answer like any other: it is entry 0 of LXMERT's list.

    Raises DataError when the file is missing or damaged, holds no answers, or repeats one.
    """
    expected = 'a JSON list of answers, alone or as "answers" of an object'
    content = read_json(path, _AnswersFile | tuple[str, ...], expected)
    answers: tuple[str, ...] = content.answers if isinstance(content, _AnswersFile) else content
    if not answers:
        remedy = "Lower text.min_answer_count, or use the published list."
        raise DataError(path, "no answers", expected, remedy)
    check_each_once(path, answers)
    return answers


def check_each_once(path: str | Path, answers: Iterable[str]) -> None:
    """Raise DataError, naming `path`, when an answer occurs twice."""
    if twice := repeated(answers):
        raise DataError(path, f"{len(twice)} answers occur twice, such as {twice[0]!r}", "each answer once")

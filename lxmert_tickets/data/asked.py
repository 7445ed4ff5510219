"""Questions in the form that later steps take, from the official files or from LXMERT's prepared ones."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from sys import intern

import msgspec

from lxmert_tickets.data.answers import SoftLabel, soft_labels
from lxmert_tickets.data.vqa_json import (
    Annotation,
    Id,
    QuestionFile,
    check_belong_together,
    image_name,
    open_annotations,
)


class AskedQuestion(msgspec.Struct, frozen=True, gc=False):
    """One question about one image, with people's answers where they are known.

    `image` is its name in the feature files, such as "COCO_val2014_000000000042". `labels` holds (answer, score) of
    every answer given (in prepared files, of those in LXMERT's vocabulary). Without annotations, as in test2015, it is
    None, and both types are "".
    """

    question_id: int
    image: str
    text: str
    question_type: str = ""
    answer_type: str = ""
    labels: tuple[SoftLabel, ...] | None = None


class _Answered(msgspec.Struct, frozen=True, gc=False):
    """An annotation with soft labels in place of its ten answers."""

    question_id: Id
    image_id: Id
    question_type: str
    answer_type: str
    labels: tuple[SoftLabel, ...]


def asked_officially(
    questions: QuestionFile,
    annotations_path: str | Path | None,
    subtype: str | None = None,
    questions_path: str | Path = "questions",
) -> Iterator[AskedQuestion]:
    """Yield the questions of an official file, in their order, with the labels from the annotations file.

    Raises DataError for a broken annotations file, and unless there is one annotation for each question.
    """
    if annotations_path is None:
        answered = None
    else:
        found = [_answered(annotation) for annotation in open_annotations(annotations_path, subtype)]
        check_belong_together(questions, found, questions_path, annotations_path)
        answered = {one.question_id: one for one in found}
    name_of = lru_cache(maxsize=None)(image_name)  # an image's five or so questions share one string
    for asked in questions.questions:
        image = name_of(questions.data_type, questions.data_subtype, asked.image_id)
        if answered is None:
            yield AskedQuestion(asked.question_id, image, asked.question)
        else:
            known = answered[asked.question_id]
            yield AskedQuestion(
                asked.question_id, image, asked.question, known.question_type, known.answer_type, known.labels
            )


def _answered(annotation: Annotation) -> _Answered:
    return _Answered(
        annotation.question_id,
        annotation.image_id,
        intern(annotation.question_type),
        intern(annotation.answer_type),
        shared(soft_labels(annotation)),
    )


def shared(labels: Iterable[SoftLabel]) -> tuple[SoftLabel, ...]:
    """Return `labels`, sharing one object between equal ones: ("yes", 1.0) occurs a hundred thousand times."""
    return tuple(_one_of_a_kind(answer, score) for answer, score in labels)


@lru_cache(maxsize=1 << 17)
def _one_of_a_kind(answer: str, score: float) -> SoftLabel:
    return answer, score

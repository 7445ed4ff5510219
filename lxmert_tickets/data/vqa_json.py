"""The official VQA JSON files: questions and annotations, read into typed records and written back.

The layout is that of https://visualqa.org/download.html (VQA v2.0, "Input Questions Format" and "Annotation Format").
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Protocol

import msgspec

from lxmert_tickets.artifacts import replacing
from lxmert_tickets.data.json_files import JsonFile, Records
from lxmert_tickets.errors import DataError, first_few, repeated

QUESTIONS_FILE = "an official VQA questions file"
ANNOTATIONS_FILE = "an official VQA annotations file"
WHICH_FILE = "Questions and annotations are two files: check which is which."

Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class HumanAnswer(msgspec.Struct, frozen=True, gc=False):
    """What one of the ten annotators answered; `answer_confidence` is "yes", "maybe" or "no"."""

    answer: str
    answer_id: int
    answer_confidence: str = "yes"


class Annotation(msgspec.Struct, frozen=True, gc=False):
    """All answers to one question; `answer_type` is "yes/no", "number" or "other"."""

    question_id: Id
    image_id: Id
    question_type: str
    answer_type: str
    multiple_choice_answer: str
    answers: tuple[HumanAnswer, ...]


class Question(msgspec.Struct, frozen=True, gc=False):
    """One question about one image; the text is as the annotator typed it."""

    question_id: Id
    image_id: Id
    question: str


class QuestionFile(msgspec.Struct, frozen=True):
    """A questions file; `data_type` and `data_subtype` ("mscoco", "train2014") form the image names."""

    data_type: str
    data_subtype: str
    questions: tuple[Question, ...]


class _AnnotationFile(msgspec.Struct, frozen=True):
    annotations: list[msgspec.Raw]


class AboutAnImage(Protocol):
    """A question or its annotation: both name the question and its image."""

    @property
    def question_id(self) -> int: ...
    @property
    def image_id(self) -> int: ...


def read_questions(path: str | Path, subtype: str | None = None) -> QuestionFile:
    """Return the questions of an official questions file, in the order of the file.

    It may be `.json`, gzipped, or the official zip archive, read in place; `subtype` ("test2015", "test-dev2015")
    selects the member of an archive.

    Raises DataError, naming the place in the file, when it is missing, damaged, or not a questions file.
    """
    return decode_questions(JsonFile(path, QUESTIONS_FILE, subtype))


def decode_questions(file: JsonFile) -> QuestionFile:
    """Return the questions in a file already read; see `read_questions`."""
    questions: QuestionFile = file.decode(QuestionFile, WHICH_FILE)
    return questions


def open_annotations(path: str | Path, subtype: str | None = None) -> Records[Annotation]:
    """Return the annotations of an official annotations file, decoded one at a time; files as for `read_questions`.

    Raises DataError, naming the place in the file, when it is missing, damaged, or not an annotations file; iterating
    raises it for an invalid record.
    """
    file = JsonFile(path, ANNOTATIONS_FILE, subtype)
    raw: _AnnotationFile = file.decode(_AnnotationFile, WHICH_FILE)
    return Records(file, raw.annotations, "$.annotations", Annotation, WHICH_FILE)


def read_annotations(path: str | Path) -> tuple[Annotation, ...]:
    """Return all annotations of an official annotations file, in the order of the file; see `open_annotations`."""
    return tuple(open_annotations(path))


def write_questions(path: str | Path, data_type: str, data_subtype: str, questions: Iterable[Question]) -> None:
    """Write a questions file in the official layout; equal questions give equal bytes."""
    _write(path, data_type, data_subtype, "questions", questions)


def write_annotations(path: str | Path, data_type: str, data_subtype: str, annotations: Iterable[Annotation]) -> None:
    """Write an annotations file in the official layout; equal annotations give equal bytes."""
    _write(path, data_type, data_subtype, "annotations", annotations)


def image_name(data_type: str, data_subtype: str, image_id: int) -> str:
    """Return the name that feature files give to an image: "COCO_train2014_000000132417" for mscoco.

    The prefix of any other data type is its name in upper case. The questions of mscoco's "test-dev2015" are
    part of "test2015" and share its images.
    """
    if data_type == "mscoco":
        images = re.sub(r"^test-[a-z]+(?=\d{4}$)", "test", data_subtype)
        return f"COCO_{images}_{image_id:012d}"
    return f"{data_type.upper()}_{data_subtype}_{image_id:012d}"


def check_belong_together(
    questions: QuestionFile,
    annotations: Collection[AboutAnImage],
    questions_path: str | Path,
    annotations_path: str | Path,
) -> None:
    """Raise DataError unless each question has exactly one annotation, about the same image, and vice versa."""
    image_asked = {question.question_id: question.image_id for question in questions.questions}
    image_annotated = {annotation.question_id: annotation.image_id for annotation in annotations}
    problems = [
        ("questions occur twice", repeated(question.question_id for question in questions.questions)),
        ("annotations occur twice", repeated(annotation.question_id for annotation in annotations)),
        ("annotations have no question", [key for key in image_annotated if key not in image_asked]),
        ("questions have no annotation", [key for key in image_asked if key not in image_annotated]),
        (
            "questions are about another image than their annotation",
            [key for key, image in image_asked.items() if image_annotated.get(key, image) != image],
        ),
    ]
    found = "; ".join(f"{len(ids)} {what} (question_id {first_few(ids)})" for what, ids in problems if ids)
    if found:
        raise DataError(
            f"{questions_path} and {annotations_path}",
            found,
            f"one annotation for each question ({len(image_asked)} questions, {len(image_annotated)} annotations)",
            "Use the two files of the same split and version (v2_Questions_… with v2_Annotations_…).",
        )


def _write(
    path: str | Path, data_type: str, data_subtype: str, name: str, records: Iterable[Question | Annotation]
) -> None:
    layout = {
        "info": {"description": f"{data_type} {data_subtype}, written by lxmert-tickets", "version": "2.0"},
        "license": {"name": "", "url": ""},
        "task_type": "Open-Ended",
        "data_type": data_type,
        "data_subtype": data_subtype,
        name: [],
    }
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(msgspec.json.encode(layout).removesuffix(b"]}"))
        for position, record in enumerate(records):
            file.write((b"," if position else b"") + msgspec.json.encode(record))
        file.write(b"]}")

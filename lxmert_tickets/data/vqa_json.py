"""The official VQA JSON files: questions and annotations, read into typed records and written back.

The layout is that of https://visualqa.org/download.html (VQA v2.0, "Input Questions Format" and "Annotation Format").
"""

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from lxmert_tickets.artifacts import replacing
from lxmert_tickets.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
SHOWN_IDS = 5
"""So many ids are listed in an error: enough to search for, few enough to read."""

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
    """A questions file; `data_type` and `data_subtype` ("mscoco", "train2014") make the images' names."""

    data_type: str
    data_subtype: str
    questions: tuple[Question, ...]


class _AnnotationFile(msgspec.Struct, frozen=True):
    annotations: tuple[Annotation, ...]


def read_questions(path: str | Path) -> QuestionFile:
    """Return the questions of an official questions file, `.json` or gzipped, in the order of the file.

    Raises DataError, naming the place in the file, when it is missing, damaged, or no questions file.
    """
    questions: QuestionFile = read_json(path, QuestionFile, "an official VQA questions file", WHICH_FILE)
    return questions


def read_annotations(path: str | Path) -> tuple[Annotation, ...]:
    """Return the annotations of an official annotations file, `.json` or gzipped, in the order of the file.

    Raises DataError, naming the place in the file, when it is missing, damaged, or no annotations file.
    """
    file: _AnnotationFile = read_json(path, _AnnotationFile, "an official VQA annotations file", WHICH_FILE)
    return file.annotations


def read_json(path: str | Path, kind: Any, expected: str, remedy: str = "") -> Any:
    """Return what the JSON file at `path`, gzipped or not, holds, as the type `kind`.

    Raises DataError, naming line and column or the path of the value, when the file is missing, damaged or of
    another type; it says what was `expected`, and gives `remedy` for a wrong type.
    """
    content = _content(path, expected)
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        raise DataError(f"{path} at {where.strip('`') or '$'}", message, expected, remedy) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(_place_of(path, content, error), f"no JSON ({error})", expected, "Download it again.") from None


def write_questions(path: str | Path, data_type: str, data_subtype: str, questions: Iterable[Question]) -> None:
    """Write a questions file in the official layout; equal questions give equal bytes (gzipped for a `.gz` name)."""
    _write(path, data_type, data_subtype, {"questions": list(questions)})


def write_annotations(path: str | Path, data_type: str, data_subtype: str, annotations: Iterable[Annotation]) -> None:
    """Write an annotations file in the official layout; equal annotations give equal bytes (`.gz`: gzipped)."""
    _write(path, data_type, data_subtype, {"annotations": list(annotations)})


def image_name(data_type: str, data_subtype: str, image_id: int) -> str:
    """Return the name that feature files give to an image: "COCO_train2014_000000132417" for mscoco.

    The prefix of any other data type is its name in upper case. The questions of mscoco's "test-dev2015" are a
    part of "test2015" and share its images.
    """
    if data_type == "mscoco":
        images = re.sub(r"^test-[a-z]+(?=\d{4}$)", "test", data_subtype)
        return f"COCO_{images}_{image_id:012d}"
    return f"{data_type.upper()}_{data_subtype}_{image_id:012d}"


def check_belong_together(
    questions: QuestionFile,
    annotations: Sequence[Annotation],
    questions_path: str | Path,
    annotations_path: str | Path,
) -> None:
    """Raise DataError unless each question has exactly one annotation, of the same image, and the other way round."""
    image_asked = {question.question_id: question.image_id for question in questions.questions}
    image_annotated = {annotation.question_id: annotation.image_id for annotation in annotations}
    problems = [
        ("questions occur twice", _repeated(question.question_id for question in questions.questions)),
        ("annotations occur twice", _repeated(annotation.question_id for annotation in annotations)),
        ("annotations have no question", [key for key in image_annotated if key not in image_asked]),
        ("questions have no annotation", [key for key in image_asked if key not in image_annotated]),
        (
            "questions are about another image than their annotation",
            [key for key, image in image_asked.items() if image_annotated.get(key, image) != image],
        ),
    ]
    found = "; ".join(f"{len(ids)} {what} (question_id {_first_few(ids)})" for what, ids in problems if ids)
    if found:
        raise DataError(
            f"{questions_path} and {annotations_path}",
            found,
            f"one annotation for each question ({len(image_asked)} questions, {len(image_annotated)} annotations)",
            "Use the two files of the same split and version (v2_Questions_… with v2_Annotations_…).",
        )


def _repeated(ids: Iterable[int]) -> list[int]:
    return [key for key, count in Counter(ids).items() if count > 1]


def _first_few(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:SHOWN_IDS])) + (", …" if len(ids) > SHOWN_IDS else "")


def _content(path: str | Path, expected: str) -> bytes:
    try:
        content = Path(path).read_bytes()
        if content.startswith(GZIP_MAGIC):
            return gzip.decompress(content)
    except FileNotFoundError:
        raise DataError(path, "no such file", expected) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(path, f"cannot be read ({error})", expected, "Download it again.") from None
    if content.startswith(ZIP_MAGIC):
        raise DataError(path, "a zip archive", f"{expected}, as .json or .json.gz", "Unzip it.")
    return content


def _place_of(path: str | Path, content: bytes, error: Exception) -> str:
    """Return "file:line:column" for a decoding error that tells its byte; a truncated file ends at its last line."""
    lines = content[: _bad_byte(content, error)].split(b"\n")
    return f"{path}:{len(lines)}:{len(lines[-1]) + 1}"


def _bad_byte(content: bytes, error: Exception) -> int:
    """Return where decoding failed: at the byte that the error tells, at the first that is no UTF-8, or at the end."""
    if told := re.search(r"\(byte (\d+)\)", str(error)):
        return int(told[1])
    try:
        content.decode()
    except UnicodeDecodeError as first:
        return first.start
    return len(content)


def _write(path: str | Path, data_type: str, data_subtype: str, records: dict[str, Any]) -> None:
    layout = {
        "info": {"description": f"{data_type} {data_subtype}, written by lxmert-tickets", "version": "2.0"},
        "license": {"name": "", "url": ""},
        "task_type": "Open-Ended",
        "data_type": data_type,
        "data_subtype": data_subtype,
        **records,
    }
    content = msgspec.json.encode(layout)
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if Path(path).suffix == ".gz" else content)

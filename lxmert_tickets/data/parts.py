"""Join the parts of a split: train is train2014 and nominival, each with files of questions and annotations."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lxmert_tickets.data.asked import AskedQuestion, asked_officially
from lxmert_tickets.data.json_files import JsonFile
from lxmert_tickets.data.prepared import asked_as_prepared
from lxmert_tickets.data.vqa_json import decode_questions
from lxmert_tickets.downloads.receipts import source_file
from lxmert_tickets.errors import DataError, first_few, repeated

QUESTIONS = "an official VQA questions file, or LXMERT's prepared questions"


def source_files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return the files behind one or more paths; a receipt stands for the file beside it (`source_file`)."""
    return [source_file(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]


def read_split(
    questions: Sequence[str | Path],
    annotations: Sequence[str | Path] = (),
    subtypes: Sequence[str | None] | None = None,
) -> tuple[AskedQuestion, ...]:
    """Return the questions of all parts of a split, part after part, each in the order of its file.

    A part is an official questions file, with its annotations at the same position in `annotations`, or a prepared
    file, which includes its labels. `annotations` is empty for prepared files and for official questions that have
    none. `subtypes` select the member of a zip archive for each part.

    Raises DataError when a file is broken, files do not belong together, a question occurs twice, or only some parts
    have labels.
    """
    none = [None] * len(questions)
    asked: list[AskedQuestion] = []
    for path, annotated, subtype in zip(questions, annotations or none, subtypes or none, strict=True):
        before, start = asked[0].labels if asked else None, len(asked)
        asked += _of_part(path, annotated, subtype)
        if 0 < start < len(asked) and (before is None) != (asked[start].labels is None):
            has = "no labels" if asked[start].labels is None else "labels"
            raise DataError(path, f"{has}, unlike {questions[0]}", "labels for all parts of a split, or for none")
    if twice := repeated(question.question_id for question in asked):
        place = ", ".join(map(str, questions))
        found = f"{len(twice)} questions occur twice (question_id {first_few(twice)})"
        raise DataError(place, found, "each question once", "Give each part of a split once.")
    return tuple(asked)


def _of_part(path: str | Path, annotations: str | Path | None, subtype: str | None) -> Iterator[AskedQuestion]:
    file = JsonFile(path, QUESTIONS, subtype)
    if not file.content[:64].lstrip().startswith(b"["):  # a list is a prepared file
        questions = decode_questions(file)
        del file  # frees its bytes before the annotations are read
        yield from asked_officially(questions, annotations, subtype, path)
        return
    if annotations is not None:
        remedy = f"Leave out {annotations}: the labels are in the prepared file."
        raise DataError(path, "prepared questions", "official questions, as annotations are given", remedy)
    yield from asked_as_prepared(file)

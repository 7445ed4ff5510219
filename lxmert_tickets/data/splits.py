"""Split val2014 in two: minival, for choosing epochs, and nominival, for training.

LXMERT's minival is all questions of 5,000 images of val2014 (its minival.json). That list decides, or a given number of
images is drawn from a seed.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lxmert_tickets.data.json_files import read_json, shown_name
from lxmert_tickets.data.vqa_json import Id, Question, QuestionFile, image_name
from lxmert_tickets.errors import DataError, first_few
from lxmert_tickets.seeds import derive_seed

IDS_FILE = "minival.json of LXMERT, or a list of question ids, of image ids, or of images' names"
OF_LXMERT = "LXMERT's ids"
OWN = "a list other than LXMERT's (LXMERT may have been pretrained on these images)"
DRAWN = "seeded choice"


class _Listed(msgspec.Struct, frozen=True):
    question_id: Id
    img_id: str


@dataclass(frozen=True)
class Minival:
    """The images of minival, by `image_id`, how they were chosen, and how many questions a given list names."""

    images: frozenset[int]
    chosen_by: str
    n_listed: int | None = None

    def about(self, questions: Collection[Question]) -> dict[str, Any]:
        """Return a summary for readers of the results, as plain JSON values."""
        inside = [asked for asked in questions if asked.image_id in self.images]
        n_images = len({asked.image_id for asked in questions})
        listed = {} if self.n_listed is None else {"n_minival_questions_listed": self.n_listed}
        return listed | {
            "minival": self.chosen_by,
            "n_minival_images": len(self.images),
            "n_minival_questions": len(inside),
            "n_nominival_images": n_images - len(self.images),
            "n_nominival_questions": len(questions) - len(inside),
        }


def draw_minival(questions: Sequence[Question], n_images: int, seed: int) -> Minival:
    """Return `n_images` images of `questions`, drawn from `seed`: equal images and seed give an equal choice.

    Raises DataError unless both minival and nominival get images.
    """
    images = {asked.image_id for asked in questions}
    if not 0 < n_images < len(images):
        found = f"{n_images} images for minival, of {len(images)}"
        raise DataError("minival", found, "at least 1, and some left for nominival", "Lower the number of images.")
    lots = sorted(images, key=lambda image: derive_seed(seed, "minival", image))  # the same with any version of numpy
    return Minival(frozenset(lots[:n_images]), DRAWN)


def read_minival(path: str | Path, questions: QuestionFile) -> Minival:
    """Return the images whose questions the list at `path` names: all questions of an image stay together.

    The list is a prepared file such as LXMERT's minival.json, or a bare list of question ids, image ids or image names.

    Raises DataError when the file is broken, names anything that `questions` lack, or leaves nothing for nominival.
    """
    entries: list[_Listed | Id | str] = read_json(path, list[_Listed | Id | str], IDS_FILE)
    if len({type(entry) for entry in entries}) != 1:
        raise DataError(path, "entries of several kinds" if entries else "an empty list", IDS_FILE)
    images, n_listed = _images_of(path, entries, questions)
    if len(images) == len({asked.image_id for asked in questions.questions}):
        raise DataError(path, "names every image", "some left for nominival", "List the ids of minival only.")
    return Minival(images, OF_LXMERT if isinstance(entries[0], _Listed) else OWN, n_listed)


def _images_of(path: str | Path, entries: Sequence[Any], questions: QuestionFile) -> tuple[frozenset[int], int | None]:
    """Return the images that `entries` name, and how many questions they name if they name questions."""
    image_of = {asked.question_id: asked.image_id for asked in questions.questions}
    name_of = {
        image: image_name(questions.data_type, questions.data_subtype, image) for image in set(image_of.values())
    }
    if isinstance(entries[0], str):
        by_name = {name: image for image, name in name_of.items()}
        _check_known(path, entries, by_name, "images")
        return frozenset(by_name[name] for name in entries), None
    if isinstance(entries[0], _Listed):
        ids = [entry.question_id for entry in entries]
        _check_known(path, ids, image_of, "questions")
        elsewhere = [entry.question_id for entry in entries if name_of[image_of[entry.question_id]] != entry.img_id]
        if elsewhere:
            found = f"{len(elsewhere)} questions about another image (question_id {first_few(elsewhere)})"
            raise DataError(path, found, "the images that the official questions are about")
    elif name_of.keys() >= set(entries):
        if image_of.keys() >= set(entries):
            raise DataError(path, "ids of questions and of images alike", IDS_FILE, "Give names of images.")
        return frozenset(entries), None
    else:
        ids = list(entries)
        _check_known(path, ids, image_of, "questions")
    return frozenset(image_of[key] for key in ids), len(set(ids))


def _check_known(path: str | Path, named: Iterable[Any], known: Collection[Any], what: str) -> None:
    if unknown := [name for name in named if name not in known]:
        found = f"{len(unknown)} {what} that val2014 does not have, such as {shown_name(str(unknown[0]))}"
        raise DataError(path, found, IDS_FILE, "Give the list of minival, and the questions of val2014.")

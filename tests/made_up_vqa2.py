"""VQA v2 at any size, made up in its real formats: zips of questions, annotations and region features, prepared JSON.

The files are laid out as on a web server; `configuration` tells an experiment where.
"""

import gzip
import json
import os
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from lxmert_tickets.data.feature_tsv import write_feature_row
from lxmert_tickets.data.tokens import SPECIAL_TOKENS
from lxmert_tickets.data.vqa_json import Annotation, HumanAnswer, Question, write_annotations, write_questions

SHARED = Path(os.environ.get("LXT_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
FIRST_IMAGE = {"train2014": 1, "val2014": 100_001, "test2015": 200_001}
PARTS = {"train2014": "Train", "val2014": "Val", "test2015": "Test"}
SUBJECTS = ("dog", "cat", "bus", "man", "kite", "pizza", "clock")
COLORS = ("red", "blue", "green", "white")


@dataclass(frozen=True)
class Text:
    """A question as somebody asked it, with the answers of ten people."""

    question: str
    question_type: str
    answer_type: str
    answers: tuple[str, ...]


def made_up_texts() -> list[Text]:
    """Return questions of all answer types, of the kind that people ask."""
    texts = []
    for number, subject in enumerate(SUBJECTS):
        color, other = COLORS[number % 4], COLORS[(number + 1) % 4]
        count = str(number % 4)
        texts += [
            Text(f"Is there a {subject}?", "is there a", "yes/no", ("yes", "no")[number % 2 :][:1] * 9 + ("maybe",)),
            Text(f"How many {subject}s are there?", "how many", "number", (count,) * 7 + ("5",) * 3),
            Text(f"What color is the {subject}?", "what color is the", "other", (color,) * 6 + (other,) * 4),
        ]
    return texts


def real_texts() -> list[Text]:
    """Return the questions of the real sample; [] where it is missing."""
    folder = SHARED / "vqa2-sample"
    if not folder.is_dir():
        return []
    with gzip.open(folder / "v2_OpenEnded_mscoco_train_sample_questions.json.gz") as handle:
        asked = {entry["question_id"]: entry["question"] for entry in json.load(handle)["questions"]}
    with gzip.open(folder / "v2_mscoco_train_sample_annotations.json.gz") as handle:
        return [
            Text(
                asked[entry["question_id"]],
                entry["question_type"],
                entry["answer_type"],
                tuple(answer["answer"] for answer in entry["answers"]),
            )
            for entry in json.load(handle)["annotations"]
        ]


@dataclass(frozen=True)
class Sizes:
    """Images of each part, questions per image, and how an image is described."""

    train2014: int = 12
    val2014: int = 8
    test2015: int = 4
    questions_per_image: float = 5
    n_regions: int = 6
    feature_dim: int = 16
    vocab_size: int = 100


def write_sources(folder: Path, sizes: Sizes, texts: Sequence[Text], seed: int = 0, compresslevel: int = 1) -> None:
    """Write every file of VQA v2 below `folder`, except the weights."""
    for place in ("official", "prepared", "features", "weights", "answers/vqa", "answers/lxmert", "vocabulary"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    supply, n_asked = cycle(texts), 0
    labelled: dict[str, list[tuple[Question, Annotation]]] = {}
    for part in PARTS:
        n_images = getattr(sizes, part)
        images = list(range(FIRST_IMAGE[part], FIRST_IMAGE[part] + n_images))
        n_questions = round(n_images * sizes.questions_per_image)
        asked = [
            _asked(images[number % n_images], number // n_images, text)
            for number, text in enumerate(islice(supply, n_questions))
        ]
        n_asked += n_questions
        write_official(folder / "official", part, asked)
        labelled[part] = asked
        write_features(folder / "features" / f"{part}_obj36.zip", part, images, sizes, seed + n_asked, compresslevel)
    write_vocabulary(folder / "vocabulary" / "vocab.txt", texts, sizes.vocab_size)
    answers = _frequent_answers([*labelled["train2014"], *labelled["val2014"]])
    (folder / "answers/vqa/trainval_label2ans.json").write_text(json.dumps(answers))
    _write_prepared(folder / "prepared", labelled, set(answers), set(minival_images(sizes)))


def minival_images(sizes: Sizes) -> list[int]:
    """Return the images of LXMERT's minival as made up here: every third of val2014."""
    return list(range(FIRST_IMAGE["val2014"], FIRST_IMAGE["val2014"] + sizes.val2014, 3))


def write_features(
    path: Path, part: str, image_ids: Sequence[int], sizes: Sizes, seed: int, compresslevel: int = 1
) -> None:
    """Write a zip with one TSV like LXMERT's: values in the range of Faster R-CNN, a third of them 0."""
    rng = np.random.default_rng(seed)
    shape = (sizes.n_regions, sizes.feature_dim)
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=compresslevel)
    with archive, archive.open(f"{part}_obj36.tsv", "w", force_zip64=True) as table:
        for image_id in image_ids:
            values = np.maximum(rng.standard_exponential(shape, dtype=np.float32) * 1.2 - 0.45, 0)
            corners = np.sort(rng.uniform(0, 400, (sizes.n_regions, 2, 2)), axis=1).reshape(-1, 4)
            write_feature_row(table, f"COCO_{part}_{image_id:012d}", 427, 640, corners, values)


def configuration(base_url: str) -> dict[str, Any]:
    """Return `vqa2.sources` for files that `write_sources` wrote, served below `base_url`."""
    places = ("official", "prepared", "features", "weights", "answers", "vocabulary")
    return {place: [f"{base_url}/{place}/"] for place in places}


def _asked(image_id: int, number: int, text: Text) -> tuple[Question, Annotation]:
    question_id = image_id * 1000 + number
    people = tuple(HumanAnswer(answer, place, "yes") for place, answer in enumerate(text.answers, 1))
    most = Counter(text.answers).most_common(1)[0][0]
    return Question(question_id, image_id, text.question), Annotation(
        question_id, image_id, text.question_type, text.answer_type, most, people
    )


def write_official(folder: Path, part: str, asked: Sequence[tuple[Question, Annotation]]) -> None:
    """Write the zips of one part, such as train2014; test2015 has no annotations, but test-dev2015 beside it."""
    name = PARTS[part]
    questions = f"v2_OpenEnded_mscoco_{part}_questions.json"
    write_questions(folder / questions, "mscoco", part, [question for question, _ in asked])
    members = [questions]
    if name == "Test":  # the real zip has both
        half = "v2_OpenEnded_mscoco_test-dev2015_questions.json"
        write_questions(folder / half, "mscoco", "test-dev2015", [question for question, _ in asked[::2]])
        members.append(half)
    _zip(folder / f"v2_Questions_{name}_mscoco.zip", folder, members)
    if name != "Test":
        annotations = f"v2_mscoco_{part}_annotations.json"
        write_annotations(folder / annotations, "mscoco", part, [annotation for _, annotation in asked])
        _zip(folder / f"v2_Annotations_{name}_mscoco.zip", folder, [annotations])


def _zip(path: Path, folder: Path, members: Sequence[str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            archive.write(folder / member, member)
            (folder / member).unlink()


def write_vocabulary(path: Path, texts: Sequence[Text], size: int) -> None:
    """Write `size` tokens in BERT's format: the words of `texts`, most frequent first; other words are unknown."""
    spaced = ("".join(c if c.isalnum() else " " for c in text.question.lower()) for text in texts)
    words = [word for word, _ in Counter(" ".join(spaced).split()).most_common()]
    tokens = [SPECIAL_TOKENS[0], "[unused0]", *SPECIAL_TOKENS[1:], "?", *words][:size]
    tokens += [f"[unused{number}]" for number in range(1, 1 + size - len(tokens))]
    path.write_text("\n".join(tokens) + "\n", encoding="utf-8")


def _frequent_answers(asked: Sequence[tuple[Question, Annotation]]) -> list[str]:
    counts = Counter(annotation.multiple_choice_answer for _, annotation in asked)
    return sorted(answer for answer, count in counts.items() if count >= 9)


def _write_prepared(
    folder: Path, labelled: Mapping[str, Sequence[tuple[Question, Annotation]]], answers: set[str], minival: set[int]
) -> None:
    parts = {
        "train": ("train2014", labelled["train2014"]),
        "nominival": ("val2014", [pair for pair in labelled["val2014"] if pair[0].image_id not in minival]),
        "minival": ("val2014", [pair for pair in labelled["val2014"] if pair[0].image_id in minival]),
        "test": ("test2015", labelled["test2015"]),
    }
    for name, (subtype, asked) in parts.items():
        records = []
        for question, annotation in asked:
            record: dict[str, Any] = {
                "img_id": f"COCO_{subtype}_{question.image_id:012d}",
                "question_id": question.question_id,
                "sent": question.question,
            }
            if name != "test":
                counts = Counter(human.answer for human in annotation.answers)
                known = {answer: n for answer, n in counts.items() if answer in answers}
                record |= {
                    "answer_type": annotation.answer_type,
                    "question_type": annotation.question_type,
                    "label": {answer: {1: 0.3, 2: 0.6, 3: 0.9}.get(n, 1) for answer, n in known.items()},
                }
            records.append(record)
        (folder / f"{name}.json").write_text(json.dumps(records))

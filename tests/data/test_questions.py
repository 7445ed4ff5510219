"""Encoded questions: tokens, rows of images and soft labels that agree with their sources, and survive the disk."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.data import hdf5
from lxmert_tickets.data.answers import read_answers, soft_labels
from lxmert_tickets.data.features import Features
from lxmert_tickets.data.questions import EncodedQuestions, encode_questions, load_questions, save_questions
from lxmert_tickets.data.tokens import encode_texts, train_tokenizer
from lxmert_tickets.data.vqa_json import (
    Annotation,
    HumanAnswer,
    Question,
    QuestionFile,
    image_name,
    read_annotations,
    read_questions,
)
from lxmert_tickets.errors import ArtifactError, DataError

TEXTS = ("Is it red?", "How many cubes are there?", "Is it?")
TOKENIZER = train_tokenizer(TEXTS, vocab_size=80)
ANSWERS = ("yes", "no", "2")
GIVEN = (["yes"] * 9 + ["no"], ["2", "2", "2", "3"], ["purple"] * 10)


def features_of(names: list[str]) -> Features:
    nothing = np.zeros((len(names), 1, 4), dtype=np.float16)
    row_of = {name: row for row, name in enumerate(names)}
    return Features(Path("features.h5"), nothing, nothing, nothing[:, 0, :2], tuple(names), row_of)


QUESTIONS = QuestionFile("scenes", "val", tuple(Question(7 - i, i % 2, text) for i, text in enumerate(TEXTS)))
FEATURES = features_of(["SCENES_val_000000000001", "unused", "SCENES_val_000000000000"])
ANNOTATIONS = [
    Annotation(asked.question_id, asked.image_id, "is", "other", "yes", tuple(HumanAnswer(a, 1) for a in answers))
    for asked, answers in zip(QUESTIONS.questions, GIVEN, strict=True)
]


def encoded(annotations: list[Annotation] | None = ANNOTATIONS) -> EncodedQuestions:
    return encode_questions(QUESTIONS, annotations, FEATURES, TOKENIZER, ANSWERS, max_length=20)


def test_questions_keep_the_order_of_their_file_and_find_their_images() -> None:
    found = encoded()
    assert found.question_id.tolist() == [7, 6, 5]
    assert found.image_row.tolist() == [2, 0, 2]
    assert np.array_equal(found.input_ids, encode_texts(TOKENIZER, TEXTS, 20)[0])
    assert found.length.tolist() == [6, 8, 5]
    assert len(found) == 3


def test_targets_are_the_dense_soft_labels_of_the_rows_asked_for() -> None:
    expected = np.array([[1, 0.3, 0], [0, 0, 0.9], [0, 0, 0]], dtype=np.float32)
    targets = encoded().targets(np.array([2, 0, 1, 0]))
    assert targets.dtype == np.float32
    assert np.array_equal(targets, expected[[2, 0, 1, 0]])


def test_labels_do_not_depend_on_the_order_of_the_annotations() -> None:
    rows = np.arange(3)
    assert np.array_equal(encoded(ANNOTATIONS[::-1]).targets(rows), encoded().targets(rows))


answers = st.lists(st.sampled_from([*ANSWERS, "purple"]), min_size=1, max_size=10)


@given(given_answers=st.lists(answers, max_size=6), data=st.data())
def test_targets_agree_with_the_soft_labels_of_each_annotation(given_answers, data) -> None:
    n = len(given_answers)
    asked = QuestionFile("scenes", "val", tuple(Question(i, 0, "Is it red?") for i in range(n)))
    annotations = [
        Annotation(i, 0, "is", "other", "yes", tuple(HumanAnswer(text, 1) for text in texts))
        for i, texts in enumerate(given_answers)
    ]
    found = encode_questions(asked, annotations, FEATURES, TOKENIZER, ANSWERS, max_length=20)
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=8)) if n else []
    expected = np.zeros((len(rows), 3), dtype=np.float32)
    for place, row in enumerate(rows):
        for answer, score in soft_labels(annotations[row], {answer: i for i, answer in enumerate(ANSWERS)}):
            expected[place, answer] = score
    assert np.array_equal(found.targets(np.array(rows, dtype=np.int64)), expected)


def test_a_split_without_annotations_has_tokens_but_no_targets() -> None:
    found = encoded(annotations=None)
    assert np.array_equal(found.input_ids, encoded().input_ids)
    assert (found.labelled, found.n_answers) == (False, 3)
    assert found.label_start.tolist() == [0, 0, 0, 0]
    with pytest.raises(DataError, match="no annotations, so no labels"):
        found.targets(np.array([0]))


def test_questions_about_images_without_features_are_refused() -> None:
    with pytest.raises(DataError, match=r"features for 1 of the 2 images of the questions: SCENES_val_000000000001"):
        encode_questions(QUESTIONS, None, features_of(["SCENES_val_000000000000"]), TOKENIZER, ANSWERS, 20)


def test_annotations_of_other_questions_are_refused() -> None:
    with pytest.raises(DataError, match=r"1 questions have no annotation \(question_id 5\)"):
        encoded(ANNOTATIONS[:2])


def test_all_real_questions_are_encoded_with_labels_for_most(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "vqa2-sample"
    questions = read_questions(folder / "v2_OpenEnded_mscoco_train_sample_questions.json.gz")
    annotations = read_annotations(folder / "v2_mscoco_train_sample_annotations.json.gz")
    published = read_answers(shared_data / "answers" / "trainval_label2ans.json")
    images = sorted({image_name("mscoco", "train2014", asked.image_id) for asked in questions.questions})
    tokenizer = train_tokenizer([asked.question for asked in questions.questions[::10]], vocab_size=1000)
    found = encode_questions(questions, annotations, features_of(images), tokenizer, published, max_length=20)
    save_questions(tmp_path / "questions.h5", found, {})
    loaded = load_questions(tmp_path / "questions.h5")
    targets = loaded.targets(np.arange(500))
    assert loaded.input_ids.shape == (48_061, 20)
    assert images[loaded.image_row[0]] == "COCO_train2014_000000228478"
    assert (targets.max(axis=1) > 0).mean() > 0.95
    assert published[targets[0].argmax()] in {human.answer for human in annotations[0].answers}


@pytest.mark.parametrize("annotations", [ANNOTATIONS, None])
def test_what_is_saved_is_loaded_and_has_equal_bytes(tmp_path: Path, annotations: list[Annotation] | None) -> None:
    saved = encoded(annotations)
    for name in ("a.h5", "b.h5"):
        save_questions(tmp_path / name, saved, {"parents": ["0" * 64] * 2000})  # more than HDF5 keeps in a header
    loaded = load_questions(tmp_path / "a.h5")
    for field in dataclasses.fields(saved):
        before, after = getattr(saved, field.name), getattr(loaded, field.name)
        assert np.array_equal(before, after), field.name
        assert getattr(before, "dtype", None) == getattr(after, "dtype", None), field.name
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with hdf5.reading(tmp_path / "a.h5", "questions") as file:
        assert len(hdf5.metadata(file)["parents"]) == 2000


def test_a_failing_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        save_questions(tmp_path / "q.h5", dataclasses.replace(encoded(), length=np.array(["one"])), {})
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "questions.h5"
    save_questions(path, encoded(), {})
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ArtifactError, match=r"questions\.h5: damaged or truncated"):
            load_questions(path)


def changed(**arrays: object) -> Callable[[Path], None]:
    return lambda path: save_questions(path, dataclasses.replace(encoded(), **arrays), {})


def without_a_dataset(path: Path) -> None:
    save_questions(path, encoded(), {})
    with h5py.File(path, "r+") as file:
        del file["label_score"]


def of_another_kind(path: Path) -> None:
    with hdf5.writing(path, "features", {}):
        pass


def without_answers(path: Path) -> None:
    with hdf5.writing(path, "questions", {}) as file:
        for field in dataclasses.fields(encoded())[:7]:
            file[field.name] = getattr(encoded(), field.name)


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (changed(image_row=np.array([0, 1])), "arrays of one length"),
        (changed(label_score=np.ones(2, np.float32)), "arrays of one length"),
        (changed(label_start=np.array([0, 2, 1, 3])), "labels in order"),
        (changed(label_start=np.array([0, 2, 3, 4])), "labels in order"),
        (changed(label_start=np.array([1, 2, 3, 3])), "labels in order"),
        (changed(label_answer=np.array([0, 1, 3])), r"answers within 0\.\.2"),
        (changed(label_answer=np.array([0, 1, -1])), r"answers within 0\.\.2"),
        (changed(label_score=np.array([1, 0.3, np.nan])), r"scores within 0\.\.1"),
        (changed(image_row=np.array([0, -1, 0])), "rows of images from 0"),
        (changed(length=np.array([6, 9, 5])), r"lengths within 2\.\.8"),
        (changed(labelled=False), "labels only where there are annotations"),
        (changed(input_ids=np.zeros(3)), r"input_ids: int32 of shape \(3,\)"),
        (without_a_dataset, "label_score: no such dataset"),
        (without_answers, "damaged or truncated .*n_answers"),
        (of_another_kind, "is a features file; expected a complete questions file"),
        (lambda path: None, "no such file"),
    ],
)
def test_a_file_whose_parts_disagree_is_refused(tmp_path: Path, write, found: str) -> None:
    write(tmp_path / "questions.h5")
    with pytest.raises(ArtifactError, match=found):
        load_questions(tmp_path / "questions.h5")


def test_reading_features_and_questions_needs_neither_torch_nor_pandas() -> None:
    program = (
        "import sys; from lxmert_tickets.data import features, questions;"
        "print({'torch', 'pandas', 'transformers', 'snakemake'} & set(sys.modules))"
    )
    project = Path(__file__).resolve().parents[2]
    assert subprocess.check_output([sys.executable, "-c", program], cwd=project, text=True) == "set()\n"

"""The file of encoded questions is read back as saved, and refused if damaged or inconsistent."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lxmert_tickets.data import hdf5
from lxmert_tickets.data.questions import EncodedQuestions, load_questions, save_questions
from lxmert_tickets.errors import ArtifactError


def encoded(labelled: bool = True) -> EncodedQuestions:
    """Return three questions, of which the first has two labels and the second one."""
    n_labels = 3 if labelled else 0
    return EncodedQuestions(
        question_id=np.array([7, 6, 5]),
        image_row=np.array([2, 0, 2]),
        input_ids=np.arange(24, dtype=np.int32).reshape(3, 8),
        length=np.array([6, 8, 5], dtype=np.int32),
        label_start=np.array([0, 2, 3, 3] if labelled else [0, 0, 0, 0]),
        label_answer=np.array([0, 1, 2], dtype=np.int32)[:n_labels],
        label_score=np.array([1, 0.3, 0.9], dtype=np.float32)[:n_labels],
        n_answers=3,
        labelled=labelled,
    )


@pytest.mark.parametrize("labelled", [True, False])
def test_questions_are_loaded_as_saved_and_equal_ones_give_equal_bytes(tmp_path: Path, labelled: bool) -> None:
    saved = encoded(labelled)
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


def test_a_failing_save_leaves_no_file(tmp_path: Path) -> None:
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
        (changed(input_ids=np.zeros((2, 8))), "arrays of one length"),
        (changed(length=np.array([6, 5])), "arrays of one length"),
        (changed(label_start=np.array([0, 3])), "arrays of one length"),
        (changed(label_score=np.ones(2, np.float32)), "arrays of one length"),
        (changed(label_start=np.array([0, 2, 1, 3])), "labels in order"),
        (changed(label_start=np.array([0, 2, 3, 4])), "labels in order"),
        (changed(label_start=np.array([1, 2, 3, 3])), "labels in order"),
        (changed(label_answer=np.array([0, 1, 3])), r"answers within 0\.\.2"),
        (changed(label_answer=np.array([0, 1, -1])), r"answers within 0\.\.2"),
        (changed(label_score=np.array([1, 0.3, np.nan])), r"scores within 0\.\.1"),
        (changed(label_score=np.array([1.1, 0.3, 0])), r"scores within 0\.\.1"),
        (changed(label_score=np.array([1, -0.1, 0])), r"scores within 0\.\.1"),
        (changed(image_row=np.array([0, -1, 0])), "rows of images from 0"),
        (changed(length=np.array([6, 9, 5])), r"lengths within 2\.\.8"),
        (changed(length=np.array([6, 1, 5])), r"lengths within 2\.\.8"),
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

"""The encoded questions of one split in one HDF5 file: tokens, image rows, soft labels; small enough for memory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lxmert_tickets.artifacts import REMAKE, Metadata
from lxmert_tickets.data import hdf5
from lxmert_tickets.errors import ArtifactError, DataError

KIND = "questions"
DTYPES = {
    "question_id": "<i8",
    "image_row": "<i8",
    "input_ids": "<i4",
    "length": "<i4",
    "label_start": "<i8",
    "label_answer": "<i4",
    "label_score": "<f4",
}
"""The stored dtypes of the arrays of EncodedQuestions."""


@dataclass(frozen=True, eq=False)
class EncodedQuestions:
    """The n questions of a split, in the order of their file.

    `question_id` int64 (n); `image_row` int64 (n), the row in features.h5; `input_ids` int32 (n, longest), padded
    with 0; `length` int32 (n), counting [CLS] and [SEP]. The labels of question i are `label_answer` int32 (k)
    and `label_score` float32 (k) from `label_start[i]` to `label_start[i + 1]`, int64 (n + 1). `labelled`
    distinguishes a split without annotations from questions with no answer in the vocabulary.
    """

    question_id: np.ndarray
    image_row: np.ndarray
    input_ids: np.ndarray
    length: np.ndarray
    label_start: np.ndarray
    label_answer: np.ndarray
    label_score: np.ndarray
    n_answers: int
    labelled: bool = True

    def __len__(self) -> int:
        return len(self.question_id)

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """Return the soft labels of the questions `rows`, dense: float32 (len(rows), n_answers), in 0..1.

        Raises DataError for a split without annotations.
        """
        if not self.labelled:
            raise DataError(
                "questions", "no annotations, so no labels", "a split with annotations", "Use train or val."
            )
        starts = self.label_start[rows]
        counts = self.label_start[np.asarray(rows) + 1] - starts
        places = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        dense = np.zeros((len(rows), self.n_answers), dtype=np.float32)
        dense[np.repeat(np.arange(len(rows)), counts), self.label_answer[places]] = self.label_score[places]
        return dense


def save_questions(path: str | Path, encoded: EncodedQuestions, metadata: Metadata) -> None:
    """Write `encoded` atomically to an HDF5 file; equal questions and metadata give equal bytes."""
    about = {**metadata, "n_answers": encoded.n_answers, "labelled": encoded.labelled}
    with hdf5.writing(path, KIND, about) as file:
        for name, dtype in DTYPES.items():
            file.create_dataset(name, data=getattr(encoded, name).astype(dtype))


def load_questions(path: str | Path) -> EncodedQuestions:
    """Return the questions in a file that `save_questions` wrote.

    Raises ArtifactError when it is missing, truncated, damaged or of another kind, or its arrays are inconsistent.
    """
    with hdf5.reading(path, KIND) as file:
        about = hdf5.metadata(file)
        arrays = {
            name: hdf5.dataset(file, name, dtype, 2 if name == "input_ids" else 1)[()] for name, dtype in DTYPES.items()
        }
        encoded = EncodedQuestions(**arrays, n_answers=about["n_answers"], labelled=about["labelled"])
    _check_consistent(encoded, path)
    return encoded


def _check_consistent(encoded: EncodedQuestions, path: str | Path) -> None:
    """Raise ArtifactError for inconsistent arrays; `open_vqa_data` checks that the images exist."""
    n, n_labels, longest = len(encoded), len(encoded.label_answer), encoded.input_ids.shape[1]
    lengths_agree = (
        len(encoded.image_row) == len(encoded.input_ids) == len(encoded.length) == len(encoded.label_start) - 1 == n
    ) and len(encoded.label_score) == n_labels
    rules = {
        "arrays of one length": lengths_agree,
        "labels in order": lengths_agree
        and encoded.label_start[0] == 0
        and encoded.label_start[-1] == n_labels
        and bool((np.diff(encoded.label_start) >= 0).all()),
        f"answers within 0..{encoded.n_answers - 1}": _within(encoded.label_answer, 0, encoded.n_answers - 1),
        "scores within 0..1": _within(encoded.label_score, 0, 1),
        "rows of images from 0": _within(encoded.image_row, 0, np.inf),
        f"lengths within 2..{longest}": _within(encoded.length, 2, longest),
        "labels only where there are annotations": encoded.labelled or n_labels == 0,
    }
    broken = [rule for rule, holds in rules.items() if not holds]
    if broken:
        raise ArtifactError(path, "its arrays contradict each other", "; ".join(broken), REMAKE)


def _within(array: np.ndarray, low: float, high: float) -> bool:
    return bool(((array >= low) & (array <= high)).all())

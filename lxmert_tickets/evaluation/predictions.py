"""Predicted answers as files: Parquet within the workflow, JSON for EvalAI and other evaluators."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import ArrayLike

from lxmert_tickets.artifacts import METADATA_KEY, REMAKE, Metadata, canonical_json, check_can_be_opened, replacing
from lxmert_tickets.data.json_files import read_json
from lxmert_tickets.errors import ArtifactError, DataError, counted, first_few
from lxmert_tickets.evaluation.columns import column_to_numbers, numbers_to_column, texts_to_column

COLUMNS = pa.schema(
    [
        pa.field("question_id", pa.int64(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
    ]
)
SUBMISSION = 'a list of {"question_id": integer, "answer": string}'


class Predictions(msgspec.Struct, frozen=True, eq=False):
    """One answer per question, in the order of prediction; all three have one entry per question.

    `scores` is the sigmoid of the answer's logit: float32 in [0, 1].
    """

    question_ids: np.ndarray
    answers: list[str]
    scores: np.ndarray

    def pairs(self) -> Iterator[tuple[int, str]]:
        """Return question_id and answer of each question, as `score_predictions` takes them."""
        return zip(self.question_ids.tolist(), self.answers, strict=True)


class _Entry(msgspec.Struct, frozen=True):
    question_id: int
    answer: str


def save_predictions(
    path: str | Path, question_ids: ArrayLike, answers: Sequence[str], scores: ArrayLike, metadata: Metadata
) -> None:
    """Write predictions as Parquet (question_id int64, answer string, score float32), with `metadata` as sorted JSON.

    Equal predictions and metadata give equal bytes. Raises DataError when a score is not finite.
    """
    ids, sigmoids = np.asarray(question_ids, np.int64), np.asarray(scores, np.float32)
    if not np.isfinite(sigmoids).all():
        raise DataError(path, "a score that is not finite", "sigmoids in [0, 1]", "The network has diverged.")
    schema = COLUMNS.with_metadata({METADATA_KEY: canonical_json(metadata)})
    columns = [numbers_to_column(ids), texts_to_column(answers), numbers_to_column(sigmoids)]
    table = pa.Table.from_arrays(columns, schema=schema)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def load_predictions(path: str | Path) -> tuple[Predictions, Metadata]:
    """Return the predictions of a file by `save_predictions`, and its metadata ({} for a file from elsewhere).

    Raises ArtifactError when the file is missing, damaged (pages carry checksums), or holds other columns or gaps.
    """
    table, metadata = _read_table(path)
    if (found := _described(table.schema)) != (expected := _described(COLUMNS)):
        raise ArtifactError(path, f"columns {found}", expected, REMAKE)
    if empty := [name for name in table.column_names if table[name].null_count]:
        raise ArtifactError(path, f"missing values in {', '.join(empty)}", "a value in every row", REMAKE)
    predictions = Predictions(
        question_ids=column_to_numbers(table["question_id"]),
        answers=table["answer"].to_pylist(),
        scores=column_to_numbers(table["score"]),
    )
    return predictions, metadata


def write_submission(path: str | Path, question_ids: Iterable[int], answers: Iterable[str]) -> None:
    """Write answers as EvalAI takes them: a JSON list of {"question_id", "answer"}, one entry per line.

    An answer may be the empty string, which is one of LXMERT's 3,129 answers.
    """
    asked = map(int, question_ids)  # JSON has no numbers of NumPy
    entries = [msgspec.json.encode(_Entry(*entry)) for entry in zip(asked, answers, strict=True)]
    with replacing(path) as temporary:
        temporary.write_bytes(b"[" + b",\n".join(entries) + b"]\n")


def check_all_answered(place: str | Path, answered: Collection[int], asked: Collection[int]) -> None:
    """Raise DataError, naming `place`, unless the questions `answered` are those `asked`: EvalAI takes nothing less."""
    missing, unknown = set(asked).difference(answered), set(answered).difference(asked)
    problems = [("question", "not answered", missing), ("answer", "to no question asked", unknown)]
    found = "; ".join(
        f"{counted(len(ids), what)} {how} (question_id {first_few(sorted(ids))})" for what, how, ids in problems if ids
    )
    if found:
        expected = f"one answer to each question asked, {len(asked):,} in all, and no other"
        raise DataError(place, found, expected, "Predict all questions of the split, such as test2015.")


def read_submission(path: str | Path) -> dict[int, str]:
    """Return the answer to each question_id of an EvalAI submission, `.json` or gzipped, in the order of the file.

    Raises DataError, naming the place in the file, when it is missing, damaged, has another layout, or answers a
    question twice.
    """
    entries: list[_Entry] = read_json(path, list[_Entry], SUBMISSION, if_damaged="Write it again.")
    entry_of: dict[int, int] = {}
    answer_of: dict[int, str] = {}
    for position, entry in enumerate(entries):
        if entry.question_id in entry_of:
            found = f"question_id {entry.question_id} again, first at $[{entry_of[entry.question_id]}]"
            raise DataError(f"{path} at $[{position}]", found, "one answer a question")
        entry_of[entry.question_id] = position
        answer_of[entry.question_id] = entry.answer
    return answer_of


def _described(columns: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in columns)


def _read_table(path: str | Path) -> tuple[pa.Table, Metadata]:
    expected = "a Parquet file of predictions"
    check_can_be_opened(path, expected)
    try:
        # Without threads: where a limit on processes allows no more, the file would seem damaged.
        with (
            open(path, "rb") as opened,
            pq.ParquetFile(opened, pre_buffer=False, page_checksum_verification=True) as file,
        ):
            table = file.read(use_threads=False)
        table.validate(full=True)
        metadata = dict(json.loads((table.schema.metadata or {}).get(METADATA_KEY.encode(), b"{}")))
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: metadata that is not JSON
        raise ArtifactError(path, f"damaged or not Parquet ({error})", expected, REMAKE) from None
    return table, metadata

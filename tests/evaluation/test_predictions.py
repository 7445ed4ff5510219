"""Predictions survive a round trip to disk, and broken files are refused by name and place."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lxmert_tickets.errors import ArtifactError, DataError
from lxmert_tickets.evaluation.predictions import (
    Predictions,
    check_all_answered,
    load_predictions,
    read_submission,
    save_predictions,
    write_submission,
)

PROJECT = Path(__file__).resolve().parents[2]
IDS = [413918000, 81308004, 7]
ANSWERS = ["state farm", "no", "café\n“9”"]
SCORES = np.array([0.25, 1.0, 0.1], dtype=np.float32)
METADATA = {"rule": "predict", "seed": 0, "parents": {"b": "2", "a": "1"}}
QUESTION_IDS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A complete file of three predictions."""
    path = tmp_path / "predictions.val.parquet"
    save_predictions(path, IDS, ANSWERS, SCORES, METADATA)
    return path


def foreign_file(path: Path, answers: list[str | None], metadata: dict[str, str] | None = None) -> Path:
    """Write predictions as another program might: the same columns, each of which may hold nulls."""
    n = len(answers)
    columns = [pa.array(range(n), pa.int64()), pa.array(answers, pa.string()), pa.array([0.5] * n, pa.float32())]
    pq.write_table(pa.table(columns, names=["question_id", "answer", "score"], metadata=metadata), path)
    return path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_predictions_are_loaded_as_they_were_saved(saved: Path) -> None:
    predictions, metadata = load_predictions(saved)
    assert predictions.question_ids.dtype == np.int64
    assert predictions.question_ids.tolist() == IDS
    assert predictions.answers == ANSWERS
    assert predictions.scores.dtype == np.float32
    assert predictions.scores.tolist() == SCORES.tolist()
    assert metadata == METADATA


def test_any_valid_file_name_is_accepted(saved: Path) -> None:
    moved = saved.rename(saved.with_name(os.fsdecode(b"\xff.parquet")))
    assert load_predictions(moved)[0].answers == ANSWERS


def test_pairs_are_question_and_answer_in_order(saved: Path) -> None:
    predictions, _ = load_predictions(saved)
    assert list(predictions.pairs()) == list(zip(IDS, ANSWERS, strict=True))


def test_arrays_and_lists_are_saved_alike(saved: Path, tmp_path: Path) -> None:
    save_predictions(tmp_path / "arrays", np.array(IDS), np.array(ANSWERS, dtype=object), SCORES.tolist(), METADATA)
    assert (tmp_path / "arrays").read_bytes() == saved.read_bytes()


def test_any_parquet_reader_finds_the_columns_and_the_sorted_metadata(saved: Path) -> None:
    table = pq.read_table(saved)
    assert {field.name: str(field.type) for field in table.schema} == {
        "question_id": "int64",
        "answer": "string",
        "score": "float",
    }
    assert table.schema.metadata[b"lxmert_tickets"].decode() == json.dumps(METADATA, sort_keys=True)


def test_equal_content_gives_equal_bytes_whatever_the_order_of_the_metadata(saved: Path, tmp_path: Path) -> None:
    save_predictions(tmp_path / "again", IDS, ANSWERS, SCORES, dict(reversed(METADATA.items())))
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


def test_a_file_without_predictions_is_loaded_as_empty(tmp_path: Path) -> None:
    save_predictions(tmp_path / "none", [], [], [], {})
    predictions, metadata = load_predictions(tmp_path / "none")
    assert (list(predictions.pairs()), metadata) == ([], {})


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused_and_nothing_is_saved(tmp_path: Path, score: float) -> None:
    with pytest.raises(DataError, match="not finite"):
        save_predictions(tmp_path / "predictions.parquet", [1], ["a"], [score], {})
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match=r"predictions\.val\.parquet: damaged"):
        load_predictions(saved)


def test_one_flipped_bit_in_the_data_is_detected(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[content.index(b"state farm")] ^= 1  # zstd stores so short a page uncompressed
    saved.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        load_predictions(saved)


def test_a_file_from_elsewhere_is_read_and_has_no_metadata(tmp_path: Path) -> None:
    predictions, metadata = load_predictions(foreign_file(tmp_path / "p.parquet", ["a", "b"]))
    assert (list(predictions.pairs()), metadata) == ([(0, "a"), (1, "b")], {})


def test_a_row_without_an_answer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="missing values in answer"):
        load_predictions(foreign_file(tmp_path / "p.parquet", ["a", None]))


def test_an_answer_that_is_no_text_is_refused(tmp_path: Path) -> None:
    answer = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff"))
    columns = {"question_id": pa.array([0], pa.int64()), "answer": answer, "score": pa.array([0.5], pa.float32())}
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    with pytest.raises(ArtifactError, match="damaged"):
        load_predictions(tmp_path / "p.parquet")


def test_metadata_that_is_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="damaged"):
        load_predictions(foreign_file(tmp_path / "p.parquet", ["a"], {"lxmert_tickets": "{'seed': 0}"}))


@pytest.mark.parametrize("content", [b"", b"{}", b"PAR1PAR1", b"\x00" * 100])
def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.parquet").write_bytes(content)
    with pytest.raises(ArtifactError, match="not Parquet"):
        load_predictions(tmp_path / "p.parquet")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere\.parquet: no such file"):
        load_predictions(tmp_path / "nowhere.parquet")


def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").mkdir()
    with pytest.raises(ArtifactError, match=r"cannot be read \(Is a directory\); expected a file that this user can"):
        load_predictions(tmp_path / "p.parquet")


THREADS_STARTED_BY_LOADING = """
import os, sys
from lxmert_tickets.evaluation.predictions import load_predictions

before = set(os.listdir("/proc/self/task"))
load_predictions(sys.argv[1])
print(len(set(os.listdir("/proc/self/task")) - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_loading_starts_no_threads_which_a_limit_on_processes_would_refuse(saved: Path) -> None:
    command = [sys.executable, "-c", THREADS_STARTED_BY_LOADING, str(saved)]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ended.stdout == "0\n"


def test_full_memory_is_not_called_damage(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr(pq, "ParquetFile", full)
    with pytest.raises(MemoryError, match="malloc of size 64 failed"):
        load_predictions(saved)


def test_other_columns_are_refused_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"question_id": pa.array([1], pa.int32()), "answer": ["a"]}), path)
    with pytest.raises(ArtifactError, match="columns question_id int32, answer string"):
        load_predictions(path)


def test_a_submission_is_the_list_that_evalai_expects(tmp_path: Path) -> None:
    write_submission(tmp_path / "submission.json", np.array(IDS), ANSWERS)
    expected = [{"question_id": key, "answer": answer} for key, answer in zip(IDS, ANSWERS, strict=True)]
    assert json.loads((tmp_path / "submission.json").read_text(encoding="utf-8")) == expected


def test_an_empty_submission_is_an_empty_list(tmp_path: Path) -> None:
    write_submission(tmp_path / "submission.json", [], [])
    assert json.loads((tmp_path / "submission.json").read_text()) == []


@settings(deadline=None)  # a disk may be slow
@given(st.dictionaries(QUESTION_IDS, TEXTS, max_size=8))
def test_a_submission_is_read_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, answer_of: dict[int, str]
) -> None:
    path = tmp_path_factory.mktemp("submission") / "submission.json"
    write_submission(path, answer_of.keys(), answer_of.values())
    assert list(read_submission(path).items()) == list(answer_of.items())


def test_a_gzipped_submission_reads_like_the_plain_one(tmp_path: Path) -> None:
    write_submission(tmp_path / "submission.json", IDS, ANSWERS)
    packed = tmp_path / "submission.json.gz"
    packed.write_bytes(gzip.compress((tmp_path / "submission.json").read_bytes()))
    assert read_submission(packed) == read_submission(tmp_path / "submission.json")


def test_extra_keys_of_an_entry_are_ignored_as_by_the_evaluator(tmp_path: Path) -> None:
    path = write(tmp_path / "s.json", '[{"question_id": 1, "answer": "a", "confidence": 0.5}]')
    assert read_submission(path) == {1: "a"}


@pytest.mark.parametrize(
    ("second", "place", "found"),
    [
        ('{"question_id": 2, "answer": 5}', r"\$\[1\]\.answer", "Expected `str`, got `int`"),
        ('{"question_id": 2, "answer": null}', r"\$\[1\]\.answer", "Expected `str`, got `null`"),
        ('{"question_id": "2", "answer": "b"}', r"\$\[1\]\.question_id", "Expected `int`, got `str`"),
        ('{"question_id": 2}', r"\$\[1\]", "missing required field `answer`"),
        ('{"question_id": 1, "answer": "b"}', r"\$\[1\]", r"question_id 1 again, first at \$\[0\]"),
    ],
)
def test_a_wrong_entry_is_named_by_file_and_position(tmp_path: Path, second: str, place: str, found: str) -> None:
    path = write(tmp_path / "s.json", f'[{{"question_id": 1, "answer": "a"}}, {second}]')
    with pytest.raises(DataError, match=rf"s\.json at {place}: .*{found}"):
        read_submission(path)


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "not valid JSON"), ('[{"question_id": 1', "not valid JSON"), ('{"1": "a"}', "Expected `array`")],
)
def test_a_file_that_is_no_list_of_entries_is_refused(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(DataError, match=rf"s\.json.*{found}"):
        read_submission(write(tmp_path / "s.json", text))


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b'[{"question_id": 1, "answer": "a"}]')
    for name, content in {"cut.gz": whole[:-9], "flipped.gz": whole[:12] + b"\xff" + whole[13:]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: cannot be read"):
            read_submission(tmp_path / name)


def test_bytes_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_bytes(b'[{"question_id": 1, "answer": "caf\xe9"}]')
    with pytest.raises(DataError, match="not valid JSON"):
        read_submission(tmp_path / "s.json")


def test_a_missing_submission_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json: no such file"):
        read_submission(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("answered", "found"),
    [
        ({1, 2}, r"2 questions not answered \(question_id 3, 4\)"),
        ({1, 2, 3, 4, 5}, r"1 answer to no question asked \(question_id 5\); expected one .* 4 in all"),
        ({1, 2, 3, 5}, r"1 question not answered .*; 1 answer to no question"),
    ],
)
def test_answers_to_too_few_or_other_questions_are_refused(answered: set[int], found: str) -> None:
    with pytest.raises(DataError, match=found):
        check_all_answered("s.json", answered, {1, 2, 3, 4})


def test_pairs_refuse_columns_of_unequal_length() -> None:
    with pytest.raises(ValueError, match="shorter"):
        list(Predictions(np.array([1, 2]), ["a"], np.zeros(2, np.float32)).pairs())

"""LXMERT's prepared questions give the same questions and arrays as the official files; wrong records are named."""

import dataclasses
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vqa_files import features_of, prepared_records

from lxmert_tickets.data.answers import read_answers
from lxmert_tickets.data.asked import AskedQuestion
from lxmert_tickets.data.encoding import encode_questions
from lxmert_tickets.data.parts import read_split
from lxmert_tickets.data.tokens import train_tokenizer
from lxmert_tickets.errors import DataError

RECORD = {
    "answer_type": "other",
    "img_id": "COCO_train2014_000000458752",
    "label": {"net": 1},
    "question_id": 458752000,
    "question_type": "what is this",
    "sent": "What is this photo taken looking through?",
}
UNLABELLED = {key: RECORD[key] for key in ("img_id", "question_id", "sent")}


def written(folder: Path, *records: Any) -> Path:
    (folder / "part.json").write_text(json.dumps(records))
    return folder / "part.json"


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in RECORD.items() if name != key}


def test_all_fields_of_a_prepared_record_are_read(tmp_path: Path) -> None:
    assert read_split([written(tmp_path, RECORD)]) == (
        AskedQuestion(
            question_id=458752000,
            image="COCO_train2014_000000458752",
            text="What is this photo taken looking through?",
            question_type="what is this",
            answer_type="other",
            labels=(("net", 1.0),),
        ),
    )


def test_a_record_without_a_label_field_is_unlabelled_unlike_one_with_an_empty_label(tmp_path: Path) -> None:
    [test] = read_split([written(tmp_path, UNLABELLED)])
    [nobody] = read_split([written(tmp_path, RECORD | {"label": {}})])
    assert (test.labels, nobody.labels) == (None, ())


@pytest.mark.parametrize("split", ["train", "valid"])
def test_official_and_prepared_files_give_equal_arrays_on_real_questions(
    shared_data: Path, tmp_path: Path, split: str
) -> None:
    folder = shared_data / "vqa2-sample"
    questions = folder / f"v2_OpenEnded_mscoco_{split}_sample_questions.json.gz"
    annotations = folder / f"v2_mscoco_{split}_sample_annotations.json.gz"
    answers = read_answers(shared_data / "answers" / "trainval_label2ans.json")
    prepared = written(tmp_path, *prepared_records(questions, annotations, list(answers)))

    official, ours = read_split([questions], [annotations]), read_split([prepared])
    assert [all_but_labels(one) for one in official] == [all_but_labels(one) for one in ours]
    tokenizer = train_tokenizer([one.text for one in official[::20]], vocab_size=600)
    features = features_of(sorted({one.image for one in official}))
    encoded = [encode_questions(asked, features, tokenizer, answers, 20) for asked in (official, ours)]
    for field in dataclasses.fields(encoded[0]):
        assert np.array_equal(getattr(encoded[0], field.name), getattr(encoded[1], field.name)), field.name
    assert len(encoded[1].label_answer) > 1.5 * len(official)


def all_but_labels(asked: AskedQuestion) -> tuple[object, ...]:
    """Return all but the labels, which the prepared file has for the vocabulary only."""
    return asked.question_id, asked.image, asked.text, asked.question_type, asked.answer_type


def test_official_and_prepared_files_give_equal_questions_without_answers(shared_data: Path, tmp_path: Path) -> None:
    questions = shared_data / "vqa2-sample" / "v2_OpenEnded_mscoco_valid_sample_questions.json.gz"
    assert read_split([questions]) == read_split([written(tmp_path, *prepared_records(questions, None, []))])


@pytest.mark.parametrize(
    ("second", "place", "found"),
    [
        (RECORD | {"question_id": "1"}, r"\$\[1\]\.question_id", "Expected `int`, got `str`"),
        (RECORD | {"question_id": -1}, r"\$\[1\]\.question_id", "`int` >= 0"),
        (RECORD | {"question_id": 2**63}, r"\$\[1\]\.question_id", "`int`"),
        (RECORD | {"img_id": ""}, r"\$\[1\]\.img_id", "length >= 1"),
        (RECORD | {"img_id": 458752}, r"\$\[1\]\.img_id", "Expected `str`, got `int`"),
        (without("sent"), r"\$\[1\]", "missing required field `sent`"),
        (RECORD | {"label": ["net"]}, r"\$\[1\]\.label", "Expected `object`, got `array`"),
        (RECORD | {"label": {"net": 1.5}}, r"\$\[1\]\.label\[\.\.\.\]", "`float` <= 1"),
        (RECORD | {"label": {"net": -0.3}}, r"\$\[1\]\.label\[\.\.\.\]", "`float` >= 0"),
        (RECORD | {"label": {"net": "1"}}, r"\$\[1\]\.label\[\.\.\.\]", "Expected `float`, got `str`"),
        (without("answer_type"), r"\$\[1\]", "a label but no answer_type"),
        (without("question_type"), r"\$\[1\]", "a label but no question_type"),
        (UNLABELLED, r"\$\[1\]", "no label, unlike the records before"),
        ([], r"\$\[1\]", "Expected `object`, got `array`"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, second: Any, place: str, found: str) -> None:
    with pytest.raises(DataError, match=rf"part\.json at {place}: .*{found}"):
        read_split([written(tmp_path, RECORD, second)])


def test_a_label_after_unlabelled_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"part\.json at \$\[1\]: a label, unlike the records before"):
        read_split([written(tmp_path, UNLABELLED, RECORD)])


@pytest.mark.parametrize("content", ["{}", '{"questions": []}', "5", "", "[", '[{"question_id": 1}'])
def test_a_file_that_is_no_list_is_refused_naming_the_right_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "part.json").write_text(content)
    with pytest.raises(DataError, match=r"part\.json.* LXMERT's prepared questions"):
        read_split([tmp_path / "part.json"])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(list(RECORD)), VALUES, max_size=3), n=st.integers(0, 2))
def test_records_with_any_values_are_read_or_refused_readably(tmp_path: Path, changes: dict[str, Any], n: int) -> None:
    earlier = [RECORD | {"question_id": number} for number in range(n)]
    with suppress(DataError):
        asked = read_split([written(tmp_path, *earlier, RECORD | changes)])
        assert len(asked) == n + 1
        assert all(0 <= score <= 1 for one in asked for _, score in one.labels or ())

"""The answer vocabulary and soft labels, against known facts of VQA v2 and on the real annotations."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.data.answers import (
    build_vocabulary,
    read_answers,
    soft_labels,
    within_vocabulary,
    write_answers,
)
from lxmert_tickets.data.vqa_json import Annotation, HumanAnswer, read_annotations
from lxmert_tickets.errors import DataError


def annotation(majority: str = "red", answers: list[str] | None = None) -> Annotation:
    given_answers = enumerate(answers or [majority] * 10, start=1)
    return Annotation(
        1, 1, "what", "other", majority, tuple(HumanAnswer(text, number) for number, text in given_answers)
    )


def majorities(**counts: int) -> list[Annotation]:
    return [annotation(answer) for answer, count in counts.items() for _ in range(count)]


@pytest.fixture(scope="module")
def real(shared_data: Path) -> tuple[Annotation, ...]:
    return read_annotations(shared_data / "vqa2-sample" / "v2_mscoco_train_sample_annotations.json.gz")


@pytest.fixture(scope="module")
def published(shared_data: Path) -> tuple[str, ...]:
    return read_answers(shared_data / "answers" / "trainval_label2ans.json")


def test_the_vocabulary_holds_all_frequent_answers_ordered_by_frequency_then_name() -> None:
    assert build_vocabulary(majorities(rare=8, dog=9, cat=9, yes=30), min_count=9) == ("yes", "cat", "dog")


@pytest.mark.parametrize(
    ("typed", "entry"),
    [
        ("A Dog.", "dog"),
        ("two", "2"),
        ("Two.", "2"),
        ("t-shirt", "t shirt"),
        ("1,000", "1000"),
        ("red, white", "red white"),
        ("dont know", "don't know"),
        ("the", ""),
    ],
)
def test_answers_enter_the_vocabulary_as_the_evaluator_normalises_them(typed: str, entry: str) -> None:
    assert build_vocabulary([annotation(typed)], min_count=1) == (entry,)


@given(st.permutations(majorities(a1=3, b1=3, c1=2, d1=1)))
def test_the_vocabulary_does_not_depend_on_the_order_of_annotations(shuffled: list[Annotation]) -> None:
    assert build_vocabulary(shuffled, min_count=2) == ("a1", "b1", "c1")


def test_frequent_real_answers_are_all_in_the_published_list(real, published) -> None:
    vocabulary = build_vocabulary(real, min_count=9)
    assert vocabulary[:4] == ("yes", "no", "1", "2")
    assert len(vocabulary) > 300
    assert set(vocabulary) <= set(published)


@pytest.mark.parametrize(("count", "score"), [(1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (5, 1.0), (10, 1.0)])
def test_a_score_depends_on_how_many_people_agree(count: int, score: float) -> None:
    answers = ["cat"] * count + [f"other {number}" for number in range(10 - count)]
    assert dict(soft_labels(annotation("cat", answers)))["cat"] == score


def test_answers_are_counted_as_they_were_typed() -> None:
    assert soft_labels(annotation("cat", ["Cat", "a cat", "cat", "Cat"])) == (
        ("Cat", 0.6),
        ("a cat", 0.3),
        ("cat", 0.3),
    )


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=10))
def test_soft_labels_score_every_answer_and_a_vocabulary_keeps_those_it_has_by_index(answers: list[str]) -> None:
    index_of = {"d": 0, "a": 1, "c": 2, "b": 3}
    labels = soft_labels(annotation("a", answers))
    assert dict(labels) == {answer: (0.3, 0.6, 0.9, 1.0)[min(n, 4) - 1] for answer, n in Counter(answers).items()}
    known = within_vocabulary(labels, index_of)
    assert dict(known) == {index_of[answer]: score for answer, score in labels if answer in index_of}
    assert [index for index, _ in known] == sorted(dict(known))


def test_real_soft_labels_are_scores_that_ten_people_can_give(real, published) -> None:
    index_of = {answer: index for index, answer in enumerate(published)}
    labels = [within_vocabulary(soft_labels(one), index_of) for one in real]
    assert {score for found in labels for _, score in found} == {0.3, 0.6, 0.9, 1.0}
    assert sum(map(bool, labels)) > 0.95 * len(labels)
    assert all(sum(score for _, score in found) <= 3 + 1e-9 for found in labels)


def test_a_vocabulary_is_read_back_as_written_and_equal_ones_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write_answers(tmp_path / name, ("yes", "", "señor"), {"rule": "answers", "seed": None})
    assert read_answers(tmp_path / "a.json") == ("yes", "", "señor")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text())["provenance"] == {"rule": "answers", "seed": None}


def test_the_published_list_has_3129_answers_and_begins_with_the_empty_one(published: tuple[str, ...]) -> None:
    assert len(published) == 3129
    assert published[:2] == ("", "woods")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "truncated"),
        ("[]", r"no answers.*Lower text\.min_answer_count"),
        ('{"answers": []}', "no answers"),
        ('{"answers": ["a", "b", "a"]}', "1 answers occur twice, such as 'a'"),
        ('["a", "b", "a"]', "1 answers occur twice, such as 'a'"),
        ('["a", 2]', r"answers\.json at \$\[1\]: Expected `str`, got `int`"),
        ('{"labels": ["a"]}', "missing required field `answers`"),
        ('"a"', "got `str`"),
        ('["a",\n "b"', r"answers\.json:2:5: not valid JSON"),
    ],
)
def test_a_broken_list_is_refused(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "answers.json").write_text(text)
    with pytest.raises(DataError, match=found):
        read_answers(tmp_path / "answers.json")

"""VQA answers are matched to rows of the pretraining answer head as in LXMERT's own code."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_checkpoints import write_pretraining_answers

from lxmert_tickets.data.answers import read_answers
from lxmert_tickets.errors import DataError
from lxmert_tickets.model.pretrained_answers import (
    UNMATCHED,
    mapped_head,
    match_answers,
    pretraining_form,
    read_pretraining_answers,
)

WORDS = ("a", "an", "the", "man", "woman", "grey", "gray", "two", "ten", "eleven", "zero", "dog", "Stop", "t-shirt", "")
answers_of_words = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
answers_with_stops = st.builds(str.__add__, answers_of_words, st.sampled_from(["", ".", "..", " .", ". "]))


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("", ""),
        (".", ""),
        ("Yes", "yes"),
        ("yes.", "yes"),
        ("etc..", "etc."),
        ("  yes .", "yes"),  # only a full stop causes trimming
        ("  yes ", "  yes "),
        ("a dog", "dog"),
        ("an apple", "apple"),
        ("the dog", "dog"),
        ("a an the dog", "dog"),
        ("the a dog", "a dog"),
        ("a a dog", "a dog"),
        ("a", "a"),
        ("another", "another"),
        ("a man", "man"),
        ("the a man", "man"),
        ("the  grey", "gray"),
        ("The woman.", "woman"),
        ("the the man", "man"),
        ("the a woman", "woman"),
        ("the the woman", "woman"),
        ("grey", "gray"),
        ("the grey", "gray"),
        ("grey dog", "grey dog"),
        ("one", "1"),
        ("Ten", "10"),
        ("two men", "two men"),
        ("zero", "zero"),
        ("none", "none"),
        ("eleven", "eleven"),
        ("dont", "dont"),
        ("t-shirt", "t-shirt"),
    ],
)
def test_answers_are_brought_into_the_form_used_in_pretraining(answer: str, form: str) -> None:
    assert pretraining_form(answer) == form


@given(answers_with_stops)
def test_the_form_is_in_lower_case_and_no_longer_than_the_answer(answer: str) -> None:
    form = pretraining_form(answer)
    assert form == form.lower()
    assert len(form) <= len(answer)
    assert pretraining_form(answer.upper()) == form


@given(st.sampled_from(WORDS[3:-1]), st.sampled_from(["a ", "an ", "the ", ""]), st.sampled_from([".", ""]))
def test_one_article_and_one_full_stop_make_no_difference(word: str, article: str, stop: str) -> None:
    assert pretraining_form(article + word + stop) == pretraining_form(word)


@given(st.lists(answers_with_stops, unique=True), st.lists(answers_with_stops, unique=True, min_size=1))
def test_an_answer_gets_the_row_of_its_form_or_none(answers: list[str], pretraining: list[str]) -> None:
    rows = match_answers(answers, pretraining)
    assert rows.shape == (len(answers),)
    for answer, row in zip(answers, rows, strict=True):
        if row == UNMATCHED:
            assert pretraining_form(answer) not in pretraining
        else:
            assert pretraining[row] == pretraining_form(answer)


def test_answers_of_one_form_share_a_row_and_pretraining_answers_are_compared_unchanged() -> None:
    assert match_answers(["grey", "gray", "2", "two", "dog"], ["gray", "The dog", "2", "grey"]).tolist() == [
        0,
        0,
        2,
        2,
        -1,
    ]


def random_head(n_answers: int, hidden: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {
        "0.weight": (2 * hidden, hidden),
        "0.bias": (2 * hidden,),
        "2.weight": (2 * hidden,),
        "2.bias": (2 * hidden,),
        "3.weight": (n_answers, 2 * hidden),
        "3.bias": (n_answers,),
    }
    return {
        f"answer_head.logit_fc.{name}": rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()
    }


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(-1, n - 1), min_size=1))))
def test_logits_of_matched_answers_are_those_of_pretraining_and_others_are_zero(sizes: tuple[int, list[int]]) -> None:
    n_pretraining, rows = sizes
    head = random_head(n_pretraining)
    before = {name: tensor.copy() for name, tensor in head.items()}
    mapped = mapped_head(head, np.array(rows))
    hidden = np.random.default_rng(1).standard_normal(8, dtype=np.float32)
    logits = head["answer_head.logit_fc.3.weight"] @ hidden + head["answer_head.logit_fc.3.bias"]
    found = mapped["answer_head.logit_fc.3.weight"] @ hidden + mapped["answer_head.logit_fc.3.bias"]
    np.testing.assert_allclose(found, [0.0 if row == UNMATCHED else logits[row] for row in rows], rtol=1e-5, atol=1e-6)
    for name, tensor in before.items():
        assert np.array_equal(head[name], tensor)
        assert mapped[name].dtype == np.float32
        assert ".3." in name or np.array_equal(mapped[name], tensor)


def test_the_published_answers_find_their_rows_in_a_list_like_the_published_one(
    shared_data: Path, tmp_path: Path
) -> None:
    answers = read_answers(shared_data / "answers" / "trainval_label2ans.json")
    unmatched = set(random.Random(0).sample(sorted({pretraining_form(answer) for answer in answers}), 5))
    forms = {pretraining_form(answer) for answer in answers} - unmatched
    others = [f"an answer of GQA {number}" for number in range(9500 - len(forms))]
    table = sorted(forms | set(others))
    write_pretraining_answers(tmp_path / "all_ans.json", table)
    pretraining = read_pretraining_answers(tmp_path / "all_ans.json")
    assert len(pretraining) == 9500
    rows = match_answers(answers, pretraining)
    lost = [answer for answer, row in zip(answers, rows, strict=True) if row == UNMATCHED]
    assert {pretraining_form(answer) for answer in lost} == unmatched
    assert all(table[row] == pretraining_form(answer) for answer, row in zip(answers, rows, strict=True) if row >= 0)


def test_the_published_answers_already_have_the_form_used_in_pretraining(shared_data: Path) -> None:
    # The form matters only for a vocabulary built here or elsewhere.
    answers = read_answers(shared_data / "answers" / "trainval_label2ans.json")
    assert [answer for answer in answers if pretraining_form(answer) != answer] == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([{"ans": "dog"}, {"ans": "cat"}, {"ans": "dog"}], "1 answers occur twice, such as 'dog'"),
        (["dog", "cat"], r"at \$\[0\]: Expected `object`"),
        ({"dog": 0}, "Expected `array`"),
        ([], "at .*length >= 1"),
        ([{"answer": "dog"}], "missing required field `ans`"),
    ],
)
def test_a_malformed_list_of_pretraining_answers_is_refused(tmp_path: Path, content: object, found: str) -> None:
    (tmp_path / "all_ans.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"all_ans\.json.*{found}"):
        read_pretraining_answers(tmp_path / "all_ans.json")


def test_the_order_of_the_list_is_kept(tmp_path: Path) -> None:
    write_pretraining_answers(tmp_path / "all_ans.json", ["z", "", "a", "10"])
    assert read_pretraining_answers(tmp_path / "all_ans.json") == ("z", "", "a", "10")

"""The evaluator's normalisation: each documented quirk once, and what holds for any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.data.normalise import (
    CONTRACTIONS,
    clean_whitespace,
    normalise,
    process_digits_and_articles,
    process_punctuation,
)

MARKS = set(';/[]"{}()=+\\_-><@`,?!')  # the evaluator's 21, spelt out once more to notice a lost one
TEXTS = st.text(st.sampled_from(list("aAtheno 159.,'-/!?:\t\r\n\u0130\u03a3")), max_size=30) | st.text(max_size=30)
FEW_PERIODS = TEXTS.filter(lambda text: text.count(".") <= 32)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [(" yes", "yes"), ("no\n", "no"), ("fire\ttruck", "fire truck"), ("a\nb\tc", "a b c"), ("in\rside", "in\rside")],
)
def test_newlines_and_tabs_become_spaces_and_the_ends_are_stripped(text: str, cleaned: str) -> None:
    assert clean_whitespace(text) == cleaned


def test_a_mark_inside_a_word_becomes_a_space() -> None:
    assert {process_punctuation(f"t{mark}shirt") for mark in MARKS} == {"t shirt"}


@pytest.mark.parametrize("text", ["to {} go", "to {}go", "to{} go"])
def test_a_mark_that_touches_a_space_is_dropped(text: str) -> None:
    assert {process_punctuation(text.format(mark)) for mark in MARKS} == {text.format("")}


def test_one_mark_at_a_space_drops_its_like_everywhere_and_no_other_mark() -> None:
    assert process_punctuation("t-shirt- and/or") == "tshirt and or"


def test_where_a_mark_stands_is_judged_in_the_original_text() -> None:
    assert process_punctuation("a/-b") == "a  b"  # "/" becomes a space, which "-" touches only afterwards


def test_a_comma_between_digits_drops_every_mark_of_the_text() -> None:
    assert process_punctuation("1,000 t-shirts") == "1000 tshirts"
    assert process_punctuation("1, 000t-shirts") == "1 000t shirts"


def test_other_marks_stay() -> None:
    assert process_punctuation("4:30 $5 50% a&b o'clock *#~|^ :") == "4:30 $5 50% a&b o'clock *#~|^ :"


@pytest.mark.parametrize(
    ("text", "processed"),
    [("u.s.a.", "usa"), ("2.5", "2.5"), ("2.", "2"), (".5", ".5"), ("no.5.", "no.5"), ("...", "")],
)
def test_a_period_goes_unless_a_digit_follows(text: str, processed: str) -> None:
    assert process_punctuation(text) == processed


def test_at_most_32_periods_are_removed() -> None:
    assert process_punctuation("." * 32) == ""
    assert process_punctuation("." * 35) == "..."


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("none zero one two three four", "0 0 1 2 3 4"),
        ("five six seven eight nine ten", "5 6 7 8 9 10"),
        ("ONE Two", "1 2"),
        ("eleven once twenty-one", "eleven once twenty-one"),
    ],
)
def test_number_words_up_to_ten_become_digits(words: str, digits: str) -> None:
    assert process_digits_and_articles(words) == digits


def test_articles_are_dropped_as_words_and_in_any_case() -> None:
    assert process_digits_and_articles("The cat and a dog on an Ant") == "cat and dog on ant"
    assert process_digits_and_articles("theater") == "theater"
    assert process_digits_and_articles("A") == ""


def test_runs_of_white_space_become_one_space() -> None:
    assert process_digits_and_articles("  fire \r  truck ") == "fire truck"


@pytest.mark.parametrize(
    ("spelt", "restored"),
    [
        ("dont", "don't"),
        ("oclock", "o'clock"),
        ("twas", "'twas"),
        ("couldn'tve", "couldn't've"),
        ("couldnt've", "couldn't've"),
        ("couldntve", "couldntve"),  # two apostrophes short
        ("yall'd've", "y'all'd've"),
        ("y'alld've", "y'all'd've"),
        ("y'all'dve", "y'all'd've"),
        ("'ows'at", "'ow's'at"),
        ("Cant", "can't"),
    ],
)
def test_contractions_are_restored_where_one_apostrophe_is_missing(spelt: str, restored: str) -> None:
    assert process_digits_and_articles(f"we {spelt} go") == f"we {restored} go"


@pytest.mark.parametrize("word", ["im", "ive", "lets", "shes", "somebodyd", "id've"])
def test_contractions_that_the_evaluator_does_not_restore_stay(word: str) -> None:
    assert process_digits_and_articles(word) == word


def test_the_one_pair_that_the_evaluator_has_the_wrong_way_round_is_kept() -> None:
    assert process_digits_and_articles("somebody'd") == "somebodyd"
    assert process_digits_and_articles("somebodyd've") == "somebody'd've"


def test_there_are_as_many_contractions_as_the_evaluator_can_ever_apply() -> None:
    assert len(CONTRACTIONS) == 114  # of its 120 pairs, 4 have capitals (never met in lower case), 2 map to themselves


@pytest.mark.parametrize(
    ("text", "normalised"),
    [("a/c", "c"), ("T-Shirt!", "t shirt"), ("The U.S. flag", "us flag"), ("one-two", "1 2"), ("don t", "don t")],
)
def test_punctuation_is_processed_before_words(text: str, normalised: str) -> None:
    assert normalise(text) == normalised


@given(TEXTS)
def test_no_mark_is_left(text: str) -> None:
    assert MARKS.isdisjoint(process_punctuation(text))


@given(TEXTS)
def test_cleaning_white_space_twice_changes_nothing(text: str) -> None:
    assert clean_whitespace(clean_whitespace(text)) == clean_whitespace(text)


@given(TEXTS)
def test_processing_words_twice_changes_nothing(text: str) -> None:
    assert process_digits_and_articles(process_digits_and_articles(text)) == process_digits_and_articles(text)


@given(FEW_PERIODS)
def test_normalising_twice_changes_nothing_unless_periods_were_left(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.lists(st.sampled_from(["red", "2", "don't", "fire", "9:30", "50%"]), max_size=6).map(" ".join))
def test_an_answer_already_in_normal_form_is_left_alone(text: str) -> None:
    assert normalise(text) == text

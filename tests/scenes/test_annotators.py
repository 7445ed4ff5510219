"""Ten annotators answer each question, and nearly always correctly."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.data.scenes.annotators import KINDS, N_ANNOTATORS, SLIP, _most_common, answer_in_tens
from lxmert_tickets.data.scenes.world import MAX_OBJECTS
from lxmert_tickets.data.vqa_json import HumanAnswer

N = 500
Replies = list[tuple[str, tuple[HumanAnswer, ...]]]


def replies(truth: str, n: int = N) -> Replies:
    rng = np.random.default_rng(0)
    return [answer_in_tens(truth, rng) for _ in range(n)]


def answers(found: Replies) -> list[str]:
    return [given.answer for _, ten in found for given in ten]


@pytest.mark.parametrize("truth", ["yes", "no", "0", "3", "6", "red", "star"])
def test_annotators_slip_at_about_the_documented_rate(truth: str) -> None:
    rate = np.mean([answer != truth for answer in answers(replies(truth))])
    assert rate == pytest.approx(SLIP, abs=0.015)


@pytest.mark.parametrize("truth", ["yes", "3", "red", "star"])
def test_the_answer_called_most_common_always_is_and_is_nearly_always_true(truth: str) -> None:
    found = replies(truth)
    assert np.mean([common == truth for common, _ in found]) > 0.99
    for common, ten in found:
        counts = Counter(given.answer for given in ten)
        assert counts[common] == max(counts.values())


def test_a_slip_is_an_answer_of_the_same_kind() -> None:
    for kind in KINDS:
        for truth in kind:
            assert set(answers(replies(truth, 100))) <= set(kind)


@pytest.mark.parametrize("truth", range(MAX_OBJECTS + 1))
def test_a_miscount_is_off_by_one(truth: int) -> None:
    near = {n for n in (truth - 1, truth, truth + 1) if 0 <= n <= MAX_OBJECTS}
    assert set(map(int, answers(replies(str(truth))))) == near


def test_every_other_answer_of_the_kind_is_given_occasionally() -> None:
    assert set(answers(replies("red"))) == set(KINDS[2])


def test_there_are_ten_answers_numbered_from_one() -> None:
    for _, ten in replies("star", 20):
        assert [given.answer_id for given in ten] == list(range(1, N_ANNOTATORS + 1))


def test_annotators_are_fully_confident_exactly_when_they_do_not_slip() -> None:
    for _, ten in replies("star"):
        assert all((given.answer == "star") == (given.answer_confidence == "yes") for given in ten)


def test_a_tie_goes_to_the_truth() -> None:
    class Slips:
        """Five annotators of ten slip, all to the same answer."""

        def __init__(self) -> None:
            self.rolls = iter([0.0, 1.0] * 5)

        def random(self) -> float:
            return next(self.rolls)

        def integers(self, n: int) -> int:
            return 0

    for truth in ("yes", "no"):
        assert answer_in_tens(truth, Slips())[0] == truth  # type: ignore[arg-type]


@given(st.lists(st.sampled_from(["red", "blue", "pink"]), min_size=10, max_size=10))
def test_the_most_common_of_any_ten_answers_is_found_and_the_truth_wins_every_tie(answers: list[str]) -> None:
    common, most = _most_common(answers, "pink"), max(Counter(answers).values())
    assert answers.count(common) == most
    assert (common == "pink") == (answers.count("pink") == most)


def test_a_seed_decides_the_answers() -> None:
    assert replies("red", 20) == replies("red", 20)

"""The official accuracy: equal to the evaluator's on 8,977 real questions, and its rules one by one."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.data.asked import AskedQuestion
from lxmert_tickets.data.parts import read_split
from lxmert_tickets.data.vqa_json import Annotation, HumanAnswer, read_annotations
from lxmert_tickets.errors import DataError
from lxmert_tickets.evaluation.accuracy import (
    Score,
    answer_accuracy,
    read_score,
    score_by_soft_labels,
    score_predictions,
)

ANSWERS = (
    st.sampled_from(["yes", "Yes", " yes", "no", "the cat", "cat.", "t-shirt", "t shirt", "2", "two", ""]) | st.text()
)
TEN_ANSWERS = st.lists(ANSWERS, min_size=10, max_size=10)


def humans(*answers: str) -> tuple[HumanAnswer, ...]:
    return tuple(HumanAnswer(answer=answer, answer_id=index) for index, answer in enumerate(answers, start=1))


def annotation(question_id: int, *answers: str, question_type: str = "what", answer_type: str = "other") -> Annotation:
    return Annotation(question_id, 1, question_type, answer_type, answers[0] if answers else "", humans(*answers))


def matched_by(n_humans: int) -> tuple[str, ...]:
    """Return ten answers, of which `n_humans` are "cat" and no other two agree."""
    return ("cat",) * n_humans + tuple(f"dog{index}" for index in range(10 - n_humans))


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> tuple[Score, dict[str, Any]]:
    """Our score of awkward predictions, and the official evaluator's."""
    folder = shared_data / "vqa2-sample"
    annotations = read_annotations(folder / "v2_mscoco_valid_sample_annotations.json.gz")
    with gzip.open(folder / "official_evaluator_predictions.json.gz") as file:
        predictions = [(entry["question_id"], entry["answer"]) for entry in json.load(file)]
    with gzip.open(folder / "official_evaluator_accuracy.json.gz") as file:
        return score_predictions(annotations, predictions), json.load(file)


def test_overall_equals_the_official_evaluator(golden: tuple[Score, dict[str, Any]]) -> None:
    score, official = golden
    assert score.overall == official["overall"]


def test_each_type_equals_the_official_evaluator(golden: tuple[Score, dict[str, Any]]) -> None:
    score, official = golden
    assert score.per_answer_type == official["perAnswerType"]
    assert score.per_question_type == official["perQuestionType"]


def test_each_question_equals_the_official_evaluator(golden: tuple[Score, dict[str, Any]]) -> None:
    score, official = golden
    ours = score.as_json()["per_question"]
    assert ours.keys() == official["perQuestion"].keys()
    assert {key: value for key, value in ours.items() if value != official["perQuestion"][key]} == {}


@pytest.mark.parametrize(("n_humans", "percent"), [(0, 0), (1, 30), (2, 60), (3, 90), (4, 100), (9, 100)])
def test_three_agreeing_other_humans_give_full_credit(n_humans: int, percent: float) -> None:
    assert answer_accuracy(humans(*matched_by(n_humans)), "cat") == pytest.approx(percent / 100)


def test_unanimous_answers_are_compared_raw_and_case_sensitive() -> None:
    assert answer_accuracy(humans(*["Yes"] * 10), "Yes") == 1
    assert answer_accuracy(humans(*["yes"] * 10), "Yes") == 0
    assert answer_accuracy(humans(*["t-shirt"] * 10), "t shirt") == 0


def test_answers_are_normalised_once_one_human_disagrees() -> None:
    assert answer_accuracy(humans(*["T-shirt"] * 9, "shirt"), "a t shirt!") == 1


def test_white_space_is_cleaned_even_of_unanimous_answers() -> None:
    assert answer_accuracy(humans(*["fire truck "] * 10), " fire\ttruck\n") == 1


def test_humans_who_differ_in_white_space_only_are_unanimous() -> None:
    assert answer_accuracy(humans(*["yes"] * 9, " yes\n"), "YES") == 0


def test_humans_are_told_apart_by_answer_id() -> None:
    others = humans(*"abcdefg")
    same_id = tuple(HumanAnswer("cat", answer_id=9) for _ in range(3))
    own_ids = tuple(HumanAnswer("cat", answer_id=9 + index) for index in range(3))
    assert answer_accuracy(others + own_ids, "cat") == pytest.approx(0.9)
    assert answer_accuracy(others + same_id, "cat") == pytest.approx(0.7)


def test_credit_is_capped_at_1_however_many_agree() -> None:
    # Of four that match, two share an id and are left out together: they get 2 / 3 each. All others get 1 each.
    matching = [HumanAnswer("cat", answer_id) for answer_id in (1, 1, 2, 3)]
    others = [HumanAnswer("dog", answer_id) for answer_id in range(4, 10)]
    assert answer_accuracy([*matching, *others], "cat") == pytest.approx((6 + 2 + 2 * 2 / 3) / 10)


def test_humans_with_one_id_are_told_apart_by_confidence_and_by_normalised_answer() -> None:
    others = humans(*"bcdefgh")
    of_confidence = tuple(HumanAnswer("cat", 9, confidence) for confidence in ("yes", "maybe", "no"))
    of_spelling = tuple(HumanAnswer(spelling, 9) for spelling in ("cat", "Cat", "a cat"))
    assert answer_accuracy(others + of_confidence, "cat") == pytest.approx(0.9)
    assert answer_accuracy(others + of_spelling, "cat") == pytest.approx(0.7)  # all are "cat" by then


@pytest.mark.parametrize(("n_humans", "percent"), [(1, 0), (2, 100 / 3), (3, 200 / 3), (4, 100), (12, 100)])
def test_accuracy_is_averaged_over_any_number_of_humans(n_humans: int, percent: float) -> None:
    assert answer_accuracy(humans(*["cat"] * n_humans), "cat") == pytest.approx(percent / 100)


@given(TEN_ANSWERS, ANSWERS)
def test_accuracy_is_between_0_and_1(answers: list[str], answer: str) -> None:
    assert 0 <= answer_accuracy(humans(*answers), answer) <= 1


@given(TEN_ANSWERS.flatmap(lambda answers: st.tuples(st.just(answers), st.permutations(answers))), ANSWERS)
def test_the_order_of_the_humans_does_not_matter(orders: tuple[list[str], list[str]], answer: str) -> None:
    ours, theirs = (answer_accuracy(humans(*answers), answer) for answers in orders)
    assert ours == pytest.approx(theirs)


@given(st.integers(1, 9), st.sampled_from(["cat", "Cat", "the cat", "cat.", " cat\n", "cat!"]))
def test_spelling_does_not_matter_while_humans_disagree(n_humans: int, spelling: str) -> None:
    assert answer_accuracy(humans(*matched_by(n_humans)), spelling) == answer_accuracy(
        humans(*matched_by(n_humans)), "cat"
    )


def test_overall_and_types_are_means_over_their_questions() -> None:
    annotations = [
        annotation(1, *matched_by(1), question_type="what", answer_type="other"),
        annotation(2, *matched_by(2), question_type="is the", answer_type="yes/no"),
        annotation(3, *matched_by(4), question_type="what", answer_type="number"),
        annotation(4, *matched_by(0), question_type="is the", answer_type="other"),
    ]
    score = score_predictions(annotations, [(key, "cat") for key in (3, 1, 4, 2)])
    assert score.overall == 47.5
    assert score.per_answer_type == {"other": 15.0, "yes/no": 60.0, "number": 100.0}
    assert score.per_question_type == {"what": 65.0, "is the": 30.0}
    assert score.per_question == {1: 30.0, 2: 60.0, 3: 100.0, 4: 0.0}


def test_percentages_are_rounded_to_two_places() -> None:
    annotations = [annotation(key, *matched_by(4 if key == 1 else 0)) for key in (1, 2, 3)]
    assert score_predictions(annotations, [(key, "cat") for key in (1, 2, 3)]).overall == 33.33


@pytest.mark.parametrize(
    ("n_matching", "overall"),
    [
        ([1] + 10 * [2] + 5 * [0], 39.37),  # the exact mean is 39.375; plain addition ends a hair below
        (3 * [1] + 45 * [0], 1.87),  # 1.875; 100 times the sum, divided, is below it, 100 times the mean is not
    ],
)
def test_accuracies_are_averaged_in_the_evaluators_order_of_operations(n_matching: list[int], overall: float) -> None:
    annotations = [annotation(key, *matched_by(n_humans)) for key, n_humans in enumerate(n_matching)]
    assert score_predictions(annotations, [(key, "cat") for key in range(len(n_matching))]).overall == overall


SOFT = (
    AskedQuestion(1, "COCO_a", "?", "is it", "yes/no", (("yes", 1.0), ("no", 0.3))),
    AskedQuestion(2, "COCO_a", "?", "what is", "other", (("red", 0.6), ("Red", 0.9))),
    AskedQuestion(3, "COCO_b", "?", "what is", "other", ()),
)


def test_without_the_ten_answers_a_prediction_scores_the_soft_label_of_its_exact_text() -> None:
    score = score_by_soft_labels(SOFT, [(3, "red"), (1, "no"), (2, "Red")])
    assert score == Score(
        overall=40.0,
        per_answer_type={"yes/no": 30.0, "other": 45.0},
        per_question_type={"is it": 30.0, "what is": 45.0},
        per_question={1: 30.0, 2: 90.0, 3: 0.0},
        measure="soft labels",
    )


def test_soft_labels_and_the_official_accuracy_agree_closely_on_real_answers(shared_data: Path) -> None:
    folder = shared_data / "vqa2-sample"
    annotated = folder / "v2_mscoco_valid_sample_annotations.json.gz"
    asked = read_split([folder / "v2_OpenEnded_mscoco_valid_sample_questions.json.gz"], [annotated])
    majority = [(one.question_id, one.multiple_choice_answer) for one in read_annotations(annotated)]
    soft, official = score_by_soft_labels(asked, majority), score_predictions(read_annotations(annotated), majority)
    assert soft.per_answer_type.keys() == official.per_answer_type.keys()
    assert soft.overall == pytest.approx(official.overall, abs=1)


def test_scoring_by_soft_labels_needs_a_prediction_and_labels_for_every_question() -> None:
    with pytest.raises(DataError, match=r"mine\.json: without a prediction: 1 \(question_id 3\)"):
        score_by_soft_labels(SOFT, [(1, "yes"), (2, "red")], place="mine.json")
    with pytest.raises(DataError, match=r"minival\.json, question_id 4: no labels;.* Score another split"):
        score_by_soft_labels([AskedQuestion(4, "COCO_a", "?")], [(4, "yes")], asked_place="minival.json")


OLD = '{"overall": 1.0, "per_answer_type": {}, "per_question_type": {}, "per_question": {}}'


def test_score_files_without_a_measure_count_as_official(tmp_path: Path) -> None:
    (tmp_path / "score.json").write_text(OLD)
    assert read_score(tmp_path / "score.json").measure == "official"


def test_a_score_is_json_with_question_ids_as_strings_and_reads_back(tmp_path: Path) -> None:
    score = score_predictions([annotation(413918000, *matched_by(0))], [(413918000, "cat")])
    assert score.as_json() == {
        "overall": 0.0,
        "per_answer_type": {"other": 0.0},
        "per_question_type": {"what": 0.0},
        "per_question": {"413918000": 0.0},
        "measure": "official",
    }
    (tmp_path / "score.json").write_text(json.dumps(score.as_json() | {"provenance": {"rule": "score"}}))
    assert read_score(tmp_path / "score.json") == score


@pytest.mark.parametrize("content", ["", OLD[:50], OLD.replace("1.0", '"high"'), "[]", '"\udcff'])
def test_a_damaged_score_is_named_with_the_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / "score.val.json").write_text(content, errors="surrogateescape")
    with pytest.raises(DataError, match=r"score\.val\.json.*; expected accuracies as JSON\. Delete it"):
        read_score(tmp_path / "score.val.json")


def test_missing_and_extra_predictions_are_counted_and_the_first_few_shown() -> None:
    annotations = [annotation(key, "cat") for key in range(1, 8)]
    with pytest.raises(DataError) as caught:
        score_predictions(annotations, [(7, "cat"), (70, "cat"), (71, "cat")], place="mine.json")
    assert caught.value.place == "mine.json"
    assert caught.value.found == (
        "without a prediction: 6 (question_id 1, 2, 3, 4, 5, …); predicted but not annotated: 2 (question_id 70, 71)"
    )


def test_a_question_predicted_twice_is_refused_even_with_one_answer() -> None:
    with pytest.raises(DataError, match=r"predicted more than once: 1 \(question_id 5\)"):
        score_predictions([annotation(5, "cat")], [(5, "cat"), (5, "cat")])


def test_a_question_annotated_twice_is_refused() -> None:
    with pytest.raises(DataError, match=r"annotated more than once: 1 \(question_id 5\)"):
        score_predictions([annotation(5, "cat"), annotation(5, "dog")], [(5, "cat")])


def test_scoring_no_questions_is_refused() -> None:
    with pytest.raises(DataError, match="no annotated questions"):
        score_predictions([], [])


def test_a_question_that_no_human_answered_is_refused() -> None:
    with pytest.raises(DataError, match=r"a\.json, question_id 5: no human answers;.* Leave the question out"):
        score_predictions([annotation(5)], [(5, "cat")], annotations_place="a.json")

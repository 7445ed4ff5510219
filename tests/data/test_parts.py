"""Splits put together from their parts: official files, zip archives and prepared files."""

import json
from pathlib import Path

import pytest
from vqa_files import zipped

from lxmert_tickets.artifacts import file_digest
from lxmert_tickets.data.asked import AskedQuestion
from lxmert_tickets.data.parts import read_split, source_files
from lxmert_tickets.data.vqa_json import Annotation, HumanAnswer, Question, write_annotations, write_questions
from lxmert_tickets.downloads.receipts import Receipt, write_receipt
from lxmert_tickets.errors import DataError

GIVEN = ("red", "red", "a cat", "Red")
LABELS = (("red", 0.6), ("a cat", 0.3), ("Red", 0.3))


def official(folder: Path, subtype: str, *ids: int, answers: tuple[str, ...] = GIVEN) -> tuple[Path, Path]:
    """Write questions and annotations of one part: question 10 i + k is about image i."""
    questions, annotations = folder / f"{subtype}.questions.json", folder / f"{subtype}.annotations.json"
    humans = tuple(HumanAnswer(text, number) for number, text in enumerate(answers, start=1))
    write_questions(questions, "mscoco", subtype, [Question(key, key // 10, f"What is {key}?") for key in ids])
    write_annotations(
        annotations,
        "mscoco",
        subtype,
        [Annotation(key, key // 10, "what is", "other", "red", humans) for key in ids[::-1]],
    )
    return questions, annotations


def prepared(folder: Path, *ids: int) -> Path:
    path = folder / "prepared.json"
    path.write_text(
        json.dumps([{"question_id": key, "img_id": f"COCO_val2014_{key // 10:012}", "sent": "?"} for key in ids])
    )
    return path


def test_an_official_part_gives_questions_with_images_types_and_labels_as_typed(tmp_path: Path) -> None:
    questions, annotations = official(tmp_path, "train2014", 420, 421)
    first = AskedQuestion(420, "COCO_train2014_000000000042", "What is 420?", "what is", "other", LABELS)
    assert read_split([questions], [annotations])[0] == first
    assert [one.question_id for one in read_split([questions], [annotations])] == [420, 421]


def test_official_questions_without_annotations_have_no_labels(tmp_path: Path) -> None:
    questions, _ = official(tmp_path, "test-dev2015", 420)
    assert read_split([questions]) == (AskedQuestion(420, "COCO_test2015_000000000042", "What is 420?"),)


def test_parts_are_concatenated_in_order(tmp_path: Path) -> None:
    parts = [official(tmp_path, "train2014", 30, 10), official(tmp_path, "val2014", 20)]
    asked = read_split([questions for questions, _ in parts], [annotations for _, annotations in parts])
    assert [(one.question_id, one.image[5:12]) for one in asked] == [(30, "train20"), (10, "train20"), (20, "val2014")]


def test_archives_are_read_in_place_member_by_member(tmp_path: Path) -> None:
    questions, annotations = (json.loads(path.read_text()) for path in official(tmp_path, "test2015", 10))
    archive = zipped(tmp_path / "Q.zip", "v2_OpenEnded_mscoco_test2015_questions.json", content=questions)
    zipped(archive, "v2_OpenEnded_mscoco_test-dev2015_questions.json", mode="a", content=questions | {"questions": []})
    answers = zipped(tmp_path / "A.zip", "v2_mscoco_test2015_annotations.json", content=annotations)
    assert [one.labels for one in read_split([archive], [answers], ["test2015"])] == [LABELS]
    assert read_split([archive], subtypes=["test-dev2015"]) == ()
    with pytest.raises(DataError, match=r"Q\.zip: a zip archive with 2 \.json files"):
        read_split([archive])


def test_a_question_in_two_parts_is_refused(tmp_path: Path) -> None:
    parts = [official(tmp_path, "train2014", 10, 11), official(tmp_path, "val2014", 11, 20)]
    with pytest.raises(DataError, match=r"1 questions occur twice \(question_id 11\)"):
        read_split([questions for questions, _ in parts])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_labelled_and_unlabelled_parts_cannot_form_one_split(tmp_path: Path, order: tuple[int, int]) -> None:
    labelled = tmp_path / "labelled.json"
    record = {"label": {}, "question_type": "", "answer_type": ""}
    labelled.write_text(json.dumps([{"question_id": 10, "img_id": "COCO_a", "sent": "?"} | record]))
    parts = [prepared(tmp_path, 20), labelled]
    with pytest.raises(DataError, match=r"unlike .*; expected labels for all parts of a split"):
        read_split([parts[position] for position in order])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_empty_part_counts_neither_as_labelled_nor_as_unlabelled(tmp_path: Path, order: tuple[int, int]) -> None:
    parts = [official(tmp_path, "train2014"), official(tmp_path, "val2014", 20)]
    chosen = [parts[position] for position in order]
    assert len(read_split([questions for questions, _ in chosen], [annotations for _, annotations in chosen])) == 1


def test_annotations_given_with_prepared_questions_are_refused(tmp_path: Path) -> None:
    _, annotations = official(tmp_path, "val2014", 20)
    with pytest.raises(DataError, match=r"prepared\.json: prepared questions; .*Leave out .*val2014\.annotations"):
        read_split([prepared(tmp_path, 20)], [annotations])


def test_annotations_of_other_questions_are_refused_with_both_files_named(tmp_path: Path) -> None:
    questions, _ = official(tmp_path, "train2014", 10, 11)
    _, annotations = official(tmp_path, "val2014", 10)
    with pytest.raises(DataError, match=r"1 questions have no annotation \(question_id 11\)") as refused:
        read_split([questions], [annotations])
    assert refused.value.place == f"{questions} and {annotations}"


def test_lists_of_unequal_length_are_refused(tmp_path: Path) -> None:
    questions, annotations = official(tmp_path, "train2014", 10)
    with pytest.raises(ValueError, match="longer"):
        read_split([questions], [annotations] * 2)
    with pytest.raises(ValueError, match="longer"):
        read_split([questions], [annotations], [None, None])


def test_questions_share_equal_images_types_and_labels_as_one_object_each(tmp_path: Path) -> None:
    questions, annotations = official(tmp_path, "train2014", 420, 421)
    one, other = read_split([questions], [annotations])
    assert one.image is other.image
    assert one.question_type is other.question_type
    assert one.labels is not None
    assert other.labels is not None
    assert all(mine is yours for mine, yours in zip(one.labels, other.labels, strict=True))


def test_a_receipt_stands_for_the_file_beside_it_and_a_path_for_itself(tmp_path: Path) -> None:
    path = prepared(tmp_path, 20)
    receipt = tmp_path / "prepared.json.verified"
    write_receipt(receipt, Receipt(file_digest(path), path.stat().st_size))
    assert source_files([str(receipt), path]) == [path, path]
    assert source_files(str(receipt)) == [path]
    assert source_files(()) == []

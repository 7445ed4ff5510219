"""Official questions and annotations: real files are read, damaged ones refused with their place, pairs checked."""

import gzip
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lxmert_tickets.data.vqa_json import (
    Annotation,
    HumanAnswer,
    Question,
    QuestionFile,
    check_belong_together,
    image_name,
    read_annotations,
    read_questions,
    write_annotations,
    write_questions,
)
from lxmert_tickets.errors import DataError

QUESTIONS = (Question(1, 10, "Is it red?"), Question(2, 10, "How many?"), Question(3, 11, "Où est-ce?"))
ANNOTATIONS = tuple(
    Annotation(asked.question_id, asked.image_id, "is it", "other", "red", (HumanAnswer("red", 1), HumanAnswer("a", 2)))
    for asked in QUESTIONS
)


def asked(*questions: Question) -> QuestionFile:
    return QuestionFile("scenes", "val", questions or QUESTIONS)


@pytest.mark.parametrize(("split", "n"), [("train", 48_061), ("valid", 8_977)])
def test_real_files_are_read_and_belong_together(shared_data: Path, split: str, n: int) -> None:
    folder = shared_data / "vqa2-sample"
    questions = read_questions(folder / f"v2_OpenEnded_mscoco_{split}_sample_questions.json.gz")
    annotations = read_annotations(folder / f"v2_mscoco_{split}_sample_annotations.json.gz")
    assert (len(questions.questions), questions.data_type, questions.data_subtype) == (n, "mscoco", "train2014")
    assert all(len(annotation.answers) == 10 for annotation in annotations)
    check_belong_together(questions, annotations, "questions.json", "annotations.json")


def test_a_real_record_is_read_as_it_was_written(shared_data: Path) -> None:
    path = shared_data / "vqa2-sample" / "v2_mscoco_train_sample_annotations.json.gz"
    first = json.loads(gzip.decompress(path.read_bytes()))["annotations"][0]
    assert json.loads(msgspec.json.encode(read_annotations(path)[0])) == first


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_questions_and_annotations_are_read_back_as_written(tmp_path: Path, texts: list[str]) -> None:
    path = tmp_path / "file.json"
    questions = tuple(Question(number, 2**63 - 1, text) for number, text in enumerate(texts))
    write_questions(path, "scenes", "val", questions)
    assert read_questions(path) == QuestionFile("scenes", "val", questions)
    annotations = tuple(Annotation(1, 2, text, "other", text, (HumanAnswer(text, 1, "maybe"),)) for text in texts)
    write_annotations(path, "scenes", "val", annotations)
    assert read_annotations(path) == annotations


def test_files_have_the_official_layout_and_equal_bytes_for_equal_content(tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        write_questions(tmp_path / "a.json", "scenes", "val", iter(QUESTIONS))
        written.append((tmp_path / "a.json").read_bytes())
    content = json.loads(written[0])
    assert written[0] == written[1]
    assert list(content) == ["info", "license", "task_type", "data_type", "data_subtype", "questions"]
    assert content["task_type"] == "Open-Ended"
    assert content["questions"][0] == {"question_id": 1, "image_id": 10, "question": "Is it red?"}


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_annotations(tmp_path / "a.json", "scenes", "val", ANNOTATIONS)
    before = (tmp_path / "a.json").read_bytes()
    with pytest.raises(TypeError):
        write_annotations(tmp_path / "a.json", "scenes", "val", [object()])  # type: ignore[list-item]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == before


GOOD = b'{"data_type": "m", "data_subtype": "t",\n "questions": [{"question_id": 1, "image_id": 2, "question": "a"}]}'


@pytest.mark.parametrize(
    ("content", "place", "found"),
    [
        (GOOD[:60], ":2:21", "truncated"),
        (GOOD.replace(b": 1,", b": ,"), ":2:32", "invalid character"),
        (GOOD.replace(b'"a"', b'"\xff"'), ":2:63", "utf-8"),
        (b"", ":1:1", "truncated"),
        (GOOD.replace(b"2,", b'"2",'), " at $.questions[0].image_id", "`int`, got `str`"),
        (GOOD.replace(b": 1,", b": -1,"), " at $.questions[0].question_id", "`int` >= 0"),
        (GOOD.replace(b": 1,", b": 9223372036854775808,"), " at $.questions[0].question_id", "`int`"),
        (GOOD.replace(b'"question":', b'"text":'), " at $.questions[0]", "missing required field `question`"),
        (GOOD.replace(b'"questions":', b'"annotations":'), " at $", "missing required field `questions`"),
        (b"[1]", " at $", "got `array`"),
        (gzip.compress(GOOD, mtime=0)[:-9], "", "cannot be read"),
        (gzip.compress(GOOD, mtime=0)[:12] + b"\xff\xff\xff" + gzip.compress(GOOD, mtime=0)[15:], "", "cannot be read"),
        (gzip.compress(GOOD[:60], mtime=0), ":2:21", "truncated"),
        (b"PK\x03\x04" + GOOD, "", "cannot be read"),
        (b"PK\x05\x06" + bytes(18), "", "a zip archive with 0 .json files (nothing)"),
        (b"[" * 100_000, " at $", "got `array`"),
        (GOOD.replace(b"{", b'{"more": ' + b"[" * 2_000_000 + b"]" * 2_000_000 + b", ", 1), "", "nested deeper"),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(tmp_path: Path, content: bytes, place: str, found: str) -> None:
    path = tmp_path / "questions.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read_questions(path)
    assert refused.value.place == f"{path}{place}"
    assert found in refused.value.found


def test_a_wrong_type_deep_in_the_annotations_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    write_annotations(path, "scenes", "val", ANNOTATIONS)
    path.write_bytes(path.read_bytes().replace(b'"answer_id":2', b'"answer_id":"2"', 1))
    with pytest.raises(DataError, match=r"annotations\.json at \$\.annotations\[0\]\.answers\[1\]\.answer_id"):
        read_annotations(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.json: no such file"):
        read_questions(tmp_path / "absent.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_annotations(tmp_path)


def test_the_annotations_file_given_as_questions_is_refused_and_the_remedy_says_so(tmp_path: Path) -> None:
    write_annotations(tmp_path / "a.json", "scenes", "val", ANNOTATIONS)
    with pytest.raises(DataError, match="check which is which"):
        read_questions(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("questions", "annotations", "found"),
    [
        (asked(), ANNOTATIONS[:1], r"2 questions have no annotation \(question_id 2, 3\)"),
        (asked(QUESTIONS[1]), ANNOTATIONS, r"2 annotations have no question \(question_id 1, 3\)"),
        (asked(*QUESTIONS, QUESTIONS[0]), ANNOTATIONS, r"1 questions occur twice \(question_id 1\)"),
        (asked(), (*ANNOTATIONS, ANNOTATIONS[2]), r"1 annotations occur twice \(question_id 3\)"),
        (asked(*QUESTIONS[:2], Question(3, 12, "?")), ANNOTATIONS, r"another image .*\(question_id 3\)"),
        (asked(*(Question(i, 1, "?") for i in range(4, 11))), (), r"7 questions .*\(question_id 4, 5, 6, 7, 8, …\)"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(questions, annotations, found) -> None:
    with pytest.raises(DataError, match=found) as refused:
        check_belong_together(questions, annotations, "q.json", "a.json")
    assert refused.value.place == "q.json and a.json"
    assert refused.value.remedy


@given(st.permutations(ANNOTATIONS), st.sampled_from(ANNOTATIONS))
def test_files_belong_together_in_any_order_unless_an_annotation_is_about_another_image(
    annotations: list[Annotation], changed: Annotation
) -> None:
    check_belong_together(asked(), annotations, "q.json", "a.json")
    strays = [msgspec.structs.replace(one, image_id=99) if one == changed else one for one in annotations]
    with pytest.raises(DataError, match=rf": 1 questions are about another.*question_id {changed.question_id}\)"):
        check_belong_together(asked(), strays, "q.json", "a.json")


@pytest.mark.parametrize(
    ("data_type", "data_subtype", "image_id", "name"),
    [
        ("mscoco", "train2014", 132417, "COCO_train2014_000000132417"),
        ("mscoco", "test2015", 1, "COCO_test2015_000000000001"),
        ("mscoco", "test-dev2015", 1, "COCO_test2015_000000000001"),
        ("scenes", "val", 7, "SCENES_val_000000000007"),
        ("scenes", "test-dev", 7, "SCENES_test-dev_000000000007"),
    ],
)
def test_images_have_the_names_of_the_feature_files(data_type, data_subtype, image_id, name) -> None:
    assert image_name(data_type, data_subtype, image_id) == name

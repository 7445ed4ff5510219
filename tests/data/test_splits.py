"""val2014 in two: however it is split, all questions of an image stay together and none is lost."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from script_runs import run_script
from vqa_files import load, zipped

from lxmert_tickets.data.splits import DRAWN, OF_LXMERT, OWN, draw_minival, read_minival
from lxmert_tickets.data.vqa_json import Question, QuestionFile, read_annotations, read_questions
from lxmert_tickets.errors import DataError

QUESTIONS = tuple(Question(image * 1000 + k, image, "Is it?") for image in range(1, 21) for k in range(image % 3 + 1))
FILE = QuestionFile("mscoco", "val2014", QUESTIONS)
OF_IMAGES_3_AND_7 = [asked.question_id for asked in QUESTIONS if asked.image_id in (3, 7)]


def name(image: int) -> str:
    return f"COCO_val2014_{image:012}"


def records(ids: list[int]) -> list[dict[str, Any]]:
    return [{"question_id": key, "img_id": name(key // 1000), "sent": "?", "label": {}} for key in ids]


def written(folder: Path, content: Any) -> Path:
    (folder / "minival.json").write_text(json.dumps(content))
    return folder / "minival.json"


@given(n_images=st.integers(1, 19), seed=st.integers(0, 2**40))
def test_as_many_images_are_drawn_as_asked_for(n_images: int, seed: int) -> None:
    minival = draw_minival(QUESTIONS, n_images, seed)
    assert len(minival.images) == n_images
    assert minival.images <= {asked.image_id for asked in QUESTIONS}
    about = minival.about(QUESTIONS)
    assert about["minival"] == DRAWN
    assert about["n_minival_questions"] + about["n_nominival_questions"] == len(QUESTIONS)
    assert about["n_minival_images"] + about["n_nominival_images"] == 20


@given(st.permutations(QUESTIONS))
def test_the_choice_depends_on_the_seed_and_not_on_the_order_of_questions(shuffled: list[Question]) -> None:
    assert draw_minival(shuffled, 5, seed=3) == draw_minival(QUESTIONS, 5, seed=3)


def test_other_seeds_choose_other_images_and_every_image_is_chosen_by_some() -> None:
    choices = {draw_minival(QUESTIONS, 5, seed).images for seed in range(50)}
    assert len(choices) > 45
    assert len(frozenset.union(*choices)) == 20


def test_a_larger_choice_contains_the_smaller() -> None:
    assert draw_minival(QUESTIONS, 5, seed=1).images < draw_minival(QUESTIONS, 9, seed=1).images


def test_the_choice_for_a_seed_never_changes() -> None:
    assert sorted(draw_minival(QUESTIONS, 5, seed=9595).images) == [7, 9, 12, 13, 16]


@pytest.mark.parametrize("n_images", [-1, 0, 20, 21])
def test_no_part_may_be_empty(n_images: int) -> None:
    with pytest.raises(DataError, match=f"{n_images} images for minival, of 20"):
        draw_minival(QUESTIONS, n_images, seed=0)


@pytest.mark.parametrize(
    ("content", "n_listed"),
    [
        (records(OF_IMAGES_3_AND_7), 3),
        (OF_IMAGES_3_AND_7[::-1], 3),
        (OF_IMAGES_3_AND_7 * 2, 3),
        (OF_IMAGES_3_AND_7[:2], 2),  # a question that is not named goes where its image goes
        ([3, 7], None),
        ([name(7), name(3), name(3)], None),
    ],
)
def test_a_list_may_choose_by_question_ids_image_ids_or_image_names(
    tmp_path: Path, content: Any, n_listed: int | None
) -> None:
    minival = read_minival(written(tmp_path, content), FILE)
    chosen_by = OF_LXMERT if isinstance(content[0], dict) else OWN
    assert (minival.images, minival.chosen_by, minival.n_listed) == ({3, 7}, chosen_by, n_listed)
    about = minival.about(QUESTIONS)
    assert about["n_minival_questions"] == 3
    assert about.get("n_minival_questions_listed") == n_listed


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([], "an empty list"),
        ([3, name(7)], "entries of several kinds"),
        ([3, 99], "2 questions that val2014 does not have, such as 3"),
        ([3000, 99], "1 questions that val2014 does not have, such as 99"),
        (records([3000, 99000]), "1 questions that val2014 does not have, such as 99000"),
        ([name(3), "COCO_train2014_000000000003"], "1 images that val2014 .* such as COCO_train2014"),
        ([{"question_id": 3000, "img_id": name(4)}], r"1 questions about another image \(question_id 3000\)"),
        (list(range(1, 21)), "names every image"),
        ([3.5], r"at \$\[0\]"),
        ([-1], r"at \$\[0\]"),
        ({"questions": []}, "Expected `array`"),
        ([{"img_id": name(3)}], "missing required field `question_id`"),
    ],
)
def test_a_list_that_does_not_fit_the_questions_is_refused(tmp_path: Path, content: Any, found: str) -> None:
    with pytest.raises(DataError, match=found):
        read_minival(written(tmp_path, content), FILE)


def test_ids_that_could_be_of_questions_or_of_images_are_refused(tmp_path: Path) -> None:
    twisted = QuestionFile("mscoco", "val2014", (Question(1, 2, "?"), Question(2, 1, "?"), Question(3, 4, "?")))
    with pytest.raises(DataError, match="ids of questions and of images alike"):
        read_minival(written(tmp_path, [1, 2]), twisted)


@pytest.fixture
def official(shared_data: Path, tmp_path: Path) -> dict[str, Path]:
    """Real questions in archives like those of val2014."""
    folder = shared_data / "vqa2-sample"
    questions = load(folder / "v2_OpenEnded_mscoco_valid_sample_questions.json.gz") | {"data_subtype": "val2014"}
    annotations = load(folder / "v2_mscoco_valid_sample_annotations.json.gz") | {"data_subtype": "val2014"}
    return {
        "questions": zipped(tmp_path / "Q.zip", "v2_OpenEnded_mscoco_val2014_questions.json", content=questions),
        "annotations": zipped(tmp_path / "A.zip", "v2_mscoco_val2014_annotations.json", content=annotations),
    }


OUTPUTS = [f"{part}_{kind}" for part in ("minival", "nominival") for kind in ("questions", "annotations")]


def split(folder: Path, official: dict[str, Path], *ids: Path, **params: int) -> dict[str, Path]:
    outputs = {name: folder / f"{name}.json" for name in (*OUTPUTS, "about")}
    given = {"n_images": 500, "seed": 9595} | params
    run_script("split_val_questions", folder, official | {"minival_ids": list(ids)}, outputs, params=given)
    return outputs


def test_the_script_puts_every_real_question_with_its_answers_into_one_part(
    tmp_path: Path, official: dict[str, Path]
) -> None:
    outputs = split(tmp_path, official)
    whole, answers = read_questions(official["questions"]), read_annotations(official["annotations"])
    parts = [read_questions(outputs[f"{part}_questions"]) for part in ("minival", "nominival")]
    images = [{asked.image_id for asked in part.questions} for part in parts]
    assert {part.data_subtype for part in parts} == {"val2014"}
    assert [len(images[0]), images[0] & images[1]] == [500, set()]
    assert sorted(parts[0].questions + parts[1].questions, key=id_of) == sorted(whole.questions, key=id_of)
    for part, within in zip(("minival", "nominival"), images, strict=True):
        expected = tuple(answer for answer in answers if answer.image_id in within)
        assert read_annotations(outputs[f"{part}_annotations"]) == expected
    about = json.loads(outputs["about"].read_text())
    assert (about["minival"], about["n_minival_questions"]) == ("seeded choice", len(parts[0].questions))
    assert about["n_nominival_questions"] == len(parts[1].questions)


def id_of(asked: Question) -> int:
    return asked.question_id


def test_the_script_follows_a_list_and_says_so(tmp_path: Path, official: dict[str, Path]) -> None:
    images = sorted({asked.image_id for asked in read_questions(official["questions"]).questions})[:7]
    outputs = split(tmp_path, official, written(tmp_path, images))
    found = read_questions(outputs["minival_questions"]).questions
    assert {asked.image_id for asked in found} == set(images)
    assert json.loads(outputs["about"].read_text())["minival"].startswith("a list other than LXMERT's")


def test_equal_inputs_give_equal_bytes(tmp_path: Path, official: dict[str, Path]) -> None:
    first = [path.read_bytes() for path in split(tmp_path, official).values()]
    assert [path.read_bytes() for path in split(tmp_path, official).values()] == first


def test_the_script_refuses_annotations_of_other_questions_and_writes_nothing(
    tmp_path: Path, official: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    empty = zipped(tmp_path / "E.zip", "v2_mscoco_val2014_annotations.json", content={"annotations": []})
    with pytest.raises(SystemExit):
        split(tmp_path, official | {"annotations": empty})
    assert "8977 questions have no annotation" in capsys.readouterr().err
    assert not any((tmp_path / f"{name}.json").exists() for name in OUTPUTS)

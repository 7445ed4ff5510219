"""Image sets are drawn from a seed, disjoint, and written in the official formats."""

import dataclasses
import io
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lxmert_tickets.data.scenes import annotators
from lxmert_tickets.data.scenes import dataset as subject
from lxmert_tickets.data.scenes.dataset import (
    DATA_TYPE,
    ImageSet,
    draw_image_set,
    read_boxes,
    read_captions,
    read_images,
    read_scenes,
    write_boxes,
    write_captions,
    write_images,
    write_scenes,
)
from lxmert_tickets.data.scenes.render import render
from lxmert_tickets.data.scenes.world import Scene
from lxmert_tickets.data.vqa_json import (
    check_belong_together,
    read_annotations,
    read_questions,
    write_annotations,
    write_questions,
)
from lxmert_tickets.errors import DataError
from lxmert_tickets.seeds import derive_seed

NAMES = ("pretrain", "train", "val", "test-dev", "test-std")
SIZE = {"n_images": 30, "n_questions": 120, "captions_per_image": 2, "n_regions": 8, "seed": 2026}


def drawn(name: str = "val", **changed: int) -> ImageSet:
    return draw_image_set(name, **SIZE | changed)


def parts(image_set: ImageSet) -> dict[str, Any]:
    """Return the parts of an image set; arrays as lists, so that they can be compared."""
    found = {field.name: getattr(image_set, field.name) for field in dataclasses.fields(image_set)}
    return found | {"boxes": [boxes.tolist() for boxes in image_set.boxes]}


VAL = drawn()


def test_name_and_settings_determine_an_image_set() -> None:
    assert parts(drawn()) == parts(VAL)


def test_an_image_set_is_as_large_as_asked_for() -> None:
    assert len(VAL.scenes) == len(VAL.boxes) == 30
    assert len(VAL.questions) == len(VAL.annotations) == 120
    assert Counter(image_id for image_id, _ in VAL.captions) == dict.fromkeys(range(1, 31), 2)
    assert all(boxes.shape == (8, 4) for boxes in VAL.boxes)
    assert drawn(captions_per_image=0).captions == ()


@pytest.mark.parametrize(
    ("changed", "parts_that_change"),
    [
        ({"n_questions": 60}, {"questions", "annotations"}),
        ({"captions_per_image": 1}, {"captions"}),
        ({"n_regions": 9}, {"boxes"}),
        ({"seed": 1}, {"scenes", "boxes", "questions", "annotations", "captions"}),
    ],
)
def test_a_setting_changes_only_its_own_parts(changed: dict[str, int], parts_that_change: set[str]) -> None:
    before, after = parts(VAL), parts(drawn(**changed))
    assert {name for name in before if before[name] != after[name]} == parts_that_change


def test_more_images_leave_the_first_ones_unchanged() -> None:
    assert drawn(n_images=40).scenes[:30] == VAL.scenes


def test_the_five_sets_share_no_image() -> None:
    sets = [drawn(name) for name in NAMES]
    assert len({scene.objects for image_set in sets for scene in image_set.scenes}) == 5 * 30
    assert len({image_set.image_name(scene) for image_set in sets for scene in image_set.scenes}) == 5 * 30


def test_every_part_of_every_set_has_a_random_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[tuple[int | str, ...]] = []

    def noted(seed: int, *purpose: str) -> int:
        streams.append((seed, *purpose))
        return derive_seed(seed, *purpose)

    monkeypatch.setattr(subject, "derive_seed", noted)
    for name in NAMES:
        drawn(name)
    assert len(set(streams)) == len(streams) == 5 * 5  # images, boxes, questions, annotators, captions


def test_images_are_named_as_in_coco() -> None:
    assert VAL.image_name(VAL.scenes[6]) == "SCENES_val_000000000007"


def test_question_ids_follow_the_rule_of_vqa_and_are_unique() -> None:
    for image_id in range(1, 31):
        ids = [asked.question_id for asked in VAL.questions if asked.image_id == image_id]
        assert ids == [image_id * 1000 + k for k in range(len(ids))]
    assert len({asked.question_id for asked in VAL.questions}) == 120


def test_more_questions_about_an_image_than_available_ids_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "IDS_AN_IMAGE", 3)
    with pytest.raises(DataError, match=r"image set 'val': more than 3 questions about image \d+.*Draw more images"):
        drawn()


def test_all_available_ids_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    most = max(Counter(asked.image_id for asked in VAL.questions).values())
    monkeypatch.setattr(subject, "IDS_AN_IMAGE", most)
    assert len({asked.question_id for asked in drawn().questions}) == 120


def test_neighbouring_questions_share_their_wording() -> None:
    assert all(a.question == b.question for a, b in zip(VAL.questions[::2], VAL.questions[1::2], strict=True))


def test_official_files_are_read_back_and_belong_together(tmp_path: Path) -> None:
    write_questions(tmp_path / "q.json", DATA_TYPE, VAL.name, VAL.questions)
    write_annotations(tmp_path / "a.json", DATA_TYPE, VAL.name, VAL.annotations)
    questions, annotations = read_questions(tmp_path / "q.json"), read_annotations(tmp_path / "a.json")
    assert (questions.questions, annotations) == (VAL.questions, VAL.annotations)
    assert (questions.data_type, questions.data_subtype) == ("scenes", "val")
    check_belong_together(questions, annotations, "q", "a")
    assert all(len(annotation.answers) == 10 for annotation in annotations)


def test_the_answer_of_an_annotation_is_its_most_common_one_even_if_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(annotators, "SLIP", 0.7)
    wrong = 0
    for annotation in drawn().annotations:
        counts = Counter(given.answer for given in annotation.answers)
        assert counts[annotation.multiple_choice_answer] == max(counts.values())
        sure = {given.answer for given in annotation.answers if given.answer_confidence == "yes"}
        wrong += annotation.multiple_choice_answer not in sure
    assert wrong > 20


def by_name(image_set: ImageSet) -> dict[str, Scene]:
    return {image_set.image_name(scene): scene for scene in image_set.scenes}


def test_images_are_read_back_pixel_for_pixel_in_order(tmp_path: Path) -> None:
    write_images(tmp_path / "images.zip", by_name(VAL))
    found = list(read_images(tmp_path / "images.zip"))
    assert [name for name, _ in found] == [VAL.image_name(scene) for scene in VAL.scenes]
    assert all(np.array_equal(pixels, render(scene)) for (_, pixels), scene in zip(found, VAL.scenes, strict=True))


def test_any_viewer_opens_the_images(tmp_path: Path) -> None:
    write_images(tmp_path / "images.zip", by_name(VAL))
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        assert archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        image = Image.open(io.BytesIO(archive.read("SCENES_val_000000000001.png")))
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (80, 80))


def test_equal_image_sets_give_equal_bytes(tmp_path: Path) -> None:
    def write_their_images(path: Path, image_set: ImageSet) -> None:
        write_images(path, by_name(image_set))

    for write in (write_their_images, write_boxes, write_captions, write_scenes):
        for name in ("a", "b"):
            write(tmp_path / name, drawn())
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_boxes_are_read_back_to_a_thousandth_of_a_pixel(tmp_path: Path) -> None:
    write_boxes(tmp_path / "boxes.json", VAL)
    found = read_boxes(tmp_path / "boxes.json")
    for scene, boxes in zip(VAL.scenes, VAL.boxes, strict=True):
        read = found[VAL.image_name(scene)]
        assert read.dtype == np.float32
        assert np.abs(read - boxes).max() <= 0.0006
    assert not any(
        len(word) > 7 for word in (tmp_path / "boxes.json").read_text().replace(",", "").split() if "." in word
    )


def test_captions_are_read_back(tmp_path: Path) -> None:
    write_captions(tmp_path / "captions.json", VAL)
    assert read_captions(tmp_path / "captions.json") == list(VAL.captions)
    entries = json.loads((tmp_path / "captions.json").read_text())["annotations"]
    assert [entry["id"] for entry in entries] == list(range(60))


def test_the_truth_behind_an_image_can_be_looked_up(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes.json", VAL)
    scene = json.loads((tmp_path / "scenes.json").read_text())["SCENES_val_000000000001"]
    assert scene["objects"] == [dataclasses.asdict(item) for item in VAL.scenes[0].objects]


def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    def write_their_images(path: Path, image_set: ImageSet) -> None:
        write_images(path, by_name(image_set))

    for write, read in (
        (write_their_images, lambda path: list(read_images(path))),
        (write_boxes, read_boxes),
        (write_captions, read_captions),
        (write_scenes, read_scenes),
    ):
        path = tmp_path / f"{write.__name__}.file"
        write(path, VAL)
        whole = path.read_bytes()
        for content in (b"", whole[: len(whole) // 2], b"{}" if read is read_captions else b"[]"):
            path.write_bytes(content)
            with pytest.raises(DataError, match=rf"{path.name}.*; expected .*\. Delete it and run snakemake again"):
                read(path)


def test_a_file_that_is_no_image_is_refused_naming_its_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("SCENES_val_000000000001.png", "<html>not found</html>")
    with pytest.raises(DataError, match=r"images\.zip: holds a file that is not an image; expected a zip of images"):
        list(read_images(tmp_path / "images.zip"))


@pytest.mark.parametrize("boxes", [[[1, 2, 3]], [[1, 2, 3, "4"]], [1, 2, 3, 4]])
def test_boxes_without_four_numbers_each_are_refused_with_their_place(tmp_path: Path, boxes: list[Any]) -> None:
    (tmp_path / "boxes.json").write_text(json.dumps({"SCENES_val_000000000001": boxes}))
    with pytest.raises(DataError, match=r"boxes\.json at \$\[\.\.\.\]\[0\]"):
        read_boxes(tmp_path / "boxes.json")


def test_scenes_are_read_back_in_order(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes.json", VAL)
    found = read_scenes(tmp_path / "scenes.json")
    assert list(found.items()) == list(by_name(VAL).items())

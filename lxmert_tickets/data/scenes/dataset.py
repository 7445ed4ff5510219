"""One image set of `scenes`: drawn from a seed, and written in the official formats."""

import io
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from lxmert_tickets.artifacts import REMAKE, replacing, write_json
from lxmert_tickets.data.image_zips import zip_of_images
from lxmert_tickets.data.json_files import read_json
from lxmert_tickets.data.scenes.annotators import answer_in_tens
from lxmert_tickets.data.scenes.captions import caption
from lxmert_tickets.data.scenes.questions import ask_in_pairs
from lxmert_tickets.data.scenes.regions import propose_boxes
from lxmert_tickets.data.scenes.render import render
from lxmert_tickets.data.scenes.world import Scene, draw_scene
from lxmert_tickets.data.vqa_json import Annotation, Question, image_name
from lxmert_tickets.errors import DataError
from lxmert_tickets.seeds import derive_seed

DATA_TYPE = "scenes"
IDS_AN_IMAGE = 1000
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # a fixed date: equal images give equal bytes

Box = tuple[float, float, float, float]


class _Caption(msgspec.Struct, frozen=True):
    image_id: int
    caption: str


class _CaptionFile(msgspec.Struct, frozen=True):
    annotations: list[_Caption]


@dataclass(frozen=True)
class ImageSet:
    """Scenes with the boxes a detector would propose and the questions, answers and captions people would write."""

    name: str
    scenes: tuple[Scene, ...]
    boxes: tuple[np.ndarray, ...]  # float32 (regions, 4) pixels, one per image
    questions: tuple[Question, ...]
    annotations: tuple[Annotation, ...]
    captions: tuple[tuple[int, str], ...]  # image id, sentence

    def image_name(self, scene: Scene) -> str:
        return image_name(DATA_TYPE, self.name, scene.image_id)


def draw_image_set(
    name: str, *, n_images: int, n_questions: int, captions_per_image: int, n_regions: int, seed: int
) -> ImageSet:
    """Return image set `name`, a pure function of its arguments.

    Image ids are the same small numbers in every set; names, such as SCENES_val_000000000007, tell sets apart, as in
    COCO. Each part draws from its own random stream: more questions do not change the images.

    Raises DataError when one image gets more questions than VQA's ids have room for.
    """
    images = _stream(seed, name, "images")
    scenes = tuple(draw_scene(image_id, images) for image_id in range(1, n_images + 1))
    proposals = _stream(seed, name, "boxes")
    boxes = tuple(propose_boxes(scene, n_regions, proposals) for scene in scenes)
    questions, annotations = _ask(scenes, n_questions, seed, name)
    words = _stream(seed, name, "captions")
    captions = tuple((scene.image_id, caption(scene, words)) for scene in scenes for _ in range(captions_per_image))
    return ImageSet(name, scenes, boxes, questions, annotations, captions)


def _stream(seed: int, *purpose: str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, *purpose))


def _ask(
    scenes: Sequence[Scene], n_questions: int, seed: int, name: str
) -> tuple[tuple[Question, ...], tuple[Annotation, ...]]:
    asked = ask_in_pairs(scenes, n_questions, _stream(seed, name, "questions"))
    people = _stream(seed, name, "annotators")
    n_asked: dict[int, int] = defaultdict(int)  # about each image
    questions, annotations = [], []
    for item in asked:
        # VQA's rule: the image's id, then a running number of three digits.
        question_id = item.image_id * IDS_AN_IMAGE + n_asked[item.image_id]
        n_asked[item.image_id] += 1
        if n_asked[item.image_id] > IDS_AN_IMAGE:
            raise DataError(
                f"image set '{name}'", f"more than {IDS_AN_IMAGE} questions about image {item.image_id}",
                f"at most {IDS_AN_IMAGE}, the room in question ids", "Draw more images, or ask fewer questions.",
            )  # fmt: skip
        common, answers = answer_in_tens(item.answer, people)
        questions.append(Question(question_id, item.image_id, item.question))
        annotations.append(
            Annotation(question_id, item.image_id, item.question_type, item.answer_type, common, answers)
        )
    return tuple(questions), tuple(annotations)


def write_images(path: str | Path, scenes: Mapping[str, Scene]) -> None:
    """Write the image of each scene as a PNG, named as in the feature files, in one zip."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, scene in scenes.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.png", ZIP_DATE), _png(scene))


def _png(scene: Scene) -> bytes:
    png = io.BytesIO()
    # Matching only runs suits these pictures, and takes a third of the time of zlib's full search for repeats.
    Image.fromarray(render(scene)).save(png, "PNG", compress_type=zlib.Z_RLE)
    return png.getvalue()


def read_images(path: str | Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the pixels, uint8 (H, W, 3), of each image in a zip of PNGs.

    Raises DataError, naming the zip, when it is missing or damaged.
    """
    with zip_of_images(path) as archive:
        for entry in archive.namelist():
            yield Path(entry).stem, np.asarray(Image.open(io.BytesIO(archive.read(entry))).convert("RGB"))


def write_boxes(path: str | Path, image_set: ImageSet) -> None:
    """Write the proposed boxes by image name: all that region features depend on besides the pixels."""
    boxes = zip(image_set.scenes, image_set.boxes, strict=True)
    # Rounded as float64: 12.345 in float32 is written as 12.345000267028809.
    write_json(path, {image_set.image_name(scene): array.astype(float).round(3).tolist() for scene, array in boxes})


def read_boxes(path: str | Path) -> Mapping[str, np.ndarray]:
    """Return float32 boxes (regions, 4) by image name; raises DataError, naming the file, when it is damaged."""
    boxes_of = _read(path, dict[str, list[Box]], "boxes by image name")
    return {name: np.asarray(boxes, dtype=np.float32) for name, boxes in boxes_of.items()}


def write_scenes(path: str | Path, image_set: ImageSet) -> None:
    """Write the scene of each image, by image name: the ground truth behind questions and captions, for reference."""
    write_json(path, {image_set.image_name(scene): asdict(scene) for scene in image_set.scenes})


def read_scenes(path: str | Path) -> dict[str, Scene]:
    """Return the scene of each image, by image name, ordered by name; raises DataError as `read_boxes` does."""
    scenes: dict[str, Scene] = _read(path, dict[str, Scene], "scenes by image name")
    return scenes


def write_captions(path: str | Path, image_set: ImageSet) -> None:
    """Write the captions in COCO's layout."""
    entries = [{"id": k, "image_id": image, "caption": text} for k, (image, text) in enumerate(image_set.captions)]
    write_json(path, {"info": {"description": f"{DATA_TYPE}, {image_set.name}"}, "annotations": entries})


def read_captions(path: str | Path) -> list[tuple[int, str]]:
    """Return the image id and the sentence of each caption; raises DataError as `read_boxes` does."""
    file: _CaptionFile = _read(path, _CaptionFile, "captions in COCO's layout")
    return [(written.image_id, written.caption) for written in file.annotations]


def _read(path: str | Path, kind: Any, expected: str) -> Any:
    """Return the content of a file that `make_scenes` wrote."""
    return read_json(path, kind, expected, REMAKE, if_damaged=REMAKE)

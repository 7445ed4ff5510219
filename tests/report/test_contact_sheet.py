"""Example questions are above their two images, the answers below."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from lxmert_tickets.data.scenes.dataset import draw_image_set
from lxmert_tickets.data.scenes.render import render
from lxmert_tickets.data.vqa_json import Annotation, HumanAnswer, Question
from lxmert_tickets.report.contact_sheet import N_PAIRS, contact_sheet, example_pairs

SET = draw_image_set("val", n_images=40, n_questions=120, captions_per_image=0, n_regions=6, seed=1)
IMAGES = {scene.image_id: render(scene) for scene in SET.scenes}
PAIRS = example_pairs(SET.questions, SET.annotations, N_PAIRS)


def sheet(n_pairs: int = N_PAIRS, width: float = 6.0) -> Figure:
    return contact_sheet(PAIRS[:n_pairs], IMAGES, width)


def asked(*texts: tuple[str, str]) -> tuple[list[Question], list[Annotation]]:
    """Return questions of the given (text, type), each with its index as image and as answer."""
    questions = [Question(k, k, text) for k, (text, _) in enumerate(texts)]
    replies = [(HumanAnswer(str(k), 1),) for k in range(len(texts))]
    annotations = [Annotation(k, k, kind, "other", str(k), replies[k]) for k, (_, kind) in enumerate(texts)]
    return questions, annotations


def test_examples_alternate_between_question_types() -> None:
    texts = [("a1", "a"), ("a1", "a"), ("a2", "a"), ("a2", "a"), ("b1", "b"), ("b1", "b")]
    assert example_pairs(*asked(*texts), n_pairs=5) == [
        ("a1", (0, "0"), (1, "1")), ("b1", (4, "4"), (5, "5")), ("a2", (2, "2"), (3, "3")),
    ]  # fmt: skip


def test_there_are_no_more_examples_than_asked_for() -> None:
    assert len(example_pairs(SET.questions, SET.annotations, 5)) == 5


def test_neighbours_that_differ_in_wording_are_no_pair() -> None:
    assert example_pairs(*asked(("a1", "a"), ("a2", "a"), ("b", "b")), n_pairs=5) == []


def test_a_pair_shows_its_question_both_images_and_both_answers() -> None:
    figure = sheet(1)
    ((question, (first, one), (second, other)),) = PAIRS[:1]
    assert [text.get_text().replace("\n", " ") for text in figure.texts] == [question, one, other]
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    assert np.array_equal(shown, [IMAGES[first], IMAGES[second]])


@pytest.mark.parametrize("width", [3.3, 6.0, 8.0])
@pytest.mark.parametrize("n_pairs", [1, 4, N_PAIRS])
def test_text_is_close_to_its_images_and_overlaps_nothing(n_pairs: int, width: float) -> None:
    figure = sheet(n_pairs, width)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.texts]
    images = [axes.get_window_extent() for axes in figure.axes]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    assert not any(box.overlaps(image) for box in boxes for image in images)
    assert not any(a.padded(1).overlaps(b) for k, a in enumerate(images) for b in images[:k])
    gap = 0.05 * figure.dpi  # inches
    for k in range(n_pairs):
        (question, *answers), pair = boxes[3 * k : 3 * k + 3], images[2 * k : 2 * k + 2]
        assert 0 <= question.y0 - pair[0].y1 <= gap
        assert all(0 <= image.y0 - answer.y1 <= gap for answer, image in zip(answers, pair, strict=True))
    assert min(image.width for image in images) > 0.7 * figure.dpi
    assert min(text.get_fontsize() for text in figure.texts) > 5
    assert min(box.y0 for box in boxes) < 0.2 * figure.dpi  # no empty row
    for box in boxes:
        assert figure.bbox.padded(1).containsx(box.x0) and figure.bbox.padded(1).containsx(box.x1)  # noqa: PT018
        assert figure.bbox.padded(1).containsy(box.y0) and figure.bbox.padded(1).containsy(box.y1)  # noqa: PT018


@pytest.mark.parametrize("width", [3.3, 6.0])
def test_the_longest_question_fits_above_its_pair(width: float) -> None:
    longest = "Is the yellow object right of the orange object?"
    pairs = [(longest, *seen) for _, *seen in PAIRS]
    figure = contact_sheet(pairs, IMAGES, width)
    figure.draw_without_rendering()
    asked_in = [text.get_window_extent() for text in figure.texts[::3]]
    answered_in = [text.get_window_extent() for k, text in enumerate(figure.texts) if k % 3]
    between = 0.05 * figure.dpi  # inches, so that two questions do not read as one
    assert not any(a.padded(between, 0).overlaps(b) for k, a in enumerate(asked_in) for b in asked_in[:k])
    assert not any(a.overlaps(b) for a in asked_in for b in answered_in)
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in asked_in)


def test_images_are_square() -> None:
    for axes in sheet().axes:
        extent = axes.get_window_extent()
        assert extent.width == pytest.approx(extent.height)

"""Questions become arrays: tokens, image rows and soft labels that agree with their sources."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vqa_files import features_of

from lxmert_tickets.data.answers import read_answers
from lxmert_tickets.data.asked import AskedQuestion
from lxmert_tickets.data.encoding import encode_questions
from lxmert_tickets.data.parts import read_split
from lxmert_tickets.data.questions import EncodedQuestions, load_questions, save_questions
from lxmert_tickets.data.tokens import encode_texts, train_tokenizer
from lxmert_tickets.data.vqa_json import read_annotations
from lxmert_tickets.errors import DataError

TEXTS = ("Is it red?", "How many cubes are there?", "Is it?")
TOKENIZER = train_tokenizer(TEXTS, vocab_size=80)
ANSWERS = ("yes", "no", "2")
IMAGES = ("SCENES_val_0", "SCENES_val_1")
FEATURES = features_of([IMAGES[1], "unused", IMAGES[0]])
LABELS = ((("yes", 1.0), ("no", 0.3)), (("2", 0.9), ("3", 0.3)), (("purple", 1.0),))
ASKED = tuple(
    AskedQuestion(7 - i, IMAGES[i % 2], text, "is", "other", labels)
    for i, (text, labels) in enumerate(zip(TEXTS, LABELS, strict=True))
)
UNLABELLED = tuple(AskedQuestion(one.question_id, one.image, one.text) for one in ASKED)


def encoded(asked: tuple[AskedQuestion, ...] = ASKED) -> EncodedQuestions:
    return encode_questions(asked, FEATURES, TOKENIZER, ANSWERS, max_length=20)


def test_questions_keep_the_order_of_their_file_and_find_their_images() -> None:
    found = encoded()
    assert found.question_id.tolist() == [7, 6, 5]
    assert found.image_row.tolist() == [2, 0, 2]
    assert np.array_equal(found.input_ids, encode_texts(TOKENIZER, TEXTS, 20)[0])
    assert found.length.tolist() == [6, 8, 5]
    assert len(found) == 3


def test_targets_are_the_dense_soft_labels_of_the_rows_asked_for() -> None:
    expected = np.array([[1, 0.3, 0], [0, 0, 0.9], [0, 0, 0]], dtype=np.float32)
    targets = encoded().targets(np.array([2, 0, 1, 0]))
    assert targets.dtype == np.float32
    assert np.array_equal(targets, expected[[2, 0, 1, 0]])


SCORES = st.sampled_from([0.3, 0.6, 0.9, 1.0])


@given(
    labels=st.lists(st.dictionaries(st.sampled_from([*ANSWERS, "purple"]), SCORES), max_size=6),
    data=st.data(),
)
def test_targets_are_those_labels_of_each_question_that_are_in_the_vocabulary(labels, data) -> None:
    n = len(labels)
    asked = tuple(AskedQuestion(i, IMAGES[0], "Is it?", labels=tuple(own.items())) for i, own in enumerate(labels))
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=8)) if n else []
    expected = np.array([[labels[row].get(answer, 0) for answer in ANSWERS] for row in rows], dtype=np.float32)
    found = encoded(asked).targets(np.array(rows, dtype=np.int64))
    assert np.array_equal(found, expected.reshape(-1, len(ANSWERS)))


def test_a_split_without_annotations_has_tokens_but_no_targets() -> None:
    found = encoded(UNLABELLED)
    assert np.array_equal(found.input_ids, encoded().input_ids)
    assert (found.labelled, found.n_answers) == (False, 3)
    assert found.label_start.tolist() == [0, 0, 0, 0]
    with pytest.raises(DataError, match="no annotations, so no labels"):
        found.targets(np.array([0]))


def test_a_split_whose_answers_are_all_unknown_still_counts_as_labelled() -> None:
    found = encoded(ASKED[2:])
    assert (found.labelled, found.label_start.tolist()) == (True, [0, 0])
    assert not found.targets(np.array([0])).any()


def test_an_empty_list_of_questions_can_be_encoded() -> None:
    found = encoded(())
    assert (len(found), found.input_ids.shape, found.label_start.tolist()) == (0, (0, 0), [0])


def test_questions_about_images_without_features_are_refused() -> None:
    with pytest.raises(DataError, match=r"features for 1 of the 2 images of the questions: SCENES_val_1"):
        encode_questions(ASKED, features_of([IMAGES[0]]), TOKENIZER, ANSWERS, 20)


def test_all_real_questions_are_encoded_with_labels_for_most(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "vqa2-sample"
    annotated = folder / "v2_mscoco_train_sample_annotations.json.gz"
    asked = read_split([folder / "v2_OpenEnded_mscoco_train_sample_questions.json.gz"], [annotated])
    published = read_answers(shared_data / "answers" / "trainval_label2ans.json")
    images = sorted({one.image for one in asked})
    tokenizer = train_tokenizer([one.text for one in asked[::10]], vocab_size=1000)
    found = encode_questions(asked, features_of(images), tokenizer, published, max_length=20)
    save_questions(tmp_path / "questions.h5", found, {})
    loaded = load_questions(tmp_path / "questions.h5")
    targets = loaded.targets(np.arange(500))
    first = next(one for one in read_annotations(annotated) if one.question_id == asked[0].question_id)
    assert loaded.input_ids.shape == (48_061, 20)
    assert images[loaded.image_row[0]] == "COCO_train2014_000000228478"
    assert (targets.max(axis=1) > 0).mean() > 0.95
    assert published[targets[0].argmax()] in {human.answer for human in first.answers}

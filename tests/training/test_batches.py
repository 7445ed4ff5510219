"""Batches hold what the files hold, padded no further than needed, in an order set by the seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_tables import write_tsv
from hypothesis import example, given
from hypothesis import strategies as st
from toys import CPU, TINY, save_toy_features, toy_data, toy_questions

from lxmert_tickets.data.feature_conversion import convert_features
from lxmert_tickets.data.questions import save_questions
from lxmert_tickets.errors import ArtifactError, DataError
from lxmert_tickets.training.batches import GPU_ROWS_STEP, n_rows_on, open_vqa_data, padded


def test_sentences_are_cut_to_the_longest_and_their_padding_is_marked() -> None:
    ids, attention_mask = padded(np.array([[2, 7, 3, 0], [2, 3, 0, 0]], np.int32), np.array([3, 2], np.int32), CPU)
    assert ids.dtype == torch.int64
    assert ids.tolist() == [[2, 7, 3], [2, 3, 0]]
    assert attention_mask is not None
    assert attention_mask.tolist() == [[True, True, True], [True, True, False]]


def test_sentences_of_one_length_need_no_attention_mask() -> None:
    ids, attention_mask = padded(np.array([[2, 7, 3, 0], [2, 8, 3, 0]], np.int32), np.array([3, 3], np.int32), CPU)
    assert ids.tolist() == [[2, 7, 3], [2, 8, 3]]
    assert attention_mask is None


@given(st.lists(st.integers(3, 20), min_size=1, max_size=40))
@example([GPU_ROWS_STEP // 4] * 4)
def test_on_a_gpu_batches_have_one_shape_and_few_different_row_counts(lengths: list[int]) -> None:
    length = np.array(lengths, np.int32)
    n_rows = n_rows_on(torch.device("cuda"), length)
    assert n_rows is not None
    assert n_rows % GPU_ROWS_STEP == 0
    assert length.sum() < n_rows <= length.sum() + GPU_ROWS_STEP  # one is padding
    assert n_rows_on(CPU, length) is None
    ids, attention_mask = padded(np.zeros((len(length), 20), np.int32), length, torch.device("meta"))
    assert attention_mask is not None
    assert ids.shape == attention_mask.shape == (len(length), 20)


def test_a_batch_holds_the_regions_and_labels_of_its_questions() -> None:
    data = toy_data()
    rows = np.array([5, 0, 17])
    ids, attention_mask, features, boxes, image_of, n_rows = data.batch(rows)
    images = data.questions.image_row[rows]
    there = data.regions._of_images
    assert image_of is None
    assert n_rows is None
    assert attention_mask is not None
    assert attention_mask.sum(dim=1).tolist() == data.questions.length[rows].tolist()
    assert np.array_equal(ids.numpy(), data.questions.input_ids[rows][:, : ids.shape[1]])
    assert features.dtype == boxes.dtype == torch.float32
    assert np.array_equal(features.numpy(), there.features[images].astype(np.float32))
    assert np.array_equal(boxes.numpy(), there.boxes[images])
    assert data.targets(rows).argmax(dim=1).tolist() == data.questions.label_answer[rows].tolist()
    assert data.targets(rows).sum().item() == 3


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_has_whole_batches_and_each_question_at_most_once(
    n: int, batch_size: int, seed: int, epoch: int
) -> None:
    batches = list(toy_data(n).shuffled(batch_size, seed, epoch))
    rows = np.concatenate([*batches, []]).tolist()
    assert [len(batch) for batch in batches] == [batch_size] * (n // batch_size)
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(n))


def test_the_order_depends_on_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(list(toy_data(40).shuffled(10, seed, epoch))).tolist()

    assert order(0, 1) == order(0, 1)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (1, 2)}) == 4
    assert order(0, 1) != sorted(order(0, 1))


@given(st.integers(1, 40), st.integers(1, 12))
def test_batches_by_image_hold_every_question_once_in_order_of_image(n: int, batch_size: int) -> None:
    data = toy_data(n)
    batches = list(data.by_image(batch_size))
    images = data.questions.image_row
    assert np.concatenate(batches).tolist() == sorted(range(n), key=lambda row: (images[row], row))
    assert max(len(batch) for batch in batches) <= batch_size


@given(st.lists(st.integers(0, 31), min_size=1, max_size=20))
def test_a_batch_by_image_holds_each_image_once_and_maps_questions_to_images(chosen: list[int]) -> None:
    data, rows = toy_data(), np.array(chosen)
    alone, shared = data.batch(rows), data.batch_by_image(rows)
    assert torch.equal(shared.input_ids, alone.input_ids)
    assert len(shared.features) == len(shared.boxes) == len(set(data.questions.image_row[rows]))
    assert torch.equal(shared.features[shared.image_of], alone.features)
    assert torch.equal(shared.boxes[shared.image_of], alone.boxes)


def test_batches_hold_what_was_written_to_the_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    regions = rng.standard_normal((3, 2, TINY.feature_dim)).astype(np.float32)
    table = write_tsv(
        tmp_path / "a.tsv", "ABC", lambda image: regions[image], np.array([[0, 0, 10, 15], [20, 0, 40, 30]])
    )
    convert_features([table], tmp_path / "features.h5", metadata={})
    save_questions(tmp_path / "questions.h5", toy_questions(8, n_images=3), {})
    data = open_vqa_data(tmp_path / "questions.h5", tmp_path / "features.h5", CPU, TINY.vocab_size)
    _, _, features, boxes, *_ = data.batch(np.array([0, 1, 2]))
    assert len(data) == 8
    assert data.regions.feature_dim == TINY.feature_dim
    assert np.array_equal(features.numpy(), regions[data.questions.image_row[:3]].astype(np.float16).astype(np.float32))
    assert boxes[0].tolist() == [[0, 0, 0.25, 0.5], [0.5, 0, 1, 1]]
    assert data.regions.rows_of(["C", "A", "A"], "the captions").tolist() == [2, 0, 0]
    with pytest.raises(DataError, match=r"features\.h5: no features for 1 of the 2 images of the captions: D"):
        data.regions.rows_of(["A", "D"], "the captions")


def test_questions_about_images_without_features_are_refused_naming_both_files(tmp_path: Path) -> None:
    questions, features = tmp_path / "questions.h5", tmp_path / "features.h5"
    save_questions(questions, replace(toy_questions(20, 8), image_row=np.arange(20)), {})
    save_toy_features(features, 19)
    with pytest.raises(ArtifactError, match=f"{questions}: a question is about image 20, and {features} has 19; "):
        open_vqa_data(questions, features, CPU, TINY.vocab_size)
    save_toy_features(features, 20)
    assert len(open_vqa_data(questions, features, CPU, TINY.vocab_size)) == 20
    save_questions(questions, toy_questions(0, 8), {})
    assert len(open_vqa_data(questions, features, CPU, TINY.vocab_size)) == 0


@pytest.mark.parametrize("token", [-3, TINY.vocab_size])
def test_tokens_that_the_network_does_not_know_are_refused_naming_the_file(tmp_path: Path, token: int) -> None:
    questions, features = tmp_path / "questions.h5", tmp_path / "features.h5"
    asked = toy_questions(20, 8)
    save_toy_features(features, 8)
    save_questions(questions, asked, {})
    assert np.array_equal(open_vqa_data(questions, features, CPU, TINY.vocab_size).questions.input_ids, asked.input_ids)
    asked.input_ids[7, 1] = token
    save_questions(questions, asked, {})
    with pytest.raises(ArtifactError, match=f"{questions}: a question has token number {token}, and the network has"):
        open_vqa_data(questions, features, CPU, TINY.vocab_size)


def test_regions_of_one_file_are_loaded_once(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        save_toy_features(tmp_path / name, 1)
    save_questions(tmp_path / "questions.h5", toy_questions(8, n_images=1), {})
    first = open_vqa_data(tmp_path / "questions.h5", tmp_path / "a.h5", CPU, TINY.vocab_size)
    again = open_vqa_data(tmp_path / "questions.h5", tmp_path / "a.h5", CPU, TINY.vocab_size, like=first)
    assert again.regions is first.regions
    other = open_vqa_data(tmp_path / "questions.h5", tmp_path / "b.h5", CPU, TINY.vocab_size, like=first)
    assert other.regions is not first.regions
    assert other.regions.path == tmp_path / "b.h5"

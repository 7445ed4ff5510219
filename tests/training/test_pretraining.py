"""Pretraining hides words only in captions that match their image, learns all three tasks, and is reproducible."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from script_runs import run_here
from torch.nn import functional as F
from toy_pretraining import CAPTIONS, FIRST_WORD, MASK, N_IMAGES, QUESTIONS, RECIPE, toy_captions
from toys import CPU, END, START, TINY, changed, save_toy_features, toy_data, toy_questions

from lxmert_tickets.configuration.experiment import ModelSizes
from lxmert_tickets.data.questions import save_questions
from lxmert_tickets.data.tokens import load_tokenizer, save_tokenizer, train_tokenizer
from lxmert_tickets.errors import TrainingError
from lxmert_tickets.layout import RESUME_FOLDER
from lxmert_tickets.model import checkpoints
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.checkpoints import save_weights
from lxmert_tickets.model.lxmert import initialise
from lxmert_tickets.model.pretraining_heads import LxmertForPretraining
from lxmert_tickets.monitoring.pulse import NAME as PULSE
from lxmert_tickets.seeds import derive_seed
from lxmert_tickets.training import pretraining
from lxmert_tickets.training.batches import VqaData, padded
from lxmert_tickets.training.optimizer import BertAdam
from lxmert_tickets.training.pretraining import Captions, PretrainingBatch, draw_batch, pretrain


def questions_on(device: str) -> VqaData:
    return QUESTIONS if device == "cpu" else toy_data(24, n_images=N_IMAGES, device=torch.device(device))


def batches(n: int = 40, **fields: object) -> list[PretrainingBatch]:
    rng = np.random.default_rng(0)
    return [draw_batch(CAPTIONS, QUESTIONS, changed(RECIPE, **fields), rng) for _ in range(n)]


def unmasked(batch: PretrainingBatch) -> np.ndarray:
    ids = batch.input_ids.copy()
    ids[batch.masked] = batch.words
    return ids


def caption_rows(batch: PretrainingBatch) -> np.ndarray:
    return unmasked(batch)[: len(batch.matched), 1] - FIRST_WORD


def test_a_batch_is_captions_followed_by_questions_unchanged_apart_from_hidden_words() -> None:
    for batch in batches(caption_share=0.25):
        assert batch.input_ids.shape == (16, 10)
        assert (len(batch.matched), len(batch.question_rows)) == (4, 12)
        asked, rows = QUESTIONS.questions, batch.question_rows
        assert np.array_equal(batch.input_ids[4:, :8], asked.input_ids[rows])
        assert np.array_equal(batch.length[4:], asked.length[rows])
        assert np.array_equal(batch.image_row[4:], asked.image_row[rows])
        assert np.array_equal(unmasked(batch)[:4], CAPTIONS.input_ids[caption_rows(batch)])
        assert np.array_equal(batch.length[:4], CAPTIONS.length[caption_rows(batch)])


def test_all_captions_and_questions_are_drawn() -> None:
    assert set(np.concatenate([caption_rows(batch) for batch in batches()])) == set(range(20))
    assert set(np.concatenate([batch.question_rows for batch in batches()])) == set(range(24))


def test_captions_shorter_than_questions_are_padded() -> None:
    batch = draw_batch(toy_captions(longest=6), QUESTIONS, RECIPE, np.random.default_rng(0))
    assert batch.input_ids.shape == (16, 8)
    assert not batch.input_ids[:8, 6:].any()


def test_a_caption_matches_exactly_when_the_image_is_its_own() -> None:
    for batch in batches():
        own = CAPTIONS.image_row[caption_rows(batch)]
        assert batch.matched.tolist() == (batch.image_row[:8] == own).astype(int).tolist()
        assert set(batch.image_row[:8].tolist()) <= set(own.tolist())


def test_about_half_of_the_captions_have_the_image_of_another() -> None:
    # The other caption may be about the same image, and so match after all (1 in 8, of one half).
    share = np.concatenate([batch.matched for batch in batches(200)]).mean()
    assert share == pytest.approx(0.5 + 0.5 / 8, abs=0.04)


def test_words_are_hidden_only_in_captions_that_belong_to_their_image() -> None:
    for batch in batches():
        assert not batch.masked[8:].any()
        assert not batch.masked[:8][batch.matched == 0].any()


def test_only_words_are_hidden_and_each_is_replaced_by_the_mask_token() -> None:
    for batch in batches():
        assert (unmasked(batch)[batch.masked] >= FIRST_WORD).all()
        assert np.array_equal(batch.input_ids == MASK, batch.masked)
        assert np.array_equal(batch.words, unmasked(batch)[batch.masked])
        assert (batch.input_ids[:, 0] == START).all()
        assert (batch.input_ids[np.arange(16), batch.length - 1] == END).all()


@pytest.mark.parametrize("mask_fraction", [0.0, 0.2, 0.7])
def test_the_requested_share_of_words_is_hidden(mask_fraction: float) -> None:
    each_its_image = dataclasses.replace(CAPTIONS, image_row=np.arange(20))
    rng, recipe = np.random.default_rng(0), changed(RECIPE, mask_fraction=mask_fraction)
    found = [draw_batch(each_its_image, QUESTIONS, recipe, rng) for _ in range(300)]
    n_hidden = sum(len(batch.words) for batch in found)
    n_words = sum(int((unmasked(batch)[:8][batch.matched == 1] >= FIRST_WORD).sum()) for batch in found)
    assert n_hidden == pytest.approx(mask_fraction * n_words, rel=0.1)


def test_drawing_leaves_captions_and_questions_as_they_are() -> None:
    before = CAPTIONS.input_ids.copy(), QUESTIONS.questions.input_ids.copy()
    batches()
    assert np.array_equal(CAPTIONS.input_ids, before[0])
    assert np.array_equal(QUESTIONS.questions.input_ids, before[1])


def first_losses_by_hand() -> tuple[float, float, float]:
    """Return the losses of RECIPE's first batch, computed one prediction at a time."""
    network = LxmertForPretraining(TINY)
    generator = torch.Generator().manual_seed(derive_seed(RECIPE.seed, "pretraining_weights"))
    initialise(network, generator, RECIPE.initial_std)
    rng = np.random.default_rng(derive_seed(RECIPE.seed, "pretraining_batches"))
    batch = draw_batch(CAPTIONS, QUESTIONS, RECIPE, rng)
    ids, attention_mask = padded(batch.input_ids, batch.length, CPU)
    with torch.no_grad():
        regions = QUESTIONS.regions.gather(batch.image_row)
        logits, matching, answers = network(ids, attention_mask, *regions, torch.ones_like(ids, dtype=torch.bool))
        of_words = F.log_softmax(logits, dim=1).view(*ids.shape, -1)
        words = [
            -of_words[row, position, int(unmasked(batch)[row, position])]
            for row, position in np.argwhere(batch.masked).tolist()
        ]
    matches = [-F.log_softmax(matching[row], dim=0)[int(is_own)] for row, is_own in enumerate(batch.matched)]
    targets = QUESTIONS.targets(batch.question_rows)
    per_answer = F.binary_cross_entropy(answers[8:].sigmoid(), targets, reduction="none")
    return float(torch.stack(words).mean()), float(torch.stack(matches).mean()), float(per_answer.sum(dim=1).mean())


def test_the_history_has_the_mean_losses_of_the_three_tasks() -> None:
    _, history = pretrain(TINY, CAPTIONS, QUESTIONS, changed(RECIPE, steps=1))
    assert (history[0].words, history[0].matching, history[0].answers) == pytest.approx(first_losses_by_hand(), 1e-5)


def test_an_untrained_network_has_the_losses_of_even_guesses() -> None:
    _, history = pretrain(TINY, CAPTIONS, QUESTIONS, changed(RECIPE, steps=1, initial_std=1e-4))
    assert history[0].words == pytest.approx(math.log(TINY.vocab_size), rel=0.01)
    assert history[0].matching == pytest.approx(math.log(2), rel=0.01)
    assert history[0].answers == pytest.approx(TINY.n_answers * math.log(2), rel=0.01)


def test_the_history_has_the_means_of_every_20_steps_and_of_the_last_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    losses, every = pretraining._losses, []

    def noted(*given: Any) -> torch.Tensor:
        every.append(losses(*given))
        return every[-1]

    monkeypatch.setattr(pretraining, "_losses", noted)
    _, history = pretrain(TINY, CAPTIONS, QUESTIONS, changed(RECIPE, steps=45, batch_size=4))
    assert [line.step for line in history] == [20, 40, 45]
    for line, steps in zip(history, (every[:20], every[20:40], every[40:]), strict=True):
        means = torch.stack(steps).mean(dim=0).tolist()
        assert (line.words, line.matching, line.answers) == pytest.approx(means, rel=1e-6)


def test_all_three_tasks_are_learned(device: str) -> None:
    recipe = changed(RECIPE, steps=240, learning_rate=5e-3, batch_size=32)
    _, history = pretrain(TINY, CAPTIONS, questions_on(device), recipe)
    first, last = history[0], history[-1]
    assert last.words < 0.5 * first.words
    assert last.matching < 0.85 * first.matching
    assert last.answers < 0.5 * first.answers


def test_the_first_step_has_learning_rate_0_so_one_step_gives_the_weights_as_drawn() -> None:
    weights, _ = pretrain(TINY, CAPTIONS, QUESTIONS, changed(RECIPE, steps=1))
    drawn = LxmertForPretraining(TINY)
    generator = torch.Generator().manual_seed(derive_seed(RECIPE.seed, "pretraining_weights"))
    initialise(drawn, generator, RECIPE.initial_std)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in drawn.vqa.state_dict().items())
    moved, _ = pretrain(TINY, CAPTIONS, QUESTIONS, changed(RECIPE, steps=2))
    assert not torch.equal(moved["lxmert.pooler.dense.weight"], weights["lxmert.pooler.dense.weight"])


def test_the_rate_rises_for_a_tenth_of_the_steps_and_falls_until_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    rates, step = [], BertAdam.step

    def noted(optimizer: BertAdam, learning_rate: float) -> None:
        rates.append(learning_rate)
        step(optimizer, learning_rate)

    monkeypatch.setattr(BertAdam, "step", noted)
    pretrain(TINY, CAPTIONS, QUESTIONS, changed(RECIPE, steps=20))
    factors = [0, 1 / 2, *(left / 18 for left in range(18, 0, -1))]
    assert rates == pytest.approx([RECIPE.learning_rate * factor for factor in factors])


def test_pretrained_weights_are_exactly_those_of_the_vqa_network() -> None:
    weights, _ = pretrain(TINY, CAPTIONS, QUESTIONS, RECIPE)
    network = build_network({name: tensor.numpy() for name, tensor in weights.items()}, TINY)
    assert network.state_dict().keys() == weights.keys()


def test_equal_seeds_give_equal_bytes_and_different_seeds_different_bytes(device: str) -> None:
    runs = [pretrain(TINY, CAPTIONS, questions_on(device), changed(RECIPE, seed=seed)) for seed in (0, 0, 1)]
    (first, history), (again, history_again), (other, history_of_other) = runs
    assert history == history_again != history_of_other
    assert all(first[name].numpy().tobytes() == again[name].numpy().tobytes() for name in first)
    assert not torch.equal(first["lxmert.pooler.dense.weight"], other["lxmert.pooler.dense.weight"])


@pytest.mark.parametrize(
    ("fields", "task"),
    [({"mask_fraction": 0.0}, "words"), ({"caption_share": 0.0}, "matching"), ({"caption_share": 0.99}, "answers")],
)
def test_a_task_without_examples_in_a_batch_has_loss_0(fields: dict[str, float], task: str) -> None:
    weights, history = pretrain(TINY, CAPTIONS, QUESTIONS, changed(RECIPE, **fields))
    assert getattr(history[-1], task) == 0
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())


def test_weights_that_the_last_step_makes_infinite_are_not_returned() -> None:
    recipe = changed(RECIPE, steps=1, learning_rate=3e38, warmup_fraction=0.0, initial_std=1.0, weight_decay=11.0)
    found = r"pretraining, step 1: \d+ tensors are not finite, such as .*Lower pretraining\.learning_rate"
    with pytest.raises(TrainingError, match=found):
        pretrain(TINY, CAPTIONS, QUESTIONS, recipe)


def test_nan_losses_stop_the_run_naming_step_and_learning_rate() -> None:
    with pytest.raises(TrainingError, match=r"pretraining, up to step 20: losses of words .*nan.* learning rate \d.*e"):
        pretrain(TINY, CAPTIONS, QUESTIONS, changed(RECIPE, steps=40, learning_rate=1e30))


@pytest.fixture
def job(tmp_path: Path, small_batches: None) -> dict[str, Any]:
    """Return a short pretraining job, as the script gets it, with the features and a caption of one image."""
    files = {name: tmp_path / name for name in ("tokenizer", "questions", "features", "captions")}
    save_tokenizer(files["tokenizer"], train_tokenizer(["the quick brown fox jumps over a lazy dog"], 500))
    save_questions(files["questions"], toy_questions(8, n_images=1), {})
    save_toy_features(files["features"], 1, "SCENES_pretrain_{:012}")
    files["captions"].write_text(json.dumps({"annotations": [{"image_id": 0, "caption": "a lazy fox"}]}))
    sizes = {field: getattr(TINY, field) for field in ModelSizes.__struct_fields__}
    texts = {"recipe": msgspec.json.encode(RECIPE).decode(), "model": json.dumps(sizes), "event_files": ""}
    return {
        "log": str(tmp_path / "log"),
        "input": {name: path if name == "tokenizer" else [path] for name, path in files.items()},
        "output": {"weights": tmp_path / "weights.safetensors", "history": tmp_path / "history.csv"},
        "params": texts | {"max_length": 8, "deterministic": False, "checkpoint_minutes": 600, "jobs_per_gpu": 1},
    }


def test_images_of_captions_without_features_are_reported(job: dict[str, Any], tmp_path: Path) -> None:
    save_toy_features(tmp_path / "features", 1)
    with pytest.raises(SystemExit):
        run_here("pretrain", **job)
    assert "no features for 1 of the 1 images of the captions" in (tmp_path / "log").read_text()


def test_each_caption_is_about_the_image_that_its_file_names(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(arch: object, captions: Captions, *_: object) -> None:
        read.extend(zip(map(tokenizer.decode, captions.input_ids.tolist()), captions.image_row, strict=True))
        raise SystemExit

    written, read, tokenizer = [("a lazy fox", 2), ("the brown dog", 0)], [], load_tokenizer(tmp_path / "tokenizer")
    save_toy_features(tmp_path / "features", 3, "SCENES_pretrain_{:012}")
    captions = [{"image_id": image, "caption": text} for text, image in written]
    (tmp_path / "captions").write_text(json.dumps({"annotations": captions}))
    monkeypatch.setattr(pretraining, "pretrain", told)
    with pytest.raises(SystemExit):
        run_here("pretrain", **job)
    assert read == written


@pytest.mark.parametrize("deterministic", [True, False])
def test_pretraining_is_deterministic_on_a_gpu_where_asked(job: dict[str, Any], deterministic: bool) -> None:
    job["params"]["deterministic"] = deterministic
    try:
        run_here("pretrain", **job)
        assert torch.are_deterministic_algorithms_enabled() is deterministic
    finally:
        torch.use_deterministic_algorithms(False)


def test_pretraining_uses_the_threads_of_its_recipe_however_few_cores_there_are(job: dict[str, Any]) -> None:
    job["params"]["recipe"] = msgspec.json.encode(changed(RECIPE, threads=2)).decode()
    try:
        run_here("pretrain", **job)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_pretraining_keeps_its_pulse_file_until_its_weights_are_written(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(*content: Any) -> None:
        there.update(path.name for path in (tmp_path / RESUME_FOLDER).iterdir())
        save_weights(*content)

    there: set[str] = set()
    monkeypatch.setattr(checkpoints, "save_weights", written)
    run_here("pretrain", **job)
    assert PULSE in there
    assert not (tmp_path / RESUME_FOLDER / PULSE).exists()

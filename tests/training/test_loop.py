"""Training learns, is reproducible byte for byte, and keeps pruned weights at 0 at every step."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import CPU, RECIPE, TINY, changed, random_weights, tiny_network, toy_data, toy_features, toy_questions

from lxmert_tickets.errors import TrainingError
from lxmert_tickets.model.lxmert import vqa_loss
from lxmert_tickets.pruning.masks import Mask, keep_all, keep_random
from lxmert_tickets.pruning.prunable import PAPER, prunable_names
from lxmert_tickets.seeds import derive_seed
from lxmert_tickets.training import batches, loop, schedule
from lxmert_tickets.training.batches import Batch, VqaData
from lxmert_tickets.training.device import Precision
from lxmert_tickets.training.history import write_history
from lxmert_tickets.training.loop import Trained, soft_accuracy_percent, train
from lxmert_tickets.training.regions import Regions
from lxmert_tickets.training.schedule import warmup_linear
from lxmert_tickets.training.steps import Step

DROPOUTS = {"hidden_dropout": 0.1, "attention_dropout": 0.1}


def half_mask(seed: int = 0) -> Mask:
    weights = random_weights()
    return keep_random(weights, prunable_names(weights, PAPER), 50, "global", seed)


def run(seed: int = 0, mask: Mask | None = None, **fields: object) -> Trained:
    """Train the tiny network, with dropout, for a few steps."""
    return train(tiny_network(**DROPOUTS), toy_data(), toy_data(12, seed=1), changed(RECIPE, **fields), seed, mask)


def as_bytes(trained: Trained, folder: Path) -> dict[str, bytes]:
    write_history(folder / "history.csv", trained.history)
    weights = {name: tensor.numpy().tobytes() for name, tensor in trained.weights.items()}
    return weights | {"history": (folder / "history.csv").read_bytes()}


@pytest.mark.parametrize("masked", [False, True])
def test_a_tiny_network_learns_32_questions_by_heart_and_so_does_half_of_it(masked: bool) -> None:
    data, recipe = toy_data(), changed(RECIPE, epochs=50, learning_rate=5e-3)
    trained = train(tiny_network(), data, data, recipe, seed=0, mask=half_mask() if masked else None)
    assert trained.history[0].train_loss > 5
    assert trained.history[-1].train_loss < 0.6
    assert trained.history[-1].val_accuracy_percent == 100


@pytest.mark.parametrize("masked", [False, True])
def test_equal_seeds_give_equal_bytes_and_different_seeds_different_bytes(
    tmp_path: Path, device: str, masked: bool
) -> None:
    def bytes_of(seed: int) -> dict[str, bytes]:
        torch.rand(seed + 3)  # earlier draws in this process do not matter
        place, mask = torch.device(device), half_mask() if masked else None
        data, val = toy_data(device=place), toy_data(12, seed=1, device=place)
        return as_bytes(train(tiny_network(**DROPOUTS).to(place), data, val, RECIPE, seed, mask), tmp_path)

    first, again, other = bytes_of(0), bytes_of(0), bytes_of(1)
    assert first == again
    assert first["history"] != other["history"]
    assert first["lxmert.pooler.dense.weight"] != other["lxmert.pooler.dense.weight"]


def test_dropout_depends_on_the_seed_even_with_data_in_a_fixed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled = VqaData.shuffled
    monkeypatch.setattr(VqaData, "shuffled", lambda data, size, seed, epoch: shuffled(data, size, 0, epoch))
    assert run(seed=0).history == run(seed=0).history != run(seed=1).history


def test_dropout_is_on_in_every_step_though_validation_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    was_training: list[bool] = []
    take_step = Step.__call__

    def watched(step: Step, *arguments: Any) -> Tensor:
        was_training.append(step.network.training)
        return take_step(step, *arguments)

    monkeypatch.setattr(Step, "__call__", watched)
    run(epochs=3)
    assert was_training == [True] * 12


@pytest.fixture
def weights_after_each_step(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """Fills with a copy of the weights after each step while a test trains."""
    seen: list[dict[str, Tensor]] = []
    take_step = Step.__call__

    def watched(step: Step, *arguments: Any) -> Tensor:
        loss = take_step(step, *arguments)
        seen.append({name: parameter.detach().clone() for name, parameter in step.network.named_parameters()})
        return loss

    monkeypatch.setattr(Step, "__call__", watched)
    return seen


def test_pruned_weights_are_0_after_every_step_though_the_start_was_not_masked(
    weights_after_each_step: list[dict[str, Tensor]],
) -> None:
    mask = half_mask()
    trained = run(mask=mask, weight_decay=0.1, epochs=3)
    assert len(weights_after_each_step) == 12
    for weights in [*weights_after_each_step, trained.weights]:
        for name, kept in mask.items():
            assert not weights[name][torch.from_numpy(~kept)].any(), name
            assert weights[name][torch.from_numpy(kept)].all(), name


def test_a_mask_that_prunes_nothing_changes_nothing(tmp_path: Path) -> None:
    weights = random_weights()
    mask = keep_all(weights, prunable_names(weights, PAPER))
    assert as_bytes(run(mask=mask), tmp_path) == as_bytes(run(), tmp_path)


def test_only_the_first_step_has_learning_rate_0(
    weights_after_each_step: list[dict[str, Tensor]],
) -> None:
    run()
    first, second = weights_after_each_step[:2]
    start = random_weights()
    assert all(np.array_equal(first[name].numpy(), start[name]) for name in start)
    assert not np.array_equal(second["lxmert.pooler.dense.weight"].numpy(), start["lxmert.pooler.dense.weight"])


def test_training_reads_the_data_in_the_order_of_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[int]] = []
    batch = VqaData.batch

    def watched(data: VqaData, rows: np.ndarray) -> Batch:
        read.append(rows.tolist())
        return batch(data, rows)

    monkeypatch.setattr(VqaData, "batch", watched)
    run(seed=5)
    assert read == [rows.tolist() for epoch in (1, 2) for rows in toy_data().shuffled(8, 5, epoch)]


def test_dropout_and_the_order_of_each_epoch_have_seeds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    purposes: list[tuple[int | str, ...]] = []

    def noted(seed: int, *purpose: int | str) -> int:
        purposes.append((seed, *purpose))
        return derive_seed(seed, *purpose)

    for module in (loop, batches):
        monkeypatch.setattr(module, "derive_seed", noted)
    run(epochs=3)
    assert len(set(purposes)) == len(purposes) == 1 + 3


def test_the_history_records_steps_learning_rates_and_mean_losses() -> None:
    trained = run(epochs=3, learning_rate=1e-9)
    assert [(line.epoch, line.step) for line in trained.history] == [(1, 4), (2, 8), (3, 12)]
    rates = [1e-9 * warmup_linear(step, 12, 0.1) for step in (3, 7, 11)]
    assert [line.learning_rate for line in trained.history] == pytest.approx(rates, rel=1e-9)
    # Weights that hardly change give the same loss in every epoch: each has all 32 questions, 8 per step.
    data, network = toy_data(), tiny_network()
    loss = vqa_loss(network(*data.batch(np.arange(32))), data.targets(np.arange(32))).item()
    still = train(network, data, data, changed(RECIPE, learning_rate=1e-9), seed=0)
    assert [line.train_loss for line in still.history] == pytest.approx([loss, loss], rel=1e-4)


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """Gives four epochs the accuracies 10, 30, 20, 30 %, and fills with the weights after each."""
    seen: list[dict[str, Tensor]] = []
    accuracies = iter([10.0, 30.0, 20.0, 30.0])

    def scored(network: torch.nn.Module, *_: object) -> float:
        seen.append({name: parameter.detach().clone() for name, parameter in network.named_parameters()})
        return next(accuracies)

    monkeypatch.setattr(loop, "soft_accuracy_percent", scored)
    return seen


@pytest.mark.parametrize(("keep", "epoch"), [("best", 2), ("last", 4)])
def test_the_earliest_best_or_the_last_epoch_is_kept(snapshots: list[dict[str, Tensor]], keep: str, epoch: int) -> None:
    trained = run(epochs=4, keep=keep)
    assert trained.kept_epoch == epoch
    assert [line.val_accuracy_percent for line in trained.history] == [10, 30, 20, 30]
    kept, after_epoch = trained.weights, snapshots[epoch - 1]
    assert kept.keys() == after_epoch.keys()
    assert all(torch.equal(kept[name], after_epoch[name]) for name in kept)


def test_soft_accuracy_is_the_mean_score_of_the_chosen_answers() -> None:
    network, data = tiny_network(), toy_data(13)
    data.questions.label_score[:] = np.linspace(0.1, 1, 13)
    chosen = network(*data.batch(np.arange(13))).argmax(dim=1).numpy()
    scores = data.questions.label_score[chosen == data.questions.label_answer]
    assert len(scores)
    assert soft_accuracy_percent(network, data, RECIPE) == pytest.approx(100 * scores.sum() / 13, rel=1e-5)


def test_a_question_without_a_label_counts_as_answered_wrongly() -> None:
    network, data = tiny_network(), toy_data(12)
    counts = np.where(np.arange(12) < 6, 1, 0)  # the first six have a label
    known = replace(data.questions, label_start=np.concatenate([[0], counts.cumsum()]))
    known = replace(known, label_answer=known.label_answer[:6], label_score=known.label_score[:6])
    half = VqaData(known, data.regions, CPU)
    chosen = network(*half.batch(np.arange(12))).argmax(dim=1).numpy()
    known.label_answer[:] = chosen[:6]
    assert soft_accuracy_percent(network, half, RECIPE) == 50


def test_validation_uses_the_precision_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Precision] = []
    monkeypatch.setattr(loop, "answers", lambda network, data, precision: asked.append(precision) or [])
    soft_accuracy_percent(tiny_network(), toy_data(13), changed(RECIPE, precision="bfloat16"))
    assert asked == ["bfloat16"]


class BrokenFeatures(VqaData):
    """Data with a NaN among the features in the batch of one step."""

    broken_step = 6
    n_read = 0

    def batch(self, rows: np.ndarray) -> Batch:
        found = super().batch(rows)
        if self.n_read == self.broken_step:
            found.features[0, 0, 0] = torch.nan
        self.n_read += 1
        return found


def test_a_nan_loss_stops_the_run_naming_step_and_learning_rate() -> None:
    data = BrokenFeatures(toy_questions(32, 16), Regions(toy_features(16), CPU), CPU)
    rate = RECIPE.learning_rate * warmup_linear(data.broken_step, 16, 0.1)
    found = rf"retraining, step 6 of 16: the loss is nan at learning rate {rate:.3g}; .*Lower training\.learning_rate"
    with pytest.raises(TrainingError, match=found):
        train(tiny_network(), data, toy_data(12, seed=1), changed(RECIPE, epochs=4), seed=0, name="retraining")
    assert data.n_read <= 4 * 3  # not after the second epoch, in which it happens


def test_an_excessive_learning_rate_stops_the_run() -> None:
    with pytest.raises(TrainingError, match=r"training, step \d+ of 8: the loss is (nan|inf) at learning rate \d"):
        run(learning_rate=1e30)


def test_weights_that_the_last_step_makes_infinite_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "warmup_linear", lambda step, n_steps, _: 1.0 if step == n_steps - 1 else 0.0)
    with pytest.raises(TrainingError, match=r"training, step 4 of 4: \d+ tensors are not finite, such as "):
        run(epochs=1, learning_rate=3e37, weight_decay=11.0)  # LayerNorms of 1 overflow


@pytest.mark.parametrize("check_every", [1, 3, loop.CHECK_EVERY_STEPS])
def test_a_long_epoch_stops_soon_after_its_loss_becomes_nan(monkeypatch: pytest.MonkeyPatch, check_every: int) -> None:
    monkeypatch.setattr(loop, "CHECK_EVERY_STEPS", check_every)
    data = BrokenFeatures(toy_questions(60, 16), Regions(toy_features(16), CPU), CPU)
    with pytest.raises(TrainingError, match="step 6 of 60"):
        train(tiny_network(), data, toy_data(12, seed=1), changed(RECIPE, epochs=1, batch_size=1), seed=0)
    assert data.n_read <= min(data.broken_step + check_every, 50)


def test_a_nan_loss_at_the_first_step_is_not_blamed_on_the_learning_rate() -> None:
    data = BrokenFeatures(toy_questions(32, 16), Regions(toy_features(16), CPU), CPU)
    data.broken_step = 0
    with pytest.raises(TrainingError, match=r"step 0 of 16: .*No step has been taken yet: .* weights and the features"):
        train(tiny_network(), data, toy_data(12, seed=1), changed(RECIPE, epochs=4), seed=0)


def test_an_answer_without_a_finite_score_in_validation_stops_the_run() -> None:
    features = toy_features(16)
    features.features[3, 0, 0] = np.nan
    val = VqaData(toy_questions(12, 16, seed=1), Regions(features, CPU), CPU)
    assert 3 in val.questions.image_row
    with pytest.raises(TrainingError, match=r"dense, step \d+ of \d+: in validation, an answer's score is not finite"):
        train(tiny_network(), toy_data(), val, RECIPE, seed=0, name="dense")


def test_a_validation_split_without_questions_or_labels_is_refused_before_the_first_step() -> None:
    data = BrokenFeatures(toy_questions(32, 16), Regions(toy_features(16), CPU), CPU)
    unlabelled = VqaData(replace(toy_questions(12, 16), labelled=False), data.regions, CPU)
    for val, found in ((toy_data(0), "no questions"), (unlabelled, "no labels")):
        with pytest.raises(TrainingError, match=rf"dense: the split to validate on has {found};.*splits\.validate\."):
            train(tiny_network(), data, val, RECIPE, seed=0, name="dense")
    assert data.n_read == 0


def test_questions_with_another_number_of_answers_than_the_network_are_refused() -> None:
    data = toy_data()
    other = VqaData(replace(data.questions, n_answers=data.questions.n_answers + 1), data.regions, CPU)
    told = r"training: \d+ answers of questions; expected the \d+ of the network\. Take"
    for train_on, val in ((other, data), (data, other)):
        with pytest.raises(TrainingError, match=told):
            train(tiny_network(), train_on, val, RECIPE, seed=0)


def test_one_batch_of_questions_is_enough_and_fewer_are_refused() -> None:
    assert train(tiny_network(), toy_data(8), toy_data(7), RECIPE, seed=0).history[-1].step == 2
    with pytest.raises(TrainingError, match="dense: 7 questions; expected at least one batch of 8"):
        train(tiny_network(), toy_data(7), toy_data(7), RECIPE, seed=0, name="dense")


def test_returned_weights_are_a_copy_on_the_cpu() -> None:
    network = tiny_network()
    trained = train(network, toy_data(), toy_data(12, seed=1), RECIPE, seed=0)
    network.requires_grad_(False)
    for parameter in network.parameters():
        parameter.zero_()
    assert trained.weights.keys() == random_weights(TINY).keys()
    assert all(tensor.device == CPU and tensor.any() for tensor in trained.weights.values())

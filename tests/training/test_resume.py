"""A run interrupted after any step resumes from its checkpoint and ends in the same bytes."""

from pathlib import Path
from typing import Any

import pytest
from interrupted_runs import MASKS, N_EPOCHS, N_KEPT, N_STEPS, N_VALIDATING, BreaksOff, run, steps_in
from test_loop import as_bytes
from toy_pretraining import CAPTIONS, QUESTIONS
from toy_pretraining import RECIPE as PRETRAINING
from toys import TINY, changed

from lxmert_tickets.training import loop, pretraining
from lxmert_tickets.training.history import write_history
from lxmert_tickets.training.pretraining import pretrain
from lxmert_tickets.training.resume import (
    Checkpoints,
    Interrupted,
)

pytestmark = pytest.mark.usefixtures("small_batches")


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("mask", MASKS)
def test_a_run_interrupted_anywhere_ends_in_the_same_bytes(tmp_path: Path, device: str, mask: str, keep: str) -> None:
    given: dict[str, Any] = {"mask": MASKS[mask], "device": device, "keep": keep}
    calm = as_bytes(run(**given), tmp_path)
    for at in range(1, N_KEPT + 1):
        folder = tmp_path / str(at)
        with pytest.raises(Interrupted):
            run(BreaksOff(folder, at, late=True), **given)  # during validation, it keeps where that began
        assert len(steps_in(folder)) == 1  # the one of that moment
        again = BreaksOff(folder)
        assert as_bytes(run(again, **given), tmp_path) == calm, at
        n_validated = max((at - 1) % (N_STEPS + N_VALIDATING) + 1 - N_STEPS, 0)  # validation starts over
        assert again.n == N_KEPT - at + n_validated


def test_a_run_interrupted_after_every_step_in_turn_ends_in_the_same_bytes(tmp_path: Path) -> None:
    calm = as_bytes(run(None, MASKS["masked"]), tmp_path)
    for step in range(1, N_EPOCHS * N_STEPS + 1):
        n_validating = N_VALIDATING if step == N_STEPS + 1 else 0  # before the first step of the second epoch
        with pytest.raises(Interrupted):
            run(BreaksOff(tmp_path, at=n_validating + 1), MASKS["masked"])
        assert max(steps_in(tmp_path)) == step
    assert as_bytes(run(BreaksOff(tmp_path), MASKS["masked"]), tmp_path) == calm


def test_the_best_epoch_survives_even_if_the_resumed_process_sees_only_worse_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = run(epochs=3, keep="last")
    accuracies = iter([70.0, 10.0, 60.0])
    monkeypatch.setattr(loop, "soft_accuracy_percent", lambda *_: next(accuracies))
    with pytest.raises(Interrupted):
        run(BreaksOff(tmp_path, at=2 * N_STEPS + 1), epochs=3)
    trained = run(BreaksOff(tmp_path), epochs=3)
    assert trained.kept_epoch == 1
    assert [line.val_accuracy_percent for line in trained.history] == [70, 10, 60]
    assert [line.train_loss for line in trained.history] == [line.train_loss for line in calm.history]


def test_checkpoints_do_not_change_an_uninterrupted_run(tmp_path: Path) -> None:
    assert as_bytes(run(BreaksOff(tmp_path)), tmp_path) == as_bytes(run(), tmp_path)


def pretrained_bytes(folder: Path, checkpoints: Checkpoints | None = None) -> dict[str, bytes]:
    weights, history = pretrain(TINY, CAPTIONS, QUESTIONS, changed(PRETRAINING, steps=11, batch_size=4), checkpoints)
    write_history(folder / "history.csv", history)
    found = {name: tensor.numpy().tobytes() for name, tensor in weights.items()}
    return found | {"history": (folder / "history.csv").read_bytes()}


def test_pretraining_interrupted_anywhere_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "LOG_EVERY_STEPS", 4)
    calm = pretrained_bytes(tmp_path)
    for at in (1, 3, 4, 5, 8, 10, 11):
        folder = tmp_path / str(at)
        with pytest.raises(Interrupted):
            pretrained_bytes(tmp_path, BreaksOff(folder, at))
        again = BreaksOff(folder)
        assert pretrained_bytes(tmp_path, again) == calm, at
        assert again.n == 11 - at

"""The curve of a run depends on its losses alone, not on when they are read."""

from pathlib import Path

import pytest
from interrupted_runs import BreaksOff, run
from toys import RECIPE

from lxmert_tickets.training import metrics
from lxmert_tickets.training.loop import TrainingState
from lxmert_tickets.training.metrics import STEPS, Interval, intervals
from lxmert_tickets.training.resume import Interrupted
from lxmert_tickets.training.schedule import learning_rate

pytestmark = pytest.mark.usefixtures("small_batches")
LOSSES = [float(step) for step in range(1, 61)]


def test_a_line_has_the_mean_loss_of_its_steps_and_the_rate_of_the_last() -> None:
    found = intervals(LOSSES, RECIPE, 60)
    assert [line.step for line in found] == [25, 50, 60]
    assert [line.train_loss for line in found] == [13.0, 38.0, 55.5]
    assert [line.learning_rate for line in found] == [learning_rate(RECIPE, step - 1, 60) for step in (25, 50, 60)]


def test_a_run_in_progress_has_only_its_complete_intervals() -> None:
    assert [line.step for line in intervals(LOSSES[:59], RECIPE, 110)] == [25, 50]
    assert intervals(LOSSES[:24], RECIPE, 100) == []
    assert intervals([], RECIPE, 100) == []


def test_a_run_of_whole_intervals_has_no_empty_line_at_its_end() -> None:
    assert [line.step for line in intervals(LOSSES[:50], RECIPE, 50)] == [25, 50]


def curve(checkpoints: BreaksOff | None = None) -> list[Interval]:
    seen: list[TrainingState] = []
    try:
        run(checkpoints, watch=seen.append)
    except Interrupted:
        run(BreaksOff(checkpoints.folder), watch=seen.append)  # type: ignore[union-attr]
    return list(seen[-1].curves()[STEPS])


def test_a_run_interrupted_anywhere_has_the_same_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "INTERVAL_STEPS", 4)
    calm = curve()
    assert [line.step for line in calm] == [4, 6]
    for at in range(1, 11):
        assert curve(BreaksOff(tmp_path / str(at), at)) == calm, at

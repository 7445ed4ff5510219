"""A watched run gives the same bytes, reports its progress, and leaves a curve without gaps or duplicates."""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lxmert_tickets.errors import ConfigError
from lxmert_tickets.monitoring import event_files, watching
from lxmert_tickets.monitoring.pulse import STALE_SECONDS, Pulse, read_pulse, write_pulse
from lxmert_tickets.monitoring.watching import INTERVAL_SECONDS
from lxmert_tickets.training.metrics import STEPS, Curves


@dataclass(frozen=True)
class Line:
    step: int
    train_loss: float


@dataclass(frozen=True)
class EpochLine:
    step: int
    val_accuracy_percent: float


@dataclass
class Run:
    """A run of 40 steps, with a line every 10 and an epoch of 20."""

    step: int = 0
    n_steps: int = 40

    def curves(self) -> Curves:
        lines = [Line(step, 100.0 - step) for step in range(10, self.step + 1, 10)]
        return {STEPS: lines, "epochs": [EpochLine(step, float(step)) for step in range(20, self.step + 1, 20)]}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / ".resume").mkdir()
    return tmp_path / "weights.safetensors"


def pulse_of(weights: Path) -> Pulse | None:
    return read_pulse(weights.parent / ".resume" / "progress.json")


def test_a_run_writes_a_pulse_now_and_then_and_removes_it_at_its_end(weights: Path, clock: list[float]) -> None:
    run = Run(step=5)  # done by an earlier process
    with watching.watching(weights) as watch:
        watch(run)
        pulse = pulse_of(weights)
        assert pulse is not None
        assert (pulse.step, pulse.steps_per_second) == (5, 0.0)
        for _ in range(20):
            run.step += 1
            clock[0] += INTERVAL_SECONDS / 20
            watch(run)
        pulse = pulse_of(weights)
        assert pulse is not None
        assert (pulse.step, pulse.n_steps, pulse.values) == (21, 40, {"train_loss": 80.0})
        assert pulse.steps_per_second == pytest.approx(2.0)
        assert pulse.seconds_left(pulse.time) == pytest.approx(9.5)
        assert (pulse.process, pulse.host) == (os.getpid(), socket.gethostname())
    assert pulse_of(weights) is None
    assert list((weights.parent / ".resume").iterdir()) == []


def test_a_pulse_comes_after_a_second_and_then_ever_less_often_down_to_one_per_interval(
    weights: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    monkeypatch.setattr(watching, "write_pulse", lambda _, pulse: written.append(pulse.step))
    run = Run()
    with watching.watching(weights) as watch:
        for _ in range(40):
            watch(run)
            run.step += 1
            clock[0] += INTERVAL_SECONDS / 10
    assert written == [0, 1, 2, 4, 8, 16, 26, 36]


def test_slow_writes_of_pulses_take_at_most_a_five_hundredth_of_the_time(
    weights: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[float] = []

    def slow(*_: object) -> None:
        began.append(clock[0])
        clock[0] += 0.1

    monkeypatch.setattr(watching, "write_pulse", slow)
    run = Run()
    with watching.watching(weights) as watch:
        for _ in range(120):
            watch(run)
            clock[0] += 1
    assert [round(later - earlier) for earlier, later in pairwise(began)] == [50, 50]


@pytest.mark.parametrize(("what", "times"), [("write_pulse", 1), ("write_history", 2)])  # the curve again at the end
def test_a_full_disk_does_not_end_the_run(
    weights: Path,
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
    times: int,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(watching, what, full)
    with watching.watching(weights, weights.with_name("metrics.csv")) as watch:
        run = Run()
        run.step = 30
        watch(run)
    assert caplog.text.count("progress cannot be recorded: [Errno 28] No space left on device") == times
    assert weights.with_name("metrics.csv").exists() is (what == "write_pulse")


def test_a_run_that_fails_before_its_first_step_fails_with_its_own_error(weights: Path) -> None:
    with pytest.raises(ZeroDivisionError), watching.watching(weights):
        raise ZeroDivisionError


def test_the_curve_is_on_disk_while_it_grows_and_when_the_run_fails(weights: Path, clock: list[float]) -> None:
    metrics = weights.with_name("metrics.csv")
    metrics.write_text("of another run")
    run = Run()
    with suppress(ZeroDivisionError), watching.watching(weights, metrics) as watch:
        assert not metrics.exists()
        watch(run)
        run.step = 30
        clock[0] += INTERVAL_SECONDS
        watch(run)
        assert metrics.read_text() == "step,train_loss\n10,90.0\n20,80.0\n30,70.0\n"
        run.step = 40
        raise ZeroDivisionError
    assert metrics.read_text() == "step,train_loss\n10,90.0\n20,80.0\n30,70.0\n40,60.0\n"


HERE = Pulse(5, 10, 1.0, {}, 1000.0, 10.0, os.getpid(), "here")


def test_a_run_is_alive_while_its_process_exists_and_its_pulse_is_fresh() -> None:
    assert HERE.is_alive(1010.0, "here")
    assert HERE.is_alive(990.0, "elsewhere")  # that machine's clock is behind
    assert not HERE.is_alive(1001.0 + STALE_SECONDS, "here")
    assert not HERE.is_alive(1001.0 + STALE_SECONDS, "elsewhere")
    assert replace(HERE, seconds_between=STALE_SECONDS).is_alive(1001.0 + STALE_SECONDS, "elsewhere")
    gone = replace(HERE, process=2**22 + 1)  # beyond the largest process id
    assert not gone.is_alive(1000.0, "here")
    assert gone.is_alive(1000.0, "elsewhere")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"step": 1}', "\xff"])
def test_a_torn_pulse_is_read_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "progress.json").write_text(content, encoding="latin-1")
    assert read_pulse(tmp_path / "progress.json") is None


def test_a_pulse_comes_back_as_it_was(tmp_path: Path) -> None:
    write_pulse(tmp_path / "progress.json", HERE)
    assert read_pulse(tmp_path / "progress.json") == HERE
    assert len(list(tmp_path.iterdir())) == 1


def test_event_files_without_tensorboard_are_refused_with_the_remedy(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_files, "PACKAGE", "no_such_package")
    with (
        pytest.raises(ConfigError, match=r"logging\.tensorboard: true.*requirements-tensorboard\.txt"),
        watching.watching(weights, events=weights.parent / "events"),
    ):
        pass


def reader_of(folder: Path) -> Any:
    """Return TensorBoard's own reader of event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    return EventAccumulator(str(folder))


def curves_in(reader: Any) -> dict[str, list[tuple[int, float]]]:
    """Return the curves as `reader` finds them now, which may have read an earlier state."""
    reader.Reload()
    return {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore")  # tensorboard's own
def test_a_resumed_run_continues_its_curve_without_gaps_or_duplicates(weights: Path, clock: list[float]) -> None:
    pytest.importorskip("tensorboard")
    events, run = weights.parent / "events", Run()
    killed = watching.Watch(weights.parent / ".resume" / "progress.json", None, event_files.EventFiles(events))
    run.step = 30
    killed(run)
    open_all_the_time = reader_of(events)
    assert [step for step, _ in curves_in(open_all_the_time)["steps/train_loss"]] == [10, 20, 30]
    for begun in (15, 0):  # from a checkpoint, and again from the beginning
        with watching.watching(weights, events=events) as watch:
            run.step = begun
            watch(run)
            run.step = 40
        for reader in (open_all_the_time, reader_of(events)):
            assert curves_in(reader) == {
                "steps/train_loss": [(10, 90.0), (20, 80.0), (30, 70.0), (40, 60.0)],
                "epochs/val_accuracy_percent": [(20, 20.0), (40, 40.0)],
            }
    assert sorted(path.stat().st_size > 0 for path in events.iterdir()) == [False, True]

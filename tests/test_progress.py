"""Progress tells the log now and then, and always at the end."""

import logging

import pytest

from lxmert_tickets import progress as subject
from lxmert_tickets.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose only number is the time, in seconds."""
    now = [100.0]
    monkeypatch.setattr(subject.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="lxmert_tickets")
    return caplog


def test_a_line_is_logged_an_interval_and_at_the_end(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    with Progress("training", 30) as progress:
        for _ in range(30):
            clock[0] += 1
            progress.advance()
    assert [line.split(", ")[0] for line in log.messages] == [
        "training: step 10 of 30", "training: step 20 of 30", "training: step 30 of 30",
    ]  # fmt: skip


def test_a_line_tells_the_speed_the_time_left_and_the_note(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    with Progress("pretraining", 100, unit="batch") as progress:
        clock[0] += 20
        progress.advance(40, note="loss 2.1")
    assert log.messages == ["pretraining: batch 40 of 100, 2.0 a second, 30 s left, loss 2.1"]


def test_a_short_loop_is_told_once_at_its_end(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    with Progress("drawing", 3) as progress:
        for _ in range(3):
            progress.advance()
    assert len(log.messages) == 1
    assert log.messages[0].startswith("drawing: step 3 of 3")


def test_a_failure_inside_goes_through(clock: list[float]) -> None:
    with pytest.raises(ZeroDivisionError), Progress("drawing", 3):
        raise ZeroDivisionError


def test_no_bar_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Progress("drawing", 3) as progress:
        progress.advance(3)
    assert "it/s" not in capsys.readouterr().err

"""Progress is logged now and then, and always at the end."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lxmert_tickets import progress as subject
from lxmert_tickets.jobs.job import job
from lxmert_tickets.progress import Progress, bytes_text, duration_text


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose only element is the time, in seconds."""
    now = [100.0]
    monkeypatch.setattr(subject.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="lxmert_tickets")
    return caplog


def test_a_line_is_logged_every_interval_and_at_the_end(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    with Progress("training", 30) as progress:
        for _ in range(30):
            clock[0] += 1
            progress.advance()
    assert [line.split(", ")[0] for line in log.messages] == [
        "training: step 10 of 30", "training: step 20 of 30", "training: step 30 of 30",
    ]  # fmt: skip


def test_a_line_gives_the_speed_the_time_left_and_the_note(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    with Progress("pretraining", 100, unit="batch") as progress:
        clock[0] += 20
        progress.advance(40, note="loss 2.1")
    assert log.messages == ["pretraining: batch 40 of 100, 2.0 a second, 30 s left, loss 2.1"]


def test_a_short_loop_is_logged_once_at_its_end(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    with Progress("drawing", 3) as progress:
        for _ in range(3):
            progress.advance()
    assert len(log.messages) == 1
    assert log.messages[0].startswith("drawing: step 3 of 3")


def test_an_exception_inside_propagates(clock: list[float]) -> None:
    with pytest.raises(ZeroDivisionError), Progress("drawing", 3):
        raise ZeroDivisionError


def test_no_bar_is_drawn_without_a_terminal(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Progress("drawing", 3) as progress:
        progress.advance(3)
    assert capsys.readouterr().err == ""


def test_a_job_that_ends_at_once_leaves_no_semaphore_behind() -> None:
    """Processes are started by a server here, as by default from Python 3.14 on."""
    job = """
import multiprocessing, os
multiprocessing.set_start_method("forkserver")
from lxmert_tickets.progress import Progress
with Progress("training", 1) as progress:
    os._exit(0)
"""
    assert subprocess.run([sys.executable, "-c", job], stderr=subprocess.PIPE, check=True).stderr == b""


def test_bytes_are_logged_in_readable_units(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    with Progress("downloading a.zip", 17_000_000_000, unit="B") as progress:
        clock[0] += 20
        progress.advance(2_000_000_000)
    assert log.messages == ["downloading a.zip: 2.0 GB of 17.0 GB, 100.0 MB/s, 2 min 30 s left"]


def test_resumed_work_counts_as_done_but_not_for_the_speed(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    with Progress("converting", 100, unit="block", initial=60) as progress:
        clock[0] += 10
        progress.advance(20)
    assert log.messages == ["converting: block 80 of 100, 2.0 a second, 10 s left"]


def test_for_work_of_unknown_size_the_amount_done_is_logged(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    with Progress("downloading a.zip", None, unit="B") as progress:
        clock[0] += 10
        progress.advance(5_000_000)
    assert log.messages == ["downloading a.zip: 5.0 MB, 500.0 kB/s"]


def test_for_a_loop_that_has_not_moved_no_time_left_is_logged(
    log: pytest.LogCaptureFixture, clock: list[float]
) -> None:
    with Progress("downloading a.zip", 10, unit="B", initial=4) as progress:
        clock[0] += 10
        progress.advance(0)
    assert log.messages == ["downloading a.zip: 4 B of 10 B, 0 B/s"]


def test_a_bar_leaves_the_start_of_its_line_to_whatever_is_written_next(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject.sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("drawing", 3):
        assert capsys.readouterr().err.endswith("step/s]\r")


def test_a_bar_is_drawn_again_after_a_message_of_its_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject.sys.stderr, "isatty", lambda: True, raising=False)
    with job(tmp_path / "log") as log:
        with Progress("drawing", 3):
            log.info("epoch 1")
            assert re.search(r"epoch 1\n\rdrawing: +0%.*\r$", capsys.readouterr().err)
        log.info("done")
    assert capsys.readouterr().err.endswith("done\n")


def test_the_bar_of_a_resumed_download_starts_where_it_broke_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject.sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("downloading a.zip", 4_000_000, unit="B", initial=2_000_000) as progress:
        progress.advance(1)
    assert "2.00M/4.00M" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (999, "999 B"), (999.7, "1.0 kB"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (3_140_000, "3.1 MB"),
     (17e9, "17.0 GB"), (32_700_000_000_000, "32.7 TB"), (2e15, "2000.0 TB")],
)  # fmt: skip
def test_a_number_of_bytes_reads_well(n: float, text: str) -> None:
    assert bytes_text(n) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.44, "0.4 s"), (4, "4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
        (185, "3 min 05 s"), (599.4, "9 min 59 s"), (599.6, "10 min"), (3569, "59 min"), (3599, "1 h 00 min"),
        (25_440, "7 h 04 min"), (86_369, "23 h 59 min"), (86_371, "1 d 0 h"), (200_000, "2 d 8 h"), (4e6, "46 d 7 h"),
    ],
)  # fmt: skip
def test_a_duration_reads_well_at_every_magnitude(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text

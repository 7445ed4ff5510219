"""A process is known by its number, and by when it began: numbers come again."""

import os
import time
from pathlib import Path

import pytest

from lxmert_tickets.monitoring import local_processes
from lxmert_tickets.monitoring.local_processes import DRIFT_SECONDS, runs

GONE = 2**22 + 1  # beyond the largest number


def test_a_process_runs_while_it_is_there() -> None:
    assert runs(os.getpid())
    assert not runs(GONE)
    assert not runs(GONE, time.time())


def test_a_process_that_began_later_is_another_of_the_same_number() -> None:
    assert runs(os.getpid(), time.time())
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc as Linux has it")
    began = local_processes._began(os.getpid())
    assert began is not None
    assert time.time() - 24 * 3600 < began <= time.time() + DRIFT_SECONDS
    assert runs(os.getpid(), began - DRIFT_SECONDS)  # clocks differ
    assert not runs(os.getpid(), began - DRIFT_SECONDS - 1)


def test_a_name_with_spaces_and_brackets_misleads_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(f"7 (a) b (c) S {' '.join(['1'] * 18)} 500 2 3\n")
    (tmp_path / "stat").write_text("cpu  1 2 3\nbtime 1000\n")
    monkeypatch.setattr(local_processes, "PROC", tmp_path)
    assert local_processes._began(7) == 1000 + 500 / os.sysconf("SC_CLK_TCK")


def test_where_nobody_tells_when_a_process_began_its_number_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_processes, "PROC", tmp_path)
    assert runs(os.getpid(), 0.0)

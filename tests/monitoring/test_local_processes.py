"""A process is identified by its id and by when it began: ids are reused."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from lxmert_tickets.monitoring.local_processes import DRIFT_SECONDS, runs


def test_a_process_runs_until_it_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert runs(process.pid)
        assert runs(process.pid, time.time())
        process.communicate(b"\n")
    assert not runs(process.pid)
    assert not runs(process.pid, time.time())


def test_a_zombie_process_does_not_run() -> None:
    with subprocess.Popen(["true"]) as process:
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert not runs(process.pid)


@pytest.mark.parametrize("said", [psutil.NoSuchProcess(0), psutil.AccessDenied(0)])
def test_another_users_process_that_the_system_hides_counts_as_running(
    monkeypatch: pytest.MonkeyPatch, said: psutil.Error
) -> None:
    def hidden(_: int) -> None:
        raise said

    monkeypatch.setattr(psutil, "Process", hidden)
    assert runs(1, time.time())


def test_a_process_that_began_later_is_another_one_with_the_same_id() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        began = time.time()
        assert runs(process.pid, began - DRIFT_SECONDS + 5)  # clocks differ
        assert not runs(process.pid, began - DRIFT_SECONDS - 5)
        process.communicate(b"\n")


def test_this_process_began_before_its_tests() -> None:
    assert runs(os.getpid(), time.time())

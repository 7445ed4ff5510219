"""SIGTERM for a job's Snakemake reaches its scripts: SLURM with control groups sends it to no other process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

SCRIPT = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit(7)); print(flush=True); signal.pause()"
DIRECTLY = "command"
BY_SHELL = '["bash", "-c", chr(34) + "$@" + chr(34) + "; exit $(($? + 1))", "bash", *command]'
# As in Snakemake, the handler comes later, and the signal ends nothing.
STARTER = """
import signal, subprocess, sys
from lxmert_tickets.jobs.signals import hand_on_sigterm
hand_on_sigterm()
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda *_: None)
command = [sys.executable, "-c", sys.argv[1]]
sys.exit(subprocess.run({how}).returncode)
"""


@contextmanager
def started(how: str) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that runs SCRIPT in the way of `how`, and ends as it does."""
    command = [sys.executable, "-c", STARTER.format(how=how), SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as starter:
        assert starter.stdout is not None
        starter.stdout.readline()  # the script is ready
        try:
            yield starter
        finally:
            with suppress(ProcessLookupError):
                os.killpg(starter.pid, signal.SIGKILL)


@pytest.mark.parametrize(("how", "status"), [(DIRECTLY, 7), (BY_SHELL, 8)])
def test_a_script_gets_its_snakemakes_sigterm_and_a_shell_between_them_outlives_it(how: str, status: int) -> None:
    with started(how) as starter:
        starter.send_signal(signal.SIGTERM)
        assert starter.wait(timeout=60) == status


def test_other_signals_end_no_script() -> None:
    with started(DIRECTLY) as starter:
        starter.send_signal(signal.SIGUSR1)
        with pytest.raises(subprocess.TimeoutExpired):
            starter.wait(timeout=1)
        starter.send_signal(signal.SIGTERM)

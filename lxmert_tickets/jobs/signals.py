"""Hands SIGTERM on to a job's scripts.

SLURM with control groups (`ProctrackType=proctrack/cgroup`) signals only the first process of a job step. That is
Snakemake, which then waits for its scripts, until SLURM kills all of them.
"""

import os
import signal
import threading
from contextlib import suppress

STARTERS = {"sh", "bash", "srun"}
"""Programs that would die of the signal, and with them the job, before the script that they wait for."""


def hand_on_sigterm() -> None:
    """From now on, hand each SIGTERM that this process handles on to all processes that it has started.

    To be called in the main thread. Who handles the signal, and how, does not matter, and may change later.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_hand_on, args=(reading,), daemon=True).start()


def _hand_on(arrivals: int) -> None:
    import psutil  # noqa: PLC0415 (most jobs get no signal)

    for number in iter(lambda: os.read(arrivals, 1), b""):
        if number[0] == signal.SIGTERM:
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # it has ended
                    if process.name() not in STARTERS:
                        process.terminate()

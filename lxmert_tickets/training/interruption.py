"""Runs that can be interrupted: signals ask for a checkpoint, and a lock keeps a second writer away."""

import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lxmert_tickets.artifacts import Metadata, canonical_json
from lxmert_tickets.errors import TrainingError
from lxmert_tickets.training.resume import Checkpoints, Interrupted

FOLDER = ".resume"  # beside the weights; no output of a rule, since Snakemake deletes the outputs of failed jobs
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL in sysexits.h: try again
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # of schedulers, before they kill; and Ctrl-C

log = logging.getLogger("lxmert_tickets")


@contextmanager
def resumable(output: str | Path, identity: Metadata, interval_minutes: float) -> Iterator[Checkpoints]:
    """Yield the checkpoints of the run that writes `output`; they are removed when the block ends well.

    A run that is asked to end by one of SIGNALS ends the process with EXIT_INTERRUPTED.

    Raises TrainingError when another process is at this run.
    """
    folder = Path(output).parent / FOLDER
    with _signals_noted() as asked_to_end, _alone(folder, output):
        checkpoints = Checkpoints(folder, identity, 60 * interval_minutes, asked_to_end)
        try:
            yield checkpoints
        except Interrupted as interruption:
            log.warning("%s: %s", output, interruption)
            sys.exit(EXIT_INTERRUPTED)
        shutil.rmtree(folder)


@contextmanager
def _signals_noted() -> Iterator[Callable[[], str]]:
    """Yield a function that names the signal that has come, "" while none has."""
    came: list[str] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number in SIGNALS:
            signal.signal(number, lambda number, _: came.append(signal.Signals(number).name))
        yield lambda: came[0] if came else ""
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _alone(folder: Path, output: str | Path) -> Iterator[None]:
    """Hold the lock of `folder`; it goes when the block ends, or the process does, in whatever way."""
    lock = _locked(folder, output)
    try:
        yield
    finally:
        os.close(lock)


def _locked(folder: Path, output: str | Path) -> int:
    path = folder / "lock"
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # whoever had it has just removed the folder
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(lock)
            os.close(lock)
            raise TrainingError(
                output, f"{holder} is training it", "one process at a time",
                "It may be left over from a Snakemake that was killed: wait until it has ended, or end it.",
            ) from None  # fmt: skip
        except OSError as error:  # some cluster disks have no locks
            log.warning("%s: cannot be locked (%s): do not train it twice at once", output, error.strerror)
            return lock
        if path.exists() and os.path.samestat(os.fstat(lock), path.stat()):
            os.ftruncate(lock, 0)
            os.pwrite(lock, canonical_json({"host": socket.gethostname(), "process": os.getpid()}).encode(), 0)
            return lock
        os.close(lock)


def _holder(lock: int) -> str:
    try:
        found = json.loads(os.pread(lock, 4096, 0))
    except ValueError:  # it has the lock, and has not said who it is
        return "another process"
    return f"process {found['process']} on {found['host']}"

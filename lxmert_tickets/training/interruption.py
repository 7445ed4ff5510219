"""Runs that can be interrupted: signals ask for a checkpoint, and a lock keeps a second writer away."""

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lxmert_tickets.artifacts import Metadata
from lxmert_tickets.errors import TrainingError
from lxmert_tickets.layout import resume_folder
from lxmert_tickets.locks import alone, remove_with_folder
from lxmert_tickets.training.resume import Checkpoints, Interrupted

EXIT_INTERRUPTED = 75  # EX_TEMPFAIL in sysexits.h: try again
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # of schedulers, before they kill; and Ctrl-C

log = logging.getLogger("lxmert_tickets")


@contextmanager
def resumable(output: str | Path, identity: Metadata, interval_minutes: float) -> Iterator[Checkpoints]:
    """Yield the checkpoints of the run that writes `output`; they are removed when the block ends well.

    A run that is asked to end by one of SIGNALS ends the process with EXIT_INTERRUPTED.

    Raises TrainingError when another process is at this run.
    """
    lock = resume_folder(output) / "lock"

    def refuse(holder: str) -> None:
        remedy = "It may be left over from a Snakemake that was killed: wait until it has ended, or end it."
        raise TrainingError(output, f"{holder} is training it", "one process at a time", remedy)

    with _signals_noted() as asked_to_end, alone(lock, output, "train it", refuse):
        checkpoints = Checkpoints(lock.parent, identity, 60 * interval_minutes, asked_to_end)
        try:
            yield checkpoints
        except Interrupted as interruption:
            log.warning("%s: %s", output, interruption)
            sys.exit(EXIT_INTERRUPTED)
        remove_with_folder(lock)


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

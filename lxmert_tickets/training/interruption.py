"""Runs that can be interrupted: signals trigger a checkpoint, and a lock keeps out a second writer."""

import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lxmert_tickets.artifacts import Metadata, remove_torn
from lxmert_tickets.jobs.finished import keep_results, kept_results, put_back_results
from lxmert_tickets.jobs.locks import alone, remove_with_folder
from lxmert_tickets.layout import lock_of_training
from lxmert_tickets.training.resume import ARITHMETIC, Checkpoints, Interrupted

EXIT_INTERRUPTED = 75  # EX_TEMPFAIL in sysexits.h: try again
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
"""Sent by schedulers before they kill, by Ctrl-C, and by a closing terminal, which is ignored under `nohup`."""

log = logging.getLogger("lxmert_tickets")


@contextmanager
def alone_at_run(weights: str | Path) -> Iterator[None]:
    """Be the only process that trains `weights`, until the block ends.

    Waits for a process that is already training them, left over from a killed Snakemake.
    """

    def wait(holder: str) -> None:
        log.warning("%s: %s is training it: waiting until it ends, or until you end it", weights, holder)

    with alone(lock_of_training(weights), weights, "train it", wait):
        yield


@contextmanager
def resumable(
    outputs: Sequence[str | Path], identity: Metadata, interval_minutes: float
) -> Iterator[Checkpoints | None]:
    """Yield the checkpoints of the run that writes `outputs`, weights first; they are removed when the block succeeds.

    Yields None when an earlier process has finished the run; its results are then in place. When one of SIGNALS
    interrupts the run, the process exits with EXIT_INTERRUPTED. Use it within `alone_at_run`.
    """
    results = [Path(output) for output in outputs]
    lock = lock_of_training(results[0])
    folder = lock.parent
    lasting = {name: value for name, value in identity.items() if name != ARITHMETIC}
    remove_torn(folder)  # nobody else writes there
    for path in results:
        remove_torn(path.parent, path.name)
    with _signals_noted() as asked_to_end:
        if put_back_results(folder, lasting, results):
            log.info("%s: already trained, by a process that outlived its Snakemake", results[0])
            yield None
        else:
            try:
                yield Checkpoints(folder, identity, 60 * interval_minutes, asked_to_end)
            except Interrupted as interruption:
                log.warning("%s: %s", results[0], interruption)
                sys.exit(EXIT_INTERRUPTED)
            if not keep_results(folder, lasting, results):
                return  # and the checkpoints stay
        remove_with_folder(lock, kept_results(folder))


@contextmanager
def _signals_noted() -> Iterator[Callable[[], str]]:
    """Yield a function that returns the name of the first signal received, "" if none was."""
    came: list[str] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]
    try:
        for number in before:
            signal.signal(number, lambda number, _: came.append(signal.Signals(number).name))
        yield lambda: came[0] if came else ""
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Reports on a running training every few seconds: a pulse, its curve as CSV, event files."""

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from lxmert_tickets.layout import resume_folder
from lxmert_tickets.monitoring.event_files import EventFiles
from lxmert_tickets.monitoring.pulse import NAME, Pulse, write_pulse
from lxmert_tickets.training.history import write_history
from lxmert_tickets.training.metrics import STEPS, Curves

FIRST_SECONDS, INTERVAL_SECONDS = 1.0, 10.0  # at the start of a run, and later
LARGEST_SHARE = 0.002  # of a run's time; if writing is slow, reports are rarer

log = logging.getLogger("lxmert_tickets")


class Watched(Protocol):
    """A run in progress."""

    step: int

    @property
    def n_steps(self) -> int: ...

    def curves(self) -> Curves: ...


class Watch:
    """Reports on a run from time to time, however often it is called; it never changes the run."""

    def __init__(self, pulse: Path, metrics: Path | None, events: EventFiles | None) -> None:
        self._pulse, self._metrics, self._events = pulse, metrics, events
        self._run: Watched | None = None
        self._first_step = 0
        self._started = self._last = self._next = time.monotonic()

    def __call__(self, run: Watched) -> None:
        """Report on `run` if it is time to; a failure to write only causes a warning."""
        now = time.monotonic()
        if self._run is None:
            self._run, self._first_step, self._started = run, run.step, now
        if now < self._next:
            return
        try:
            curves = run.curves()
            self._write_pulse(run, curves, now)
            self._write_curves(curves)
        except OSError as error:
            log.warning("progress cannot be recorded: %s", error)
        self._last, took = now, time.monotonic() - now
        interval = min(INTERVAL_SECONDS, max(FIRST_SECONDS, now - self._started))  # short runs are reported too
        self._next = now + max(interval, took / LARGEST_SHARE)

    def finish(self) -> None:
        """Write the curves as they are now, and remove the pulse: the run has ended, successfully or not."""
        try:
            self._pulse.unlink(missing_ok=True)
            if self._run is not None:
                self._write_curves(self._run.curves())
            if self._events is not None:
                self._events.close()
        except OSError as error:  # such as a full disk: a successful run must not be lost for its curve
            log.warning("progress cannot be recorded: %s", error)

    def _write_pulse(self, run: Watched, curves: Curves, now: float) -> None:
        lines = curves[STEPS]
        values = {key: value for key, value in asdict(lines[-1]).items() if key != "step"} if lines else {}
        n_done = run.step - self._first_step
        rate = n_done / (now - self._started) if n_done else 0.0
        here = os.getpid(), socket.gethostname()
        write_pulse(self._pulse, Pulse(run.step, run.n_steps, rate, values, time.time(), now - self._last, *here))

    def _write_curves(self, curves: Curves) -> None:
        if self._metrics is not None and curves[STEPS]:
            write_history(self._metrics, curves[STEPS])
        if self._events is not None:
            self._events.go_on(curves)


@contextmanager
def watching(weights: str | Path, metrics: str | Path | None = None, events: str | Path = "") -> Iterator[Watch]:
    """Yield the watch over the run that is to write `weights`, whose lock this process holds.

    Args:
        metrics: where to write the curve of the run's steps as CSV, as it grows; None if its script does so.
        events: the folder of the run's TensorBoard event files; "" for none.

    Raises ConfigError when event files are requested and TensorBoard is not installed.
    """
    if metrics is not None:
        Path(metrics).unlink(missing_ok=True)  # of a run before this one
    files = EventFiles(Path(events)) if events else None
    watch = Watch(resume_folder(weights) / NAME, None if metrics is None else Path(metrics), files)
    try:
        yield watch
    finally:
        watch.finish()

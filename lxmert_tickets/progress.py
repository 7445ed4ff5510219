"""How far a long loop is: a bar on a terminal, one line per interval in the log."""

import logging
import sys
import threading
import time
from typing import TextIO

from tqdm import tqdm  # type: ignore[import-untyped]

INTERVAL_SECONDS = 10.0
BAR = "{l_bar}{bar}{r_bar}\r"
ERASE_LINE = "\r\x1b[K"

# tqdm's own lock is one among processes, too: a semaphore that a job's end leaves behind, and Python 3.14 warns of.
tqdm.set_lock(threading.RLock())


class OnTerminal(logging.StreamHandler[TextIO]):
    """Writes messages to a stream. On a terminal each takes the place of a bar, this job's or another's; this job's is
    drawn again below it.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of `record`, on a terminal after what erases the line."""
        text = super().format(record)
        return f"{ERASE_LINE}{text}" if self.stream.isatty() else text

    def emit(self, record: logging.LogRecord) -> None:
        """Write the text of `record`."""
        with tqdm.external_write_mode(self.stream):
            super().emit(record)


class Progress:
    """Counts `total` steps of work called `what`; use as a context manager.

    `initial` steps were done before, by an interrupted run: they count as done, but not for the speed. With the unit
    "B" the steps are bytes, shown as MB or GB. `total` is None if unknown.
    """

    def __init__(self, what: str, total: int | None, unit: str = "step", initial: int = 0) -> None:
        self._log = logging.getLogger("lxmert_tickets")
        self._what, self._total, self._unit = what, total, unit
        self._initial = self._done = initial
        self._started = self._last = time.monotonic()
        # `disable=None`: a bar on a terminal only. It returns to the start of its line: there begins what Snakemake or
        # another job writes next.
        self._bar = tqdm(
            total=total, initial=initial, desc=what, unit=unit, unit_scale=unit == "B",
            file=sys.stderr, leave=False, disable=None, bar_format=None if total is None else BAR,
        )  # fmt: skip

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *failure: object) -> None:
        self._bar.close()

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count `n` more steps as done; `note` is added to the log line."""
        self._done += n
        self._bar.update(n)
        now = time.monotonic()
        if now - self._last >= INTERVAL_SECONDS or self._done == self._total:
            self._last = now
            rate = (self._done - self._initial) / max(now - self._started, 1e-9)
            self._log.info("%s: %s%s", self._what, self._state(rate), f", {note}" if note else "")

    def _state(self, rate: float) -> str:
        in_bytes = self._unit == "B"
        done = bytes_text(self._done) if in_bytes else f"{self._unit} {self._done}"
        speed = f"{bytes_text(rate)}/s" if in_bytes else f"{rate:.1f} a second"
        if self._total is None:
            return f"{done}, {speed}"
        total = bytes_text(self._total) if in_bytes else self._total
        left = f", {duration_text((self._total - self._done) / rate)} left" if rate else ""
        return f"{done} of {total}, {speed}{left}"


def bytes_text(n: float) -> str:
    """Return a number of bytes as people read it: "512 B", "3.1 MB", "17.0 GB" (powers of 1,000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 999.5 if unit == "B" else n < 999.95:
            return f"{n:.0f} B" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def duration_text(seconds: float) -> str:
    """Return a duration as people say it: "0.4 s", "12 s", "3 min 05 s", "45 min", "7 h 04 min", "2 d 4 h"."""
    if seconds < 9.95:
        return f"{round(seconds, 1):g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"

"""How far a long loop is: a bar on a terminal, a line an interval in the log."""

import logging
import sys
import time

from tqdm import tqdm  # type: ignore[import-untyped]

INTERVAL_SECONDS = 10.0


class Progress:
    """Counts `total` steps of work called `what`; use as a context manager."""

    def __init__(self, what: str, total: int, unit: str = "step") -> None:
        self._log = logging.getLogger("lxmert_tickets")
        self._what, self._total, self._unit = what, total, unit
        self._done = 0
        self._started = self._last = time.monotonic()
        # `disable=None`: a bar on a terminal only.
        self._bar = tqdm(total=total, desc=what, unit=unit, file=sys.stderr, leave=False, disable=None)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *failure: object) -> None:
        self._bar.close()

    def advance(self, n: int = 1, note: str = "") -> None:
        """Say that `n` more steps are done, and `note` what they gave."""
        self._done += n
        self._bar.update(n)
        now = time.monotonic()
        if now - self._last >= INTERVAL_SECONDS or self._done == self._total:
            self._last = now
            rate = self._done / max(now - self._started, 1e-9)
            left = (self._total - self._done) / rate
            self._log.info(
                "%s: %s %d of %d, %.1f a second, %.0f s left%s",
                self._what, self._unit, self._done, self._total, rate, left, f", {note}" if note else "",
            )  # fmt: skip

"""What a running training reports about itself: a small file beside its checkpoints, readable on any machine."""

import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from lxmert_tickets.monitoring.local_processes import runs

NAME = "progress.json"
STALE_SECONDS = 300.0  # without a pulse; writing a checkpoint to a slow disk takes minutes


@dataclass(frozen=True)
class Pulse:
    """How far a run was at `time` (seconds since 1970, by the clock of `host`)."""

    step: int
    n_steps: int
    steps_per_second: float  # 0 while unknown
    values: dict[str, float]  # the last line of its curve, such as its loss
    time: float
    seconds_between: float  # between this and the previous pulse: long if steps are
    process: int
    host: str

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds left at `now`; None while the speed is unknown."""
        if not self.steps_per_second:
            return None
        return max((self.n_steps - self.step) / self.steps_per_second - self.age(now), 0.0)

    def age(self, now: float) -> float:
        """Return the seconds since the pulse; 0 where this machine's clock is behind."""
        return max(now - self.time, 0.0)

    def is_alive(self, now: float, host: str) -> bool:
        """Return whether the run is alive, as far as `host` can know: the pulse is recent, and it did not end here."""
        if self.age(now) > max(STALE_SECONDS, 3 * self.seconds_between):
            return False
        return self.host != host or runs(self.process)


def write_pulse(path: Path, pulse: Pulse) -> None:
    """Write `pulse` to `path`, whole or not at all; not flushed to disk, since a power cut ends the run as well."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_text(json.dumps(asdict(pulse)), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_pulse(path: Path) -> Pulse | None:
    """Return the pulse in `path`; None if there is none that can be read."""
    try:
        return Pulse(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None

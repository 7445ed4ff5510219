"""Processes of this machine."""

import os
from pathlib import Path

PROC = Path("/proc")
DRIFT_SECONDS = 60.0  # by which clocks may differ: that of a disk elsewhere, and that of the kernel's start


def runs(process: int, since: float | None = None) -> bool:
    """Tell whether `process` is there, and was there at `since` (seconds since 1970), as far as this system tells.

    Numbers of processes come again: at the latest when the machine, or a container, has started anew.
    """
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    began = _began(process) if since is not None else None
    return since is None or began is None or began <= since + DRIFT_SECONDS


def _began(process: int) -> float | None:
    """Return when `process` began (seconds since 1970); None where there is no /proc as Linux has it."""
    try:
        fields = (PROC / str(process) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        kernel = dict(line.split(maxsplit=1) for line in (PROC / "stat").read_text().splitlines())
        return int(kernel["btime"]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, LookupError):
        return None

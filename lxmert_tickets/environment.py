"""What the workflow must know of the machine that it runs on, without importing torch."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]


def let_jobs_import_this_package() -> None:
    """Put the folder of this package on PYTHONPATH: scripts run in processes of their own, and it is not installed."""
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(ROOT)]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *others])


def has_gpu() -> bool:
    """Return whether there is an NVIDIA device."""
    return Path("/dev/nvidiactl").exists()

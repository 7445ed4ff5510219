"""What the workflow must know about its machine, without importing torch."""

import os
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIGNS_OF_A_GPU = Path("/dev/nvidiactl"), Path("/usr/lib/wsl/lib/libcuda.so.1")
"""Of NVIDIA's driver; the second under WSL."""
LEAST_WIDTH = 80
"""Of a table on a terminal, in characters; a narrower terminal wraps its lines, which loses no name or number."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
FEWER_THREADS = ("OMP_DYNAMIC", "OMP_THREAD_LIMIT", "OMP_MAX_ACTIVE_LEVELS")
"""Variables by which OpenMP may give a process fewer threads than it asks for."""


def set_environment_of_jobs() -> None:
    """Let scripts, which run in processes of their own, import this package and use all their threads.

    Given fewer threads than it asks for, oneDNN leaves parts of a matrix product undone, without an error.
    """
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(ROOT)]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *others])
    for name in FEWER_THREADS:
        os.environ.pop(name, None)


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_gpu() -> bool:
    """Return whether there is an NVIDIA device that this process may use."""
    return any(sign.exists() for sign in SIGNS_OF_A_GPU) and named_devices(os.environ) != []


def named_devices(environment: Mapping[str, str]) -> list[str] | None:
    """Return the devices that CUDA_VISIBLE_DEVICES names, numbers or UUIDs; None, for all, if it is not set."""
    if VISIBLE not in environment:
        return None
    named = [name.strip() for name in environment[VISIBLE].split(",")]
    # CUDA ignores all names from the first invalid one on, such as -1, an empty one or one of another kind; and all of
    # them if one appears twice.
    kind = _kind_of_name(named[0])
    valid = list(takewhile(lambda name: kind and _kind_of_name(name) == kind, named))
    return valid if len(set(valid)) == len(valid) else []


def _kind_of_name(device: str) -> str:
    if device[:1].isdigit():
        return "number"
    return device[:4] if device.startswith(("GPU-", "MIG-")) else ""

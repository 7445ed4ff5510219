"""Runs contenders in separate processes, so that neither memory nor warm caches leak from one to the next.

A benchmark module has a dict CONTENDERS of functions that take strings and return numbers by name. This module runs
them:

    python -m benchmarks.contenders MODULE CONTENDER [argument …]      prints the numbers as JSON, in the last line
"""

import importlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
STARTED = "LXT_BENCH_STARTED"
"""Environment variable with a contender's start time, in seconds since the epoch."""

Numbers = Mapping[str, float]


def run(
    module: str, contender: str, *arguments: object, threads: int = 1, seconds: float | None = None
) -> dict[str, float]:
    """Return what `contender` of `benchmarks.<module>` measured in its own process on `threads` threads.

    Raises CalledProcessError if the process fails, after printing its output; TimeoutExpired if it takes longer than
    `seconds`, after killing it.
    """
    return dict(json.loads(said_by(module, contender, *arguments, threads=threads, seconds=seconds)[-1]))


def said_by(
    module: str, contender: str, *arguments: object, threads: int = 1, seconds: float | None = None
) -> list[str]:
    """Return the lines that `contender` wrote; the last one is what it measured, as JSON. Raises as `run` does."""
    paths = str(PROJECT), str(PROJECT / "tests"), os.environ.get("PYTHONPATH")
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        STARTED: repr(time.time()),
    }
    command = [sys.executable, "-m", "benchmarks.contenders", module, contender, *map(str, arguments)]
    try:
        ended = subprocess.run(
            command, cwd=PROJECT, env=environment, check=True, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.CalledProcessError as error:
        print(error.stdout, error.stderr, file=sys.stderr)
        raise
    return ended.stdout.splitlines()


def alternate(
    module: str, contenders: Sequence[str], *arguments: object, rounds: int, threads: int = 1
) -> dict[str, list[dict[str, float]]]:
    """Return what each contender measured in each round; they take turns."""
    found: dict[str, list[dict[str, float]]] = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            found[contender].append(run(module, contender, *arguments, threads=threads))
    return found


def least(found: Sequence[Numbers], key: str) -> float:
    return min(numbers[key] for numbers in found)


def largest(found: Sequence[Numbers], key: str) -> float:
    return max(numbers[key] for numbers in found)


def typical_step(times: Sequence[float]) -> float:
    """Return the median of the seconds between consecutive `times`, robust to momentary noise."""
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(times))


def seconds_since_start() -> float:
    """Return the age of this process, counted from before Python itself started."""
    return time.time() - float(os.environ[STARTED])


if __name__ == "__main__":
    measured = importlib.import_module(f"benchmarks.{sys.argv[1]}").CONTENDERS[sys.argv[2]](*sys.argv[3:])
    print("\n" + json.dumps(measured))

"""Runs of a workflow script, as Snakemake would run it: in this process, or in one of its own."""

import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from snakemake.iocontainers import InputFiles, OutputFiles, Params, Wildcards

Files = TypeVar("Files", InputFiles, OutputFiles)
PROJECT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 600

DRIVER = """
import json, sys
from pathlib import Path
from script_runs import run_here

try:
    run_here(**json.loads(sys.argv[1]))
finally:
    # The system's ru_maxrss would count what the parent had when it forked.
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    print("".join(line.split()[1] for line in lines if line.startswith("VmHWM:")))
"""


@dataclass(frozen=True)
class ScriptRun:
    """How a script ended, what it wrote to its log and to the terminal, and its peak memory (0: unknown)."""

    status: int
    log: str
    terminal: str
    peak_bytes: int


def run_here(
    rule: str,
    log: str,
    *,
    input: dict[str, object],  # noqa: A002 (as Snakemake calls it)
    output: dict[str, object],
    params: dict[str, object],
    wildcards: dict[str, object] | None = None,
) -> None:
    """Run the script of `rule` in this process; raises SystemExit where it ends with a user error."""
    job = SimpleNamespace(
        rule=rule,
        log=[log],
        input=_named(InputFiles, input),
        output=_named(OutputFiles, output),
        params=Params(fromdict=params),
        wildcards=Wildcards(fromdict=wildcards or {}),
        threads=1,
    )
    runpy.run_path(str(PROJECT / "workflow_scripts" / f"{rule}.py"), init_globals={"snakemake": job})


def run_script(name: str, folder: Path, inputs: dict[str, Any], outputs: dict[str, Any], **more: Any) -> str:
    """Run the script of rule `name` in this process and return its log; `more` are `params` and `wildcards`."""
    log = folder / f"{name}.log"
    params, wildcards = more.get("params", {}), more.get("wildcards")
    run_here(name, str(log), input=inputs, output=outputs, params=params, wildcards=wildcards)
    return log.read_text(encoding="utf-8")


def run_apart(rule: str, log: Path, environment: dict[str, str], **job: object) -> ScriptRun:
    """Return how the script of `rule` ran in its own process, with `environment` in place of the hub's variables."""
    log.unlink(missing_ok=True)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps({"rule": rule, "log": log, **job}, default=str)],
        env=ours | {"PYTHONPATH": os.pathsep.join(map(str, (PROJECT, Path(__file__).parent)))} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    peak = ended.stdout.strip().rpartition("\n")[2]
    return ScriptRun(
        status=ended.returncode,
        log=log.read_text(encoding="utf-8") if log.exists() else "",
        terminal=ended.stdout + ended.stderr,
        peak_bytes=1024 * int(peak) if peak.isdigit() else 0,
    )


def _named(kind: type[Files], files: dict[str, Any]) -> Files:
    """Return `files` as Snakemake passes them: one list of strings, in which a name stands for one or several."""
    named = kind()
    for name, value in files.items():
        start = len(named)
        if isinstance(value, list):
            named.extend(map(str, value))
            named._set_name(name, start, end=len(named))
        else:
            named.append(str(value))
            named._set_name(name, start)
    return named


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)

"""The whole demo in a fresh folder, as `make demo` runs it, and where its time goes."""

import ast
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from benchmarks.contenders import PROJECT
from benchmarks.figures import Figure
from lxmert_tickets.environment import available_cores

SCRIPT_OF = {"finetune": "train", "retrain": "train"}
TRAINING = ("finetune", "retrain", "pretrain")
# So begins every script that Snakemake runs.
PREAMBLE = (
    "from snakemake.logging import logger",
    "from snakemake.iocontainers import Snakemake",
    "snakemake = None",
)


@dataclass(frozen=True)
class Split:
    """Seconds of a run by what they went to, spread over all cores; together they are its length."""

    training: float
    imports: float
    other_jobs: float
    snakemake_and_waiting: float


@dataclass(frozen=True)
class Job:
    """A job that ran: its rule, its seconds from start to end, and the cores it held."""

    rule: str
    seconds: float
    threads: int = 1


def split_of(jobs: Iterable[Job], import_seconds: dict[str, float], whole_seconds: float, n_cores: int) -> Split:
    """Return where a run of `whole_seconds` on `n_cores` went; `import_seconds` by rule."""
    training = imports = others = 0.0
    for job in jobs:
        importing = min(import_seconds[job.rule], job.seconds)
        imports += importing * job.threads / n_cores
        working = (job.seconds - importing) * job.threads / n_cores
        if job.rule in TRAINING:
            training += working
        else:
            others += working
    return Split(training, imports, others, whole_seconds - training - imports - others)


def jobs_of(folder: Path, n_cores: int) -> list[Job]:
    """Return the jobs whose time Snakemake measured, from the files in `folder`."""
    jobs = []
    for file in sorted(folder.rglob("*.tsv")):
        rule = file.relative_to(folder).parts[0].partition(".")[0]
        threads = min(2, n_cores) if rule == "pretrain" else 1
        jobs.append(Job(rule, float(pd.read_csv(file, sep="\t")["s"].iloc[0]), threads))
    return jobs


@cache
def import_seconds(rule: str) -> float:
    """Return how long an empty job takes that imports what the script of `rule` imports; best of two."""
    script = ast.parse((PROJECT / "workflow_scripts" / f"{SCRIPT_OF.get(rule, rule)}.py").read_text())
    imports = [ast.unparse(line) for line in script.body if isinstance(line, ast.Import | ast.ImportFrom)]
    program = "\n".join([*PREAMBLE, *imports, f"with job({os.devnull!r}): pass"])
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], cwd=PROJECT, env=_environment(), check=True)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def demo(folder: Path, *overlays: Path) -> Figure:
    """Run the workflow and its report in `folder`; return the seconds, with training alone as the floor.

    `overlays` are laid over config.yaml: a smaller experiment, to try this out.
    """
    root = folder / "demo"
    root.mkdir()
    common = [
        "snakemake", "--snakefile", PROJECT / "Snakefile", "--directory", root,
        "--workflow-profile", PROJECT / "profiles/default", "--configfile", PROJECT / "config.yaml", *overlays,
    ]  # fmt: skip
    started = time.perf_counter()
    _run(*common, "--cores", "all", "--quiet", "all", "--report", root / "report.html", "--report-after-run")
    [results] = (path for path in (root / "results").iterdir() if path.is_dir())
    _run("lxmert_tickets", "show", results)
    return figure_of(results, time.perf_counter() - started)


def _run(module: str, *arguments: object) -> None:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    subprocess.run(command, cwd=PROJECT, env=_environment(), check=True, stdout=sys.stderr)


def figure_of(results: Path, whole_seconds: float) -> Figure:
    """Return the figure of a run of `whole_seconds` that left `results`."""
    n_cores = available_cores()
    jobs = jobs_of(results / "benchmarks", n_cores)
    importing = {rule: import_seconds(rule) for rule in {job.rule for job in jobs}}
    split = split_of(jobs, importing, whole_seconds, n_cores)
    note = (
        f"{len(jobs)} jobs on {n_cores} cores: training {split.training:.0f} s, imports {split.imports:.0f} s, other "
        f"jobs {split.other_jobs:.0f} s, Snakemake and waiting {split.snakemake_and_waiting:.0f} s; "
        f"{100 * (1 - split.training / whole_seconds):.0f} % is not training; the floor is training alone"
    )
    return Figure("demo", "s", whole_seconds, None, split.training, note)


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}

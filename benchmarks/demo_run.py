"""The whole demo in a fresh folder, as `make demo` runs it, and where its time goes."""

import ast
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.contenders import PROJECT
from benchmarks.figures import Figure
from lxmert_tickets.environment import available_cores, set_environment_of_jobs
from lxmert_tickets.jobs.forked import Forks, forks_pay

TRAINING = ("finetune", "retrain", "pretrain")
SCRIPTS = sorted((PROJECT / "workflow_scripts").glob("*.py"))
# How every script that Snakemake runs begins.
PREAMBLE = (
    "from snakemake.logging import logger",
    "from snakemake.iocontainers import Snakemake",
    "snakemake = None",
)


@dataclass(frozen=True)
class Split:
    """The seconds of a run by what they were spent on, averaged over all cores; they sum to its duration."""

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
    """Return what a run of `whole_seconds` on `n_cores` was spent on; `import_seconds` are by rule."""
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


def script_of_rules() -> dict[str, Path]:
    """Return the script of each rule; `use rule` inherits it."""
    script_of: dict[str, Path] = {}
    for file in sorted((PROJECT / "rules").glob("*.smk")):
        for line in file.read_text().splitlines():
            if rule := re.match(r"(?:use rule (\w+) as|rule) (\w+)", line):
                name = rule[2]
                if rule[1]:
                    script_of[name] = script_of[rule[1]]
            elif script := re.search(r'"\.\./(workflow_scripts/\w+\.py)"', line):
                script_of[name] = PROJECT / script[1]
    return script_of


def import_seconds(rules: Iterable[str], folder: Path) -> dict[str, float]:
    """Return, for each rule, how long an empty job with the imports of its script takes; best of two.

    It runs as jobs do: as a fork where `make demo` forks jobs, else as a separate Python process.
    """
    set_environment_of_jobs()
    forks = Forks(SCRIPTS) if forks_pay() else None
    if forks is not None:
        assert forks.is_ready(wait=True)
    script = folder / "tmp1a2b3c4d.empty.py"
    check = [] if forks is None else ["import sys", "assert 'lxmert_tickets.jobs.job' in sys.modules"]
    script_of, found = script_of_rules(), {}
    for rule in rules:
        tree = ast.parse(script_of[rule].read_text())
        imports = [ast.unparse(line) for line in tree.body if isinstance(line, ast.Import | ast.ImportFrom)]
        script.write_text("\n".join([*check, *PREAMBLE, *imports, f"with job({os.devnull!r}): pass"]))
        found[rule] = min(_seconds(script, forks) for _ in range(2))
    return found


def _seconds(script: Path, forks: Forks | None) -> float:
    started = time.perf_counter()
    if forks is None:
        status = subprocess.run([sys.executable, script], cwd=PROJECT, env=_environment(), check=True).returncode
    else:
        status = forks.run(str(script), os.environ, lambda process: nullcontext())
    assert status == 0
    return time.perf_counter() - started


def demo(folder: Path, *overlays: Path) -> Figure:
    """Run the workflow and its report in `folder`; return the seconds, with training alone as the floor.

    `overlays` are configuration files laid over config.yaml, such as a smaller experiment.
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
    with tempfile.TemporaryDirectory() as folder:
        importing = import_seconds({job.rule for job in jobs}, Path(folder))
    split = split_of(jobs, importing, whole_seconds, n_cores)
    note = (
        f"{len(jobs)} jobs on {n_cores} cores: training {split.training:.0f} s, imports {split.imports:.0f} s, other "
        f"jobs {split.other_jobs:.0f} s, Snakemake and waiting {split.snakemake_and_waiting:.0f} s; "
        f"{100 * (1 - split.training / whole_seconds):.1f} % is not training; the floor is training alone"
    )
    return Figure("demo", whole_seconds, None, split.training, note)


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}

"""Runs the real Snakefile, and reads the jobs of a dry run."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORKS = "Jobs will be forks of one process"
"""What Snakemake prints where they will be: for many jobs, if `forks_pay`."""


def snakemake(
    folder: Path,
    *arguments: str,
    configs: tuple[Path, ...] = (),
    project: Path = ROOT,
    experiment: str = "smoke",
    cores: int | None = 2,
) -> subprocess.CompletedProcess[str]:
    """Run the Snakefile of `project` in `folder`, with the configuration of `experiment` and its overlays.

    `arguments` begin with the targets, if any.
    """
    overlays = [str(project / f"configs/{experiment}.yaml"), *map(str, configs)]
    return run_snakemake(
        folder, "--snakefile", str(project / "Snakefile"), "--directory", str(folder),
        "--workflow-profile", str(project / "profiles/default"), *arguments,
        *([] if cores is None else ["--cores", str(cores)]), "--configfile", str(project / "config.yaml"), *overlays,
    )  # fmt: skip


def run_snakemake(
    folder: Path, *arguments: str, environment: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `folder`."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    environment = {**environment, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def copy_project(copy: Path) -> Path:
    """Copy the workflow's own code to the new folder `copy`, and return it."""
    copy.mkdir(parents=True)
    for name in ("Snakefile", "config.yaml"):
        shutil.copy2(ROOT / name, copy / name)
    for name in ("rules", "workflow_scripts", "lxmert_tickets", "configs", "profiles", "envs", "report"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def jobs_of(dry_run: subprocess.CompletedProcess[str]) -> set[str]:
    """Return the jobs of a dry run, such as "retrain 0 low_magnitude 50": rule and wildcards."""
    assert dry_run.returncode == 0, dry_run.stdout + dry_run.stderr
    jobs = set()
    for block in re.split(r"\n(?=(?:local)?rule )", dry_run.stdout + dry_run.stderr)[1:]:
        rule = re.match(r"(?:local)?rule (\w+):", block)
        assert rule is not None
        wildcards = re.search(r"^    wildcards: (.*)$", block, flags=re.MULTILINE)
        values = [part.split("=")[1] for part in wildcards[1].split(", ")] if wildcards else []
        jobs.add(" ".join([rule[1], *values]))
    return jobs - {"all"}

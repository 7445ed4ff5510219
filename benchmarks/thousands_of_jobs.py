"""What Snakemake itself costs on a grid of thousands of jobs, with our rules and with commands that only touch files.

python benchmarks/thousands_of_jobs.py [--seeds 10] [--cores 8] [Snakemake's options, such as --scheduler greedy]
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[1]
COPIED = ("Snakefile", "config.yaml", "rules", "workflow_scripts", "lxmert_tickets", "profiles", "envs", "report")
SCRIPT = re.compile(r"script:\s+\S+")
SPARSITIES = list(range(5, 95, 5))
RANDOM = {"keep": "random", "ranked": "global", "sparsities": SPARSITIES}
SUBNETWORKS = {
    "low_magnitude": {"sparsities": SPARSITIES},
    "high_magnitude": {"sparsities": sorted(100 - sparsity for sparsity in SPARSITIES)},
    "random": RANDOM,
    "random2": RANDOM,
    "random3": RANDOM,
}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """The cost of a Snakemake run: seconds, CPU seconds of its own and of its jobs, and peak memory."""

    seconds: float
    own_seconds: float
    jobs_seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.seconds:.1f} s, CPU {self.own_seconds:.1f} s and of its jobs {self.jobs_seconds:.1f} s, "
            f"{self.peak_bytes / 1e6:.0f} MB"
        )


def copy_workflow(folder: Path, n_seeds: int) -> None:
    """Copy the workflow to `folder`, its scripts replaced by `touch`, with the configuration of a large grid."""
    for name in COPIED:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, folder / name)
    for rules in (folder / "rules").glob("*.smk"):
        rules.write_text(SCRIPT.sub('shell:\n        "touch {output}"', rules.read_text()))
    large = {"seeds": list(range(n_seeds)), "subnetworks": SUBNETWORKS}
    (folder / "large.yaml").write_text(yaml.safe_dump(large))


def snakemake(folder: Path, *options: str) -> tuple[Cost, str]:
    """Run Snakemake on the large grid; return its cost and its output.

    Raises RuntimeError, with the end of the output, when it fails.
    """
    command = [sys.executable, "-m", "snakemake", *options, "--configfile", "config.yaml", "large.yaml"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        run = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
        os.waitid(os.P_PID, run.pid, os.WEXITED | os.WNOWAIT)  # ended, but not reaped: its /proc is still there
        seconds = time.perf_counter() - started
        fields = Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()
        user, system, user_of_jobs, system_of_jobs = (int(ticks) / TICKS for ticks in fields[11:15])
        _, status, used = os.wait4(run.pid, 0)
        said.seek(0)
        text = said.read()
    if status:
        raise RuntimeError(text[-3000:])
    return Cost(seconds, user + system, user_of_jobs + system_of_jobs, used.ru_maxrss * 1024), text


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the cost of a dry run, then of a whole run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cores", type=int, default=8)
    given, others = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_workflow(folder, given.seeds)
        cost, said = snakemake(folder, "--dry-run", "--quiet", "rules")
        n_jobs = int(re.findall(r"^total\s+(\d+)", said, flags=re.MULTILINE)[-1])
        print(f"dry run of {n_jobs} jobs: {cost}", flush=True)
        cost, _ = snakemake(folder, "--cores", str(given.cores), "--quiet", "all", *others)
        per_job = 1000 * cost.own_seconds / n_jobs
        print(f"whole run: {cost}; {n_jobs / cost.seconds:.1f} jobs a second, {per_job:.0f} ms of its own CPU a job")


if __name__ == "__main__":
    main()

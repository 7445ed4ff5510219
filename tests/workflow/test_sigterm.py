"""SLURM with control groups signals a job's Snakemake alone: its training writes a checkpoint all the same."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from script_runs import wait_until
from workflow_runs import ROOT

DENSE = Path("results/smoke/seed0/dense")


def test_a_training_on_a_cluster_is_interrupted_by_sigterm_for_its_snakemake(
    grid: Path, overlay: Callable[[dict[str, Any]], Path]
) -> None:
    job = [
        sys.executable, "-m", "snakemake", str(DENSE / "weights.safetensors"), "--snakefile", str(ROOT / "Snakefile"),
        "--workflow-profile", str(ROOT / "profiles/default"), "--cores", "1", "--mode", "remote", "--force",
        "--allowed-rules", "finetune", "--configfile", str(ROOT / "config.yaml"), str(ROOT / "configs/smoke.yaml"),
        str(overlay({"training": {"epochs": 200}})),
    ]  # fmt: skip
    snakemake = subprocess.Popen(job, cwd=grid, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True)
    try:
        wait_until((grid / DENSE / ".resume/progress.json").exists)
        snakemake.send_signal(signal.SIGTERM)
        assert snakemake.wait(timeout=60) == 1
    finally:
        with suppress(ProcessLookupError):
            os.killpg(snakemake.pid, signal.SIGKILL)
    last = (grid / "results/smoke/logs/finetune.0.log").read_text().splitlines()[-1]
    assert "received SIGTERM: the run stops after step" in last

"""A training that outlives its Snakemake is not lost: the next one uses its results."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from script_runs import wait_until
from workflow_runs import ROOT, snakemake

DENSE = Path("results/smoke/seed0/dense")


def test_a_network_whose_training_outlived_snakemake_is_not_trained_again(
    grid: Path, overlay: Callable[[dict[str, Any]], Path]
) -> None:
    longer = overlay({"training": {"epochs": 40}})
    training = [
        sys.executable, "-m", "snakemake", str(DENSE / "weights.safetensors"), "--snakefile", str(ROOT / "Snakefile"),
        "--workflow-profile", str(ROOT / "profiles/default"), "--cores", "1",
        "--configfile", str(ROOT / "config.yaml"), str(ROOT / "configs/smoke.yaml"), str(longer),
    ]  # fmt: skip
    main = subprocess.Popen(training, cwd=grid, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True)
    resume, log = grid / DENSE / ".resume", grid / "results/smoke/logs/finetune.0.log"
    wait_until((resume / "progress.json").exists)
    main.send_signal(signal.SIGKILL)
    main.wait()
    assert not (grid / DENSE / "weights.safetensors").exists()
    wait_until((resume / "finished.json").exists)
    wait_until(lambda: not (resume / "lock").exists())
    trained, history = ((grid / DENSE / name).read_bytes() for name in ("weights.safetensors", "history.csv"))
    assert history.count(b"\n") == 41

    snakemake(grid, "--unlock", configs=(longer,))
    scores = [str(DENSE / f"score.{split}.json") for split in ("test-dev", "test-std")]
    again = snakemake(grid, *scores, configs=(longer,))
    assert again.returncode == 0, again.stderr
    assert "finetune" in again.stdout + again.stderr  # Snakemake starts it again: it does not know how it ended
    said = log.read_text()
    assert "already trained, by a process that outlived its Snakemake" in said
    assert "epoch" not in said.rpartition("on cpu")[2]
    assert (grid / DENSE / "weights.safetensors").read_bytes() == trained
    assert not resume.exists()  # predictions were made, so Snakemake has the weights
    rest = snakemake(grid, *scores, configs=(longer,))
    assert "Nothing to be done" in rest.stdout + rest.stderr

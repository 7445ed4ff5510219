"""The grid through profiles/slurm, on a SLURM of its own: what a cluster does to jobs costs time, never a result."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cluster import Cluster
from story import CANCELLED, KILLED, MET_WITH, NETWORKS, PATIENCE_SECONDS, PREEMPTED, SLOW, Story, tell
from workflow_runs import ROOT

pytestmark = pytest.mark.slurm
RESULTS = Path("results/smoke")
TABLE = str(RESULTS / "tables/table1.md")
OVERLAY = Path(__file__).with_name("tiny_grid.yaml")
# Data, pretraining and initial weights are made before the story begins.
SPLITS = ("train", "val", "test-dev", "test-std")
BEGINNING = [str(RESULTS / f"data/{split}/questions.h5") for split in SPLITS]
BEGINNING += [str(RESULTS / f"seed{seed}/initial.safetensors") for seed in (0, 1)]
COMPARED = ("weights.safetensors", "mask.safetensors", "history.csv", "score.*.json", "table1.*")


@dataclass
class Ended:
    """A grid that has come to its end on the cluster, and the same grid made locally in peace."""

    story: Story
    calm: Path

    def log(self, rule: str) -> str:
        return (self.story.folder / RESULTS / f"logs/{rule}.log").read_text()


def snakemake(folder: Path, environment: dict[str, str], profile: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start Snakemake in `folder`, where it says what it does in the file `said`."""
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--workflow-profile", str(profile),
        *arguments, "--configfile", str(ROOT / "config.yaml"), str(ROOT / "configs/smoke.yaml"), str(OVERLAY),
    ]  # fmt: skip
    with (folder / "said").open("wb") as said:
        return subprocess.Popen(command, env=environment, cwd=folder, stdout=said, stderr=said)


def changed_profile(folder: Path) -> Path:
    """Return profiles/slurm, changed as by a user in a hurry: impatient, and with short limits for `finetune`."""
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    profile["set-resources"]["finetune"]["runtime"] = "1 * attempt"
    profile["default-resources"]["slurm_extra"] = "'--signal=TERM@15'"
    # sacct wants SLURM's database.
    profile |= {"slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 1}
    profile |= {"seconds-between-status-checks": 2, "latency-wait": 10}
    (folder / "config.yaml").write_text(yaml.safe_dump(profile))
    return folder


def wait_for(run: subprocess.Popen[bytes], folder: Path) -> None:
    assert run.wait(timeout=PATIENCE_SECONDS) == 0, (folder / "said").read_text(errors="replace")[-3000:]


@pytest.fixture(scope="module")
def grid(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    calm, stormy, profiles = (tmp_path_factory.mktemp(name) for name in ("calm", "stormy", "profiles"))
    environment = cluster.environment | {"OMP_NUM_THREADS": "1"}
    local = (calm, environment, ROOT / "profiles/default")
    wait_for(snakemake(*local, *BEGINNING, "--cores", "2"), calm)
    shutil.copytree(calm / RESULTS, stormy / RESULTS)
    # The two at once: a cluster makes one wait more than work.
    runs = [snakemake(*local, TABLE, "--cores", "1")]
    try:
        runs.append(snakemake(stormy, environment, changed_profile(profiles), TABLE))
        story = Story(cluster, stormy, runs[1], MET_WITH)
        tell(story)
        wait_for(runs[0], calm)
        yield Ended(story, calm)
    finally:
        for run in runs:
            if run.poll() is None:
                run.kill()
                run.wait()


def test_every_network_has_the_bytes_of_a_local_run_in_peace(grid: Ended) -> None:
    assert grid.story.main.returncode == 0, grid.story.said[-3000:]
    expected = {path.relative_to(grid.calm): path for name in COMPARED for path in (grid.calm / RESULTS).rglob(name)}
    assert len(expected) > 20
    different = [str(name) for name, path in expected.items() if path.read_bytes() != made(grid, name)]
    assert different == []


def made(grid: Ended, name: Path) -> bytes:
    path = grid.story.folder / name
    return path.read_bytes() if path.exists() else b""


def test_trainings_that_run_at_once_have_a_gpu_each(grid: Ended) -> None:
    assert ["0", "1"] in grid.story.gpus_at_once
    assert all(len(set(gpus)) == len(gpus) for gpus in grid.story.gpus_at_once)
    for network in NETWORKS:
        seed, model = network.split("/", 1)
        rule = f"finetune.{seed[4:]}" if model == "dense" else f"retrain.{seed[4:]}.{model.replace('/s', '.')}"
        assert f"SLURM_JOB_ID={grid.story.jobs[network][-1]}, CUDA_VISIBLE_DEVICES=" in grid.log(rule)


def test_a_training_whose_time_is_nearly_over_goes_on_in_another_job(grid: Ended) -> None:
    assert len(grid.story.jobs[SLOW]) > 1
    assert "going on from step" in grid.log("finetune.0")


def test_a_cancelled_training_goes_on_in_another_job(grid: Ended) -> None:
    assert len(grid.story.jobs[CANCELLED]) > 1
    assert "going on from step" in grid.log("finetune.1")


def test_a_preempted_training_goes_on_in_the_same_job(grid: Ended) -> None:
    assert len(grid.story.jobs[PREEMPTED]) == 1


def test_a_failed_job_is_tried_again_and_leaves_its_log_where_snakemake_says(grid: Ended) -> None:
    first, *others = grid.story.jobs[KILLED]
    assert others
    log = (
        next(line for line in grid.story.said.splitlines() if f"SLURM jobid {first} " in line)
        .split("log: ")[1]
        .rstrip(").")
    )
    assert f"results/slurm_logs/group_round-1-low_magnitude-50_prune_round_retrain/{first}.log" in log
    assert f"SLURM_JOB_ID={first}" in Path(log).read_text()

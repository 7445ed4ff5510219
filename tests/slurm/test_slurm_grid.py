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
from story import (
    BROKEN,
    CANCELLED,
    HUNG,
    MET_WITH,
    OVERLAY,
    PATIENCE_SECONDS,
    PREEMPTED,
    RESULTS,
    SLOW,
    Story,
    prepare,
    tell,
)
from workflow_runs import ROOT

pytestmark = pytest.mark.slurm
TABLE = str(RESULTS / "tables/table1.md")
# Data, pretraining, initial weights, two networks and the scores of one are made before the story begins.
SPLITS = ("train", "val", "test-dev", "test-std")
BEGINNING = [str(RESULTS / f"data/{split}/questions.h5") for split in SPLITS]
BEGINNING += [str(RESULTS / f"seed{seed}/initial.safetensors") for seed in (0, 1)]
BEGINNING += [str(RESULTS / f"seed{seed}/random/s50/weights.safetensors") for seed in (0, 1)]
BEGINNING += [str(RESULTS / "seed0/random/s50/score.val.json")]
COMPARED = ("weights.safetensors", "mask.safetensors", "history.csv", "score.*.json", "table1.*")


@dataclass
class Ended:
    """A grid that has finished on the cluster, and the same grid made locally, undisturbed."""

    story: Story
    calm: Path
    failed: "Failed"

    def jobs(self, network: str) -> list[str]:
        """Return SLURM's jobs that trained `network`, one for each process that did."""
        return [training.job for training in self.story.trainings[network]]


@dataclass
class Failed:
    """The state of the grid when one job had failed for good."""

    status: int | None
    said: str
    files: list[str]  # that existed


def snakemake(folder: Path, environment: dict[str, str], profile: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start Snakemake in `folder`, with its output in the file `said`."""
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--workflow-profile", str(profile),
        *arguments, "--configfile", str(ROOT / "config.yaml"), str(ROOT / "configs/smoke.yaml"), OVERLAY,
    ]  # fmt: skip
    with (folder / "said").open("wb") as said:
        return subprocess.Popen(command, env=environment, cwd=folder, stdout=said, stderr=said)


def changed_profile(folder: Path) -> Path:
    """Return profiles/slurm, changed as by an impatient user."""
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    profile |= {"slurm-init-seconds-before-status-checks": 1, "max-status-checks-per-second": 10}
    profile |= {"seconds-between-status-checks": 2, "latency-wait": 10, "retries": 1}
    (folder / "config.yaml").write_text(yaml.safe_dump(profile))
    return folder


def wait_for(run: subprocess.Popen[bytes], folder: Path) -> None:
    assert run.wait(timeout=PATIENCE_SECONDS) == 0, (folder / "said").read_text(errors="replace")[-3000:]


@pytest.fixture(scope="module")
def grid(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    calm, stormy, profiles = (tmp_path_factory.mktemp(name) for name in ("calm", "stormy", "profiles"))
    for folder in (calm, stormy):
        shutil.copy2(Path(__file__).with_name(OVERLAY), folder)
    environment = cluster.environment | {"OMP_NUM_THREADS": "1"}
    local = (calm, environment, ROOT / "profiles/default")
    wait_for(snakemake(*local, *BEGINNING, "--cores", "2"), calm)
    shutil.copytree(calm / RESULTS, stormy / RESULTS)
    prepare(stormy)
    on_cluster = (stormy, environment, changed_profile(profiles), TABLE)
    # Both at once: the run on the cluster mostly waits.
    runs = [snakemake(*local, TABLE, "--cores", "1")]
    try:
        runs.append(snakemake(*on_cluster))
        story = Story(cluster, stormy, runs[1], MET_WITH)
        tell(story)
        failed = Failed(runs[1].returncode, story.said, [str(path.relative_to(stormy)) for path in stormy.rglob("*")])
        wait_for(runs[0], calm)
        mended = RESULTS / BROKEN / "weights.safetensors"
        shutil.copy2(calm / mended, stormy / mended)
        runs.append(snakemake(*on_cluster))
        wait_for(runs[2], stormy)
        yield Ended(story, calm, failed)
    finally:
        for run in runs:
            if run.poll() is None:
                run.kill()
                run.wait()


def test_every_network_has_the_bytes_of_an_undisturbed_local_run(grid: Ended) -> None:
    expected = {path.relative_to(grid.calm): path for name in COMPARED for path in (grid.calm / RESULTS).rglob(name)}
    assert len(expected) > 20
    different = [str(name) for name, path in expected.items() if path.read_bytes() != made(grid, name)]
    assert different == []


def made(grid: Ended, name: Path) -> bytes:
    path = grid.story.folder / name
    return path.read_bytes() if path.exists() else b""


def test_concurrent_trainings_have_a_gpu_each(grid: Ended) -> None:
    assert ["0", "1"] in grid.story.gpus_at_once
    assert all(len(set(gpus)) == len(gpus) for gpus in grid.story.gpus_at_once)
    for network, trainings in grid.story.trainings.items():
        assert f"SLURM_JOB_ID={trainings[-1].job}, CUDA_VISIBLE_DEVICES=" in log_of(grid, network)


def log_of(grid: Ended, network: str) -> str:
    """Return the log of the last training of `network`."""
    seed, model = network.removeprefix("seed").split("/", 1)
    rule = f"finetune.{seed}" if model == "dense" else f"retrain.{seed}.{model.replace('/s', '.')}"
    return (grid.story.folder / RESULTS / f"logs/{rule}.log").read_text()


def test_a_training_whose_time_is_nearly_over_resumes_in_another_job(grid: Ended) -> None:
    first, second = grid.jobs(SLOW)
    assert first != second
    assert "resuming from step" in log_of(grid, SLOW)


def test_a_training_that_outlives_its_limit_is_killed_and_gets_more_time_in_another_job(grid: Ended) -> None:
    first, second = grid.story.trainings[HUNG]
    assert f"SLURM-job '{first.job}' failed, SLURM status is: 'TIMEOUT'" in grid.failed.said
    assert (first.limit, second.limit) == ("4:00:00", "8:00:00")


def test_a_cancelled_training_resumes_in_another_job(grid: Ended) -> None:
    first, second = grid.jobs(CANCELLED)
    assert first != second
    assert "resuming from step" in log_of(grid, CANCELLED)


def test_a_preempted_training_resumes_in_the_same_job_and_in_another_when_that_is_killed(grid: Ended) -> None:
    first, again, second = grid.jobs(PREEMPTED)
    assert first == again != second
    assert "resuming from step" in log_of(grid, PREEMPTED)


def test_a_failed_job_is_retried_and_leaves_its_log_where_snakemake_says(grid: Ended) -> None:
    killed = grid.jobs(PREEMPTED)[1]
    [line] = [line for line in grid.failed.said.splitlines() if f"SLURM jobid {killed} " in line]
    log = line.split("log: ")[1].rstrip(").")
    assert f"results/slurm_logs/group_round-0-low_magnitude-50_prune_round_retrain/{killed}.log" in log
    assert f"SLURM_JOB_ID={killed}" in Path(log).read_text()


def test_a_job_that_fails_every_time_is_named_with_its_log_and_the_others_are_done(grid: Ended) -> None:
    assert grid.failed.status == 1
    log = f"results/smoke/logs/predict.{BROKEN.removeprefix('seed').replace('/', '.', 1)}.log"
    assert f"log: {log} (check log file" in grid.failed.said  # its group's other job is named too, in any order
    shown = grid.failed.said.split(f"Logfile {log}:")[1].splitlines()[2:4]
    assert any(f"{BROKEN}/weights.safetensors: damaged or truncated" in line for line in shown), shown
    made = {path.relative_to(grid.calm) for path in (grid.calm / RESULTS).rglob("score.*.json")}
    assert {path for path in made if BROKEN not in str(path)} == {
        path for path in made if str(path) in grid.failed.files
    }


def test_a_job_that_fails_leaves_nothing_half_written(grid: Ended) -> None:
    paths = [Path(name) for name in grid.failed.files]
    of_pruning, of_training = {"mask.safetensors", "sparsity.csv", "start.safetensors"}, {"history.csv", "metrics.csv"}
    left = {path.name for path in paths if path.parent == RESULTS / BROKEN}
    assert left - {".resume"} == of_pruning | of_training | {"weights.safetensors"}
    assert not any(path.name.startswith("step") for path in paths if path.parent == RESULTS / BROKEN / ".resume")
    assert not [path for path in paths if path.suffix == ".tmp" or path.match(f"submissions/*/{BROKEN}.json")]

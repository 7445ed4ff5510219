"""The training script, really killed: it goes on, ends in the same bytes, and lets nobody else at its run."""

import multiprocessing
import os
import shutil
import signal
import socket
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from script_runs import run_here
from toys import RECIPE, TINY, changed, random_weights, toy_features, toy_questions

from lxmert_tickets.data import hdf5
from lxmert_tickets.data.features import KIND
from lxmert_tickets.data.questions import save_questions
from lxmert_tickets.errors import TrainingError
from lxmert_tickets.layout import CHECKPOINTS
from lxmert_tickets.layout import RESUME_FOLDER as FOLDER
from lxmert_tickets.model.checkpoints import save_weights
from lxmert_tickets.pruning.mask_files import save_mask
from lxmert_tickets.pruning.masks import keep_random
from lxmert_tickets.pruning.prunable import PAPER, prunable_names
from lxmert_tickets.training import interruption, loop, resume
from lxmert_tickets.training.interruption import resumable

LONG_RUN = changed(RECIPE, epochs=5, hidden_dropout=0.1, attention_dropout=0.1)  # of 40 steps each
PATIENCE_SECONDS = 120
SEEDED = np.random.default_rng(0)
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["pytest", "torch", "h5py", "msgspec", "safetensors.numpy", "snakemake.iocontainers", "tqdm"]
)


def train_here(job: dict[str, Any]) -> None:
    """Run the training script with a checkpoint at every interval, however long it takes to write."""
    resume.LARGEST_SHARE = 1e9
    run_here("train", **job)


def train_and_keep_in(kept: Path, job: dict[str, Any]) -> None:
    """Run the training script as on a disk that does not outlive the job, with checkpoints on one that does."""
    os.environ[CHECKPOINTS] = str(kept)
    train_here(job)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("inputs")
    weights, features = random_weights(), toy_features(16)
    save_weights(folder / "start.safetensors", weights, TINY, {})
    save_mask(folder / "mask.safetensors", keep_random(weights, prunable_names(weights, PAPER), 50, "global", 0), {})
    for name, n in (("train", 320), ("val", 40)):
        save_questions(folder / f"{name}.h5", toy_questions(n, 16, seed=n), {})
    with hdf5.writing(folder / "features.h5", KIND, {}) as file:
        file["features"], file["boxes"], file["size"] = features.features, features.boxes, features.sizes
        file["image_id"] = np.array(features.image_ids, dtype="S")
    return {
        "start": folder / "start.safetensors",
        "mask": folder / "mask.safetensors",
        "train_questions": [folder / "train.h5"],
        "train_features": [folder / "features.h5"],
        "val_questions": [folder / "val.h5"],
        "val_features": [folder / "features.h5"],
    }


def job(folder: Path, inputs: dict[str, Any], minutes: float = 0.03 / 60, **recipe: object) -> dict[str, Any]:
    """Return the job of a training into `folder`, as the script gets it."""
    folder.mkdir(exist_ok=True)
    return {
        "log": str(folder / "log"),
        "input": inputs,
        "output": {"weights": folder / "weights.safetensors", "history": folder / "history.csv"},
        "params": {
            "recipe": msgspec.json.encode(changed(LONG_RUN, **recipe)).decode(),
            "checkpoint_minutes": minutes,
            "jobs_per_gpu": 1,
            "cuda_graphs": True,
            "metrics": str(folder / "metrics.csv"),
            "event_files": "",
        },
        "wildcards": {"seed": "3", "subnetwork": "random", "sparsity": "50"},
    }


def started(given: dict[str, Any]) -> ForkServerProcess:
    process = FORKS.Process(target=train_here, args=(given,))
    process.start()
    return process


def status_of(process: ForkServerProcess) -> int | None:
    process.join(PATIENCE_SECONDS)
    return process.exitcode


def result_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in {".safetensors", ".csv"}}


def checkpoints_in(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step")) for path in (folder / FOLDER).glob("step*.safetensors"))


def wait_for_step(folder: Path, step: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while max(checkpoints_in(folder), default=0) < step:
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, Any]) -> dict[str, bytes]:
    """Return the result of a run that nothing interrupts, and that writes no checkpoint."""
    folder = tmp_path_factory.mktemp("calm")
    assert status_of(started(job(folder, inputs, minutes=600))) == 0
    assert not (folder / FOLDER).exists()
    assert len(result_in(folder)) == 3
    return result_in(folder)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_steps_are_graphs_on_a_gpu_as_the_job_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any], cuda_graphs: bool
) -> None:
    def told(*arguments: object) -> None:
        raise RuntimeError(f"graphs: {arguments[-1]}")

    monkeypatch.setattr(loop, "step_of", told)
    given = job(tmp_path / "run", inputs)
    given["params"]["cuda_graphs"] = cuda_graphs
    with pytest.raises(RuntimeError, match=f"graphs: {cuda_graphs}"):
        run_here("train", **given)


def test_a_run_killed_ten_times_ends_in_the_same_bytes(
    tmp_path: Path, inputs: dict[str, Any], calm: dict[str, bytes]
) -> None:
    folder, n_killed, steps = tmp_path / "run", 0, [0]
    given = job(folder, inputs)
    while True:
        process = started(given)
        if n_killed < 10:
            # At whatever point of a step, a checkpoint or a validation: some time after its first checkpoint.
            wait_for_step(folder, steps[-1] + 1)
            time.sleep(SEEDED.uniform(0, 0.06))
            process.kill()
            n_killed += status_of(process) == -signal.SIGKILL
            steps.append(max(checkpoints_in(folder), default=200))
        if status_of(process) == 0:
            break
    assert n_killed == 10
    assert steps == sorted(steps)
    assert result_in(folder) == calm
    assert not (folder / FOLDER).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_though_none_was_due_and_a_status_that_says_try_again(
    tmp_path: Path, inputs: dict[str, Any], calm: dict[str, bytes], number: signal.Signals
) -> None:
    folder = tmp_path / "run"
    given = job(folder, inputs, minutes=600)
    process = started(given)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (folder / FOLDER / "lock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert process.pid is not None
    os.kill(process.pid, number)
    assert status_of(process) == os.EX_TEMPFAIL
    [step] = checkpoints_in(folder)
    assert "weights.safetensors" not in result_in(folder)
    said = (folder / "log").read_text()
    assert said.count(f"{number.name} came: the run stops after step {step}") == 1
    assert "Traceback" not in said
    assert status_of(started(given)) == 0
    assert result_in(folder) == calm
    assert f"going on from step {step} " in (folder / "log").read_text()


def test_a_run_whose_disk_is_lost_goes_on_from_checkpoints_that_were_kept_elsewhere(
    tmp_path: Path, inputs: dict[str, Any], calm: dict[str, bytes]
) -> None:
    one, other, kept = (tmp_path / disk / "results/x" for disk in ("one", "other", "kept"))
    for folder in (one, other):
        folder.mkdir(parents=True)
    process = FORKS.Process(target=train_and_keep_in, args=(tmp_path / "kept", job(one, inputs)))
    process.start()
    wait_for_step(kept, 5)
    process.kill()
    process.join()
    shutil.rmtree(tmp_path / "one")
    process = FORKS.Process(target=train_and_keep_in, args=(tmp_path / "kept", job(other, inputs)))
    process.start()
    assert status_of(process) == 0
    assert result_in(other) == calm
    assert "going on from step" in (other / "log").read_text()
    assert not (kept / FOLDER).exists()
    assert not (other / FOLDER).exists()


def test_another_recipe_does_not_go_on_from_what_is_there(tmp_path: Path, inputs: dict[str, Any]) -> None:
    folder = tmp_path / "run"
    process = started(job(folder, inputs))
    wait_for_step(folder, 5)
    process.kill()
    process.join()
    short = {"epochs": 1, "learning_rate": 2e-3}
    assert status_of(started(job(folder, inputs, **short))) == 0
    assert status_of(started(job(tmp_path / "alone", inputs, **short))) == 0
    assert result_in(folder) == result_in(tmp_path / "alone")
    said = (folder / "log").read_text()
    assert "is of another run (settings.epochs was 5, is 1; settings.learning_rate was 0.01, is 0.002)" in said


def test_a_second_process_is_refused_and_told_who_has_the_run(
    tmp_path: Path, inputs: dict[str, Any], calm: dict[str, bytes]
) -> None:
    folder = tmp_path / "run"
    given = job(folder, inputs)
    first = started(given)
    wait_for_step(folder, 1)
    assert status_of(started(given)) == 1
    said = (folder / "log").read_text()
    assert f"process {first.pid} on {socket.gethostname()} is training it; expected one process at a time" in said
    assert "Traceback" not in said
    assert status_of(first) == 0
    assert result_in(folder) == calm


def test_a_lock_goes_with_its_holder_and_its_words_do_not_matter(tmp_path: Path) -> None:
    output = tmp_path / "weights.safetensors"
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "lock").write_text("{torn")
    with resumable(output, {}, 10), pytest.raises(TrainingError), resumable(output, {}, 10):
        raise AssertionError
    with resumable(output, {}, 10):
        pass
    assert not list(tmp_path.iterdir())


def test_where_the_disk_has_no_locks_training_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with resumable(tmp_path / "weights.safetensors", {}, 10):
        pass
    assert "cannot be locked (Operation not supported): do not train it twice at once" in caplog.text


def test_a_run_that_fails_keeps_its_checkpoints_and_gives_signals_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    with pytest.raises(TrainingError, match="x: y"), resumable(tmp_path / "weights", {}, 10):
        raise TrainingError("x", "y", "z")
    assert (tmp_path / FOLDER).is_dir()
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before


@pytest.mark.filterwarnings("ignore")  # tensorboard's own
def test_a_run_that_writes_event_files_gives_the_same_bytes(
    tmp_path: Path, inputs: dict[str, Any], calm: dict[str, bytes]
) -> None:
    pytest.importorskip("tensorboard")
    given = job(tmp_path / "run", inputs, minutes=600)
    given["params"]["event_files"] = str(tmp_path / "events")
    assert status_of(started(given)) == 0
    assert result_in(tmp_path / "run") == calm
    assert len(list((tmp_path / "events").iterdir())) == 1

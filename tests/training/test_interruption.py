"""The training script trains what it is told to; killed, it resumes and ends in the same bytes, alone at its run."""

import multiprocessing
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from interrupted_runs import steps_in
from script_runs import PATIENCE_SECONDS, run_here, wait_until
from toys import RECIPE, TINY, changed, random_weights, save_toy_features, toy_questions

from lxmert_tickets.data.questions import save_questions
from lxmert_tickets.errors import TrainingError
from lxmert_tickets.jobs import code_digest as digests
from lxmert_tickets.layout import CHECKPOINTS
from lxmert_tickets.layout import RESUME_FOLDER as FOLDER
from lxmert_tickets.model import checkpoints
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.checkpoints import load_weights, save_weights
from lxmert_tickets.monitoring.pulse import NAME as PULSE
from lxmert_tickets.pruning.mask_files import load_mask, save_mask
from lxmert_tickets.pruning.masks import keep_random
from lxmert_tickets.pruning.prunable import PAPER, prunable_names
from lxmert_tickets.training import interruption, loop, resume
from lxmert_tickets.training.batches import open_vqa_data
from lxmert_tickets.training.history import write_history
from lxmert_tickets.training.interruption import alone_at_run, resumable
from lxmert_tickets.training.loop import train

LONG_RUN = changed(RECIPE, epochs=5, hidden_dropout=0.1, attention_dropout=0.2)  # of 40 steps each
FINISHED = {"finished.json", "finished.weights.safetensors", "finished.history.csv", "finished.metrics.csv"}
SEEDED = np.random.default_rng(0)
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["pytest", "torch", "h5py", "msgspec", "safetensors.numpy", "snakemake.iocontainers", "tqdm"]
)


def train_here(job: dict[str, Any]) -> None:
    """Run the training script with a checkpoint at every interval, however long it takes to write."""
    resume.LARGEST_SHARE = 1e9
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever these tests were started with, `nohup` say
    run_here("train", **job)


def train_and_keep_in(kept: Path, job: dict[str, Any]) -> None:
    """Run the training script as on a disk that does not outlive the job, with checkpoints on one that does."""
    os.environ[CHECKPOINTS] = str(kept)
    train_here(job)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("inputs")
    weights = random_weights()
    save_weights(folder / "start.safetensors", weights, TINY, {})
    save_mask(folder / "mask.safetensors", keep_random(weights, prunable_names(weights, PAPER), 50, "global", 0), {})
    for name, n in (("train", 320), ("val", 40)):
        save_questions(folder / f"{name}.h5", toy_questions(n, 16, seed=n), {})
    save_toy_features(folder / "features.h5", 16)
    return {
        "start": folder / "start.safetensors",
        "mask": folder / "mask.safetensors",
        "train_questions": [folder / "train.h5"],
        "train_features": [folder / "features.h5"],
        "val_questions": [folder / "val.h5"],
        "val_features": [folder / "features.h5"],
    }


def job(folder: Path, inputs: dict[str, Any], minutes: float = 0.03 / 60, **recipe: object) -> dict[str, Any]:
    """Return the job of a training run in `folder`, as the script gets it."""
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


def kept_in(folder: Path) -> set[str]:
    return {path.name for path in (folder / FOLDER).iterdir()}


def checkpoints_in(folder: Path) -> list[int]:
    return steps_in(folder / FOLDER)


def wait_for_step(folder: Path, step: int) -> None:
    wait_until(lambda: max(checkpoints_in(folder), default=0) >= step)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, Any]) -> dict[str, bytes]:
    """Return the result of an uninterrupted run that writes no checkpoint."""
    folder = tmp_path_factory.mktemp("calm")
    assert status_of(started(job(folder, inputs, minutes=600))) == 0
    assert kept_in(folder) == FINISHED
    assert len(result_in(folder)) == 3
    return result_in(folder)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the last digits differ")
def test_the_script_trains_what_its_files_recipe_and_wildcards_say(tmp_path: Path, inputs: dict[str, Any]) -> None:
    run_here("train", **job(tmp_path / "run", inputs, epochs=2))
    recipe, cpu = changed(LONG_RUN, epochs=2), torch.device("cpu")
    dropouts = {"hidden_dropout": recipe.hidden_dropout, "attention_dropout": recipe.attention_dropout}
    data, val = (
        open_vqa_data(inputs[f"{name}_questions"][0], inputs[f"{name}_features"][0], cpu, TINY.vocab_size)
        for name in ("train", "val")
    )
    network = build_network(*load_weights(inputs["start"]), **dropouts)
    trained = train(network, data, val, recipe, seed=3, mask=load_mask(inputs["mask"]))
    write_history(tmp_path / "history.csv", trained.history)
    written, _ = load_weights(tmp_path / "run" / "weights.safetensors")
    assert all(np.array_equal(written[name], tensor) for name, tensor in trained.weights.items())
    assert (tmp_path / "run" / "history.csv").read_bytes() == (tmp_path / "history.csv").read_bytes()


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_the_job_decides_whether_steps_are_cuda_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any], cuda_graphs: bool
) -> None:
    def told(*arguments: object) -> None:
        raise RuntimeError(f"graphs: {arguments[-1]}")

    monkeypatch.setattr(loop, "step_of", told)
    given = job(tmp_path / "run", inputs)
    given["params"]["cuda_graphs"] = cuda_graphs
    with pytest.raises(RuntimeError, match=f"graphs: {cuda_graphs}"):
        run_here("train", **given)


@pytest.mark.usefixtures("small_batches")
def test_a_run_keeps_its_pulse_file_until_its_weights_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any]
) -> None:
    def written(*content: Any) -> None:
        there.update(kept_in(tmp_path / "run"))
        save_weights(*content)

    there: set[str] = set()
    monkeypatch.setattr(checkpoints, "save_weights", written)
    run_here("train", **job(tmp_path / "run", inputs, minutes=600, epochs=1))
    assert PULSE in there
    assert kept_in(tmp_path / "run") == FINISHED


def test_a_run_killed_ten_times_ends_in_the_same_bytes(
    tmp_path: Path, inputs: dict[str, Any], calm: dict[str, bytes]
) -> None:
    folder, n_killed, steps = tmp_path / "run", 0, [0]
    given = job(folder, inputs)
    while True:
        process = started(given)
        if n_killed < 10:
            # Some time after its first checkpoint: at any point of a step, a checkpoint or a validation.
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
    assert kept_in(folder) == FINISHED


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_a_signal_writes_a_checkpoint_before_one_is_due_and_exits_with_try_again(
    tmp_path: Path, inputs: dict[str, Any], calm: dict[str, bytes], number: signal.Signals
) -> None:
    folder = tmp_path / "run"
    given = job(folder, inputs, minutes=600)
    process = started(given)
    wait_until((folder / FOLDER / PULSE).exists)
    assert process.pid is not None
    os.kill(process.pid, number)
    assert status_of(process) == os.EX_TEMPFAIL
    [step] = checkpoints_in(folder)
    assert "weights.safetensors" not in result_in(folder)
    said = (folder / "log").read_text()
    assert said.count(f"received {number.name}: the run stops after step {step}") == 1
    assert "Traceback" not in said
    assert status_of(started(given)) == 0
    assert result_in(folder) == calm
    assert f"resuming from step {step} " in (folder / "log").read_text()


def test_a_run_whose_disk_is_lost_resumes_from_checkpoints_kept_elsewhere(
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
    assert "resuming from step" in (other / "log").read_text()
    assert kept_in(kept) == FINISHED
    assert not (other / FOLDER).exists()


def test_a_run_with_another_recipe_does_not_resume_from_existing_checkpoints(
    tmp_path: Path, inputs: dict[str, Any]
) -> None:
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


@pytest.mark.usefixtures("small_batches")
def test_checkpoints_are_of_the_code_that_a_job_started_with_whatever_is_edited_while_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any]
) -> None:
    class Found(Exception):  # noqa: N818 (nothing is wrong)
        pass

    @contextmanager
    def while_others_edit(weights: str) -> Iterator[None]:
        monkeypatch.setattr(digests, "_digest", lambda source: "edited")
        yield

    def told(outputs: list[str], identity: dict[str, Any], minutes: float) -> None:
        raise Found(identity["code"])

    monkeypatch.setattr(interruption, "alone_at_run", while_others_edit)
    monkeypatch.setattr(interruption, "resumable", told)
    at_start = digests.code_digest(digests.SCRIPTS / "train.py")
    with pytest.raises(Found, match=at_start):
        run_here("train", **job(tmp_path / "run", inputs))
    assert digests.code_digest(digests.SCRIPTS / "train.py") != at_start


def as_snakemake_deletes_it(folder: Path) -> None:
    for name in ("weights.safetensors", "history.csv"):
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize("ending", ["of itself", "by a signal"])
def test_a_second_process_waits_for_the_first_and_nothing_is_trained_twice(
    tmp_path: Path, inputs: dict[str, Any], calm: dict[str, bytes], ending: str
) -> None:
    folder = tmp_path / "run"
    given = job(folder, inputs)
    first = started(given)
    wait_for_step(folder, 1)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGSTOP)  # or it may end before the second has begun
    second = started(given | {"log": str(folder / "second")})
    wait_until(lambda: "is training it" in said_in(folder / "second"))
    assert f"process {first.pid} on {socket.gethostname()} is training it: waiting until it ends" in said_in(
        folder / "second"
    )
    if ending == "by a signal":
        first.terminate()
    os.kill(first.pid, signal.SIGCONT)
    assert status_of(first) == (os.EX_TEMPFAIL if ending == "by a signal" else 0)
    assert status_of(second) == 0
    assert result_in(folder) == calm
    told = "resuming from step" if ending == "by a signal" else "already trained, by a process that outlived"
    assert told in said_in(folder / "second")
    assert "Traceback" not in said_in(folder / "second")


def test_a_result_deleted_because_snakemake_missed_the_end_of_its_job_is_restored(
    tmp_path: Path, inputs: dict[str, Any], calm: dict[str, bytes]
) -> None:
    folder = tmp_path / "run"
    assert status_of(started(job(folder, inputs))) == 0
    as_snakemake_deletes_it(folder)
    again = time.time()
    os.utime(inputs["start"])  # rewritten with the same bytes
    assert status_of(started(job(folder, inputs, minutes=1) | {"log": str(folder / "again")})) == 0
    assert result_in(folder) == calm
    assert all((folder / name).stat().st_mtime >= again for name in ("weights.safetensors", "history.csv"))
    assert "already trained, by a process that outlived its Snakemake" in said_in(folder / "again")
    assert "epoch" not in said_in(folder / "again")
    assert kept_in(folder) == FINISHED  # Snakemake may be killed again

    as_snakemake_deletes_it(folder)
    short = {"epochs": 1, "learning_rate": 2e-3}
    assert status_of(started(job(folder, inputs, **short) | {"log": str(folder / "other")})) == 0
    assert "epoch 1" in said_in(folder / "other")
    assert result_in(folder)["weights.safetensors"] != calm["weights.safetensors"]


def said_in(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def test_a_restored_result_has_its_own_curve_after_another_recipe_was_tried(
    tmp_path: Path, inputs: dict[str, Any], calm: dict[str, bytes]
) -> None:
    folder = tmp_path / "run"
    assert status_of(started(job(folder, inputs, minutes=600))) == 0
    as_snakemake_deletes_it(folder)
    other = started(job(folder, inputs, learning_rate=2e-3))
    wait_until(
        lambda: (folder / "metrics.csv").exists() and (folder / "metrics.csv").read_bytes() != calm["metrics.csv"]
    )
    other.kill()
    other.join()
    torn = folder / ".metrics.csv.1.tmp"  # as if the kill had come while it was written
    torn.mkdir()
    assert status_of(started(job(folder, inputs))) == 0
    assert "already trained" in said_in(folder / "log")
    assert result_in(folder) == calm
    assert not torn.exists()


def test_on_a_disk_without_locks_training_continues_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with alone_at_run(tmp_path / "weights.safetensors"):
        pass
    assert (
        "cannot be locked (Operation not supported): make sure that no second process tries to train it" in caplog.text
    )


def test_a_run_told_to_ignore_a_closed_terminal_still_ignores_it(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` leaves it
    try:
        with resumable([tmp_path / "weights"], {}, 10):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
            (tmp_path / "weights").touch()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_that_fails_keeps_its_checkpoints_and_restores_signal_handlers(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "step0000000007.safetensors").touch()
    with pytest.raises(TrainingError, match="x: y"), resumable([tmp_path / "weights"], {}, 10):
        raise TrainingError("x", "y", "z")
    assert checkpoints_in(tmp_path) == [7]
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before


def test_a_run_whose_results_vanish_before_they_are_saved_keeps_its_checkpoints(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    with alone_at_run(weights), resumable([weights], {}, 10):
        (tmp_path / FOLDER / "step0000000007.safetensors").touch()  # and no weights: Snakemake has just deleted them
    assert checkpoints_in(tmp_path) == [7]


def test_the_checkpoint_interval_is_in_minutes(tmp_path: Path) -> None:
    with resumable([tmp_path / "weights"], {}, 10) as checkpoints:
        assert checkpoints is not None
        assert checkpoints._interval == 600


def test_a_result_is_restored_on_another_kind_of_processor_too(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    with alone_at_run(weights), resumable([weights], {resume.ARITHMETIC: "AVX2"}, 10):
        weights.write_text("trained")
    weights.unlink()
    with alone_at_run(weights), resumable([weights], {resume.ARITHMETIC: "AVX512"}, 10) as checkpoints:
        assert checkpoints is None
        assert weights.read_text() == "trained"


def test_temporary_files_of_killed_writers_are_removed_when_a_run_resumes(tmp_path: Path) -> None:
    weights, other = tmp_path / "weights.safetensors", tmp_path / ".mask.safetensors.1.tmp"
    (tmp_path / FOLDER).mkdir()
    torn = [tmp_path / FOLDER / ".step0000000007.safetensors.2.tmp", tmp_path / ".weights.safetensors.3.tmp"]
    for folder in (*torn, other):
        folder.mkdir()
        (folder / ".tmpXyZ").touch()
    (tmp_path / FOLDER / ".progress.json.4.tmp").touch()
    with alone_at_run(weights), resumable([weights], {}, 10):
        assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["lock"]
        assert not torn[1].exists()
        assert other.exists()  # another job may be writing it


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

"""The state of a network follows from the files that exist: made-up folders, one state after another."""

import errno
import fcntl
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from lxmert_tickets.configuration.experiment import Experiment
from lxmert_tickets.configuration.files import read_configuration
from lxmert_tickets.configuration.reading import read_experiment
from lxmert_tickets.configuration.sources import files_of
from lxmert_tickets.jobs.locks import alone
from lxmert_tickets.layout import Layout, lock_of_training
from lxmert_tickets.monitoring.grid import Clock, Status, statuses
from lxmert_tickets.monitoring.pulse import STALE_SECONDS, Pulse, write_pulse
from lxmert_tickets.report.names import shown_files

PROJECT = Path(__file__).resolve().parents[2]
NOW = 10_000.0
MODEL = "low_magnitude/s50"
GONE = 2**22 + 1  # beyond the largest process id
ERROR = "2026-01-02 03:04:05 ERROR seed 0, step 6 of 16: the loss is nan; expected a finite loss.\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def experiment(**changes: Any) -> Experiment:
    files = [PROJECT / "configs" / "smoke.yaml"]
    return read_experiment(read_configuration(PROJECT, files) | changes)


def found(
    given: Experiment | None = None, host: str = "elsewhere", now: float = NOW
) -> dict[tuple[str, int | None], Status]:
    given = given or experiment()
    paths = Layout(f"results/{given.experiment}")
    return {(s.name, s.seed): s for s in statuses(given, paths, files_of(given, paths), Clock(now, host))}


def of_model(host: str = "elsewhere", now: float = NOW) -> Status:
    return found(host=host, now=now)[MODEL, 0]


def put(path: str, content: str = "", age: float | None = None) -> Path:
    file = Path("results/smoke") / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    if age is not None:
        os.utime(file, (NOW - age, NOW - age))
    return file


def trained() -> None:
    for name in ("mask.safetensors", "sparsity.csv", "weights.safetensors", "history.csv"):
        put(f"seed0/{MODEL}/{name}")


def scored() -> None:
    for split in ("val", "test-dev", "test-std"):
        put(f"seed0/{MODEL}/predictions.{split}.parquet")
        put(f"seed0/{MODEL}/score.{split}.json")
        if split != "val":
            put(f"submissions/{split}/seed0/{MODEL}.json")


def data_made(*splits: str) -> None:
    for split in splits:
        put(f"data/{split}/features.h5")
        put(f"data/{split}/questions.h5")


def shown() -> list[Path]:
    """Make all tables and figures, and return them."""
    paths = shown_files(experiment(), Layout("results/smoke"))
    return [put(str(Path(path).relative_to("results/smoke"))) for path in paths]


def lock(words: str, age: float | None = None) -> None:
    put(f"seed0/{MODEL}/.resume/lock", words, age)


def pulse(age: float = 5.0, process: int | None = None, host: str = "node7") -> None:
    (file := put(f"seed0/{MODEL}/.resume/progress.json")).unlink()
    write_pulse(file, Pulse(120, 400, 2.0, {"train_loss": 0.5}, NOW - age, 10.0, process or os.getpid(), host))


def test_a_grid_without_any_files_is_waiting(folder: Path) -> None:
    grid = found()
    assert {status.state for status in grid.values()} == {"waiting"}
    assert {seed for name, seed in grid if name == "dense"} == {0, 1}
    assert ("low_magnitude/s75", 1) in grid


def test_a_folder_that_may_not_be_read_is_an_error_and_not_waiting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError, match="results/smoke"):
        found()


def test_a_network_is_done_when_it_is_trained_and_scored(folder: Path) -> None:
    trained()
    assert of_model().state == "trained"
    scored()
    assert of_model().state == "done"
    Path(f"results/smoke/submissions/test-std/seed0/{MODEL}.json").unlink()
    assert of_model().state == "trained"


@pytest.mark.parametrize("split", ["val", "test-dev"])
def test_deleted_predictions_are_not_missed(folder: Path, split: str) -> None:
    """Snakemake makes them again only when a job needs them; it also deletes those of a job that fails."""
    trained()
    scored()
    Path(f"results/smoke/seed0/{MODEL}/predictions.{split}.parquet").unlink()
    assert of_model().state == "done"
    put(f"logs/predict.0.{MODEL}.log", ERROR)
    assert of_model().state == "failed"


def test_a_network_is_running_while_its_run_has_a_fresh_pulse(folder: Path) -> None:
    pulse()
    status = of_model()
    assert status.state == "running"
    assert status.pulse is not None
    assert status.pulse.seconds_left(NOW) == (400 - 120) / 2 - 5


def test_a_run_with_a_stale_pulse_or_no_process_is_stopped_and_says_where_it_resumes(folder: Path) -> None:
    pulse(age=STALE_SECONDS + 1)
    assert of_model().state == "stopped"
    assert "starts over" in of_model().note
    put(f"seed0/{MODEL}/.resume/step0000000100.0123abcd.safetensors", age=10)
    put(f"seed0/{MODEL}/.resume/step0000000075.0123abcd.safetensors", age=20)
    put(f"seed0/{MODEL}/.resume/step0000000400.89abcdef.safetensors", age=30)  # of an earlier configuration
    assert "node7" in of_model().note
    assert "resumes from step 100 " in of_model().note
    pulse(process=2**22 + 1)
    assert of_model("node7").state == "stopped"
    assert of_model("node8").state == "running"


def test_a_run_that_outlived_snakemake_says_that_its_result_will_be_used(folder: Path) -> None:
    put(f"seed0/{MODEL}/.resume/finished.json", "{}")
    assert of_model().state == "stopped"
    assert of_model().note == "trained after Snakemake had died; used when its job starts again"
    put(f"seed0/{MODEL}/.resume/finished.json", "{}", age=60)  # of an earlier configuration
    put(f"seed0/{MODEL}/.resume/step0000000033.0123abcd.safetensors", age=50)
    assert of_model().note == "resumes from step 33 when its job starts again"


def test_a_run_that_ended_on_sigterm_is_stopped(folder: Path) -> None:
    lock("process 7 on node7", age=20)
    put(f"seed0/{MODEL}/.resume/step0000000042.safetensors", age=10)
    put("logs/retrain.0.low_magnitude.50.log", "2026-01-02 03:04:05 WARNING received SIGTERM: the run stops\n")
    assert of_model().state == "stopped"
    assert of_model().note == "resumes from step 42 when its job starts again"


@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_run_whose_lock_is_held_by_a_local_process_is_running_before_its_first_pulse(
    folder: Path, checkpoint: bool
) -> None:
    if checkpoint:
        put(f"seed0/{MODEL}/.resume/step0000000042.safetensors")
    here = socket.gethostname()
    with alone(lock_of_training(f"results/smoke/seed0/{MODEL}/weights.safetensors"), "it", "train it"):
        status = of_model(here)
        assert (status.state, status.pulse) == ("running", None)
        assert status.note == f"starting, waiting for a GPU, or ending, process {os.getpid()} on {here}"
        put("logs/retrain.0.low_magnitude.50.log", ERROR)
        assert of_model(here).state == "failed"  # its process is about to end


def test_pretraining_too_is_running_before_its_first_pulse(folder: Path) -> None:
    with alone(lock_of_training("results/smoke/pretrained/weights.safetensors"), "it", "train it"):
        assert found(host=socket.gethostname())["pretrained", None].state == "running"


def test_a_run_with_a_stale_pulse_but_a_live_process_says_how_long_it_has_been_silent(folder: Path) -> None:
    lock(f"process {os.getpid()} on node7")
    pulse(age=1500)
    status = of_model("node7")
    assert status.state == "running"
    assert status.note == f"silent for 25 min, at step 120 of 400, process {os.getpid()} on node7"


@pytest.mark.parametrize(("process", "host"), [(GONE, "node7"), (None, "node8"), (GONE, "node8")])
def test_a_stale_pulse_of_another_process_is_not_attributed_to_the_holder_of_the_lock(
    folder: Path, process: int | None, host: str
) -> None:
    lock(f"process {os.getpid()} on node7")
    pulse(1500, process, host)
    assert of_model("node7").note == f"starting, waiting for a GPU, or ending, process {os.getpid()} on node7"


def test_a_lock_whose_process_has_ended_on_this_machine_is_held_by_nobody(folder: Path) -> None:
    lock(f"process {GONE} on node7", age=10)
    assert of_model("node7").state == "stopped"
    assert of_model("node7").note == "starts over when its job starts again"
    lock(f"process {os.getpid()} on node7", age=10)  # the id was reused: this process began after NOW
    assert of_model("node7").state == "stopped"


def test_a_lock_of_another_machine_is_trusted_for_as_long_as_a_pulse_and_then_doubted(folder: Path) -> None:
    lock(f"process {GONE} on node7", age=STALE_SECONDS - 1)
    assert of_model("node8").state == "running"
    assert of_model("node8").note == f"starting, waiting for a GPU, or ending, process {GONE} on node7"
    lock(f"process {GONE} on node7", age=STALE_SECONDS + 1)
    for checkpoint in (False, True):  # of an earlier run
        if checkpoint:
            put(f"seed0/{MODEL}/.resume/step0000000042.safetensors", age=STALE_SECONDS + 2)
        assert of_model("node8").state == "stopped"
        assert of_model("node8").note == f"process {GONE} on node7 is waiting for a GPU, or has died"


def test_a_live_process_of_this_machine_is_not_doubted_however_long_it_waits(folder: Path) -> None:
    lock(f"process {os.getpid()} on node7")
    later = time.time() + 10 * STALE_SECONDS
    assert [of_model(host, later).state for host in ("node7", "node8")] == ["running", "stopped"]


def test_a_file_removed_while_its_folder_is_read_is_no_error(folder: Path) -> None:
    lock(f"process {GONE} on node7", age=10)
    Path(f"results/smoke/seed0/{MODEL}/.resume/step0000000042.safetensors").symlink_to("removed")
    assert of_model("node8").state == "running"


@pytest.mark.parametrize("words", ["", "{torn", "process 0 on node7", f"process {10**30} on node7", "process 7 on "])
def test_a_lock_with_garbled_content_is_held_by_nobody(folder: Path, words: str) -> None:
    lock(words)
    assert of_model("node7").note == "starts over when its job starts again"


def test_reading_the_state_of_a_grid_changes_no_file_and_takes_no_lock(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock(f"process {os.getpid()} on node7")
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)

    def files() -> dict[Path, tuple[int, int, int]]:
        return {path: (s.st_ino, s.st_size, s.st_mtime_ns) for path in folder.rglob("*") for s in [path.stat()]}

    def no_lock(*_: object) -> None:
        raise AssertionError

    there = files()
    monkeypatch.setattr(fcntl, "flock", no_lock)
    assert of_model("node7").state == "running"
    assert files() == there


@pytest.mark.parametrize("log", ["retrain.0.low_magnitude.50.log", "prune_round.0.low_magnitude.50.log"])
def test_a_failed_job_shows_its_error_and_its_log(folder: Path, log: str) -> None:
    put(f"logs/{log}", "2026-01-02 03:04:01 INFO seed 0: step 5 of 16\n" + ERROR)
    put(f"seed0/{MODEL}/.resume/lock")
    status = of_model()
    assert status.state == "failed"
    assert status.note == "seed 0, step 6 of 16: the loss is nan; expected a finite loss."
    assert status.log == f"results/smoke/logs/{log}"
    assert found()[MODEL, 1].state == "waiting"


@pytest.mark.parametrize(
    ("name", "log"),
    [
        ("dense", "finetune.0"),
        ("high_magnitude/s50", "prune_complement.0.high_magnitude.50"),
        ("random/s50", "prune_random.0.random.50"),
        ("random/s50", "retrain.0.random.50"),
    ],
)
def test_each_kind_of_network_has_failed_when_a_job_of_its_own_rules_has(folder: Path, name: str, log: str) -> None:
    put(f"logs/{log}.log", "2026-01-02 03:04:05 ERROR no luck\n")
    failed = {(name, seed) for (name, seed), status in found().items() if status.state == "failed"}
    assert failed == {(name, 0)}


def test_a_job_that_was_restarted_has_not_failed(folder: Path) -> None:
    put("logs/retrain.0.low_magnitude.50.log", ERROR)
    pulse()
    assert of_model().state == "running"
    trained()
    scored()
    assert of_model().state == "done"


@pytest.mark.parametrize("name", ["mask.safetensors", "weights.safetensors"])
def test_a_network_without_its_mask_is_not_done(folder: Path, name: str) -> None:
    trained()
    scored()
    Path(f"results/smoke/seed0/{MODEL}/{name}").unlink()
    assert of_model().state == "waiting"


@pytest.mark.parametrize("log", ["", "Killed\n", ERROR + "2026-01-02 03:05:05 INFO going on\n"])
def test_a_log_that_does_not_end_with_an_error_is_no_failure(folder: Path, log: str) -> None:
    put("logs/retrain.0.low_magnitude.50.log", log)
    assert of_model().state == "waiting"


@pytest.mark.parametrize("before", ["é" * 9000, "é" * 9000 + "x"])  # wherever in a letter reading begins
def test_the_error_at_the_end_of_a_long_log_is_found(folder: Path, before: str) -> None:
    put("logs/retrain.0.low_magnitude.50.log", f"{before}\n{ERROR}")
    assert of_model().note == "seed 0, step 6 of 16: the loss is nan; expected a finite loss."


def test_a_trained_network_whose_score_failed_has_failed(folder: Path) -> None:
    trained()
    put(f"logs/score.0.{MODEL}.log", ERROR)
    assert of_model().state == "failed"


def test_the_states_of_data_pretraining_and_initial_weights_are_found_too(folder: Path) -> None:
    put("pretrained/weights.safetensors")
    put("seed1/initial.safetensors")
    put("logs/convert_features.val.log", ERROR)
    grid = found()
    assert grid["pretrained", None].state == "done"
    assert (grid["initial", 0].state, grid["initial", 1].state) == ("waiting", "done")
    assert grid["data", None].state == "failed"
    data_made("train", "val", "test-dev", "test-std", "pretrain")
    assert found()["data", None].state == "done"


@pytest.mark.parametrize(
    ("log", "failed"),
    [
        ("pretrain", ("pretrained", None)),
        ("import_weights", ("pretrained", None)),
        ("snapshot_initial_weights.0", ("initial", 0)),
        ("draw_sparsity", ("tables, figures", None)),
    ],
)
def test_what_failed_after_the_data_is_no_failure_of_the_data(
    folder: Path, log: str, failed: tuple[str, int | None]
) -> None:
    put(f"logs/{log}.log", ERROR)
    assert [key for key, status in found().items() if status.state == "failed"] == [failed]


@pytest.mark.parametrize("rule", ["draw_images", "extract_features", "convert_features", "encode_questions"])
def test_data_is_not_done_without_what_only_pretraining_needs(folder: Path, rule: str) -> None:
    data_made("train", "val", "test-dev", "test-std")
    assert found()["data", None].state == "waiting"
    put(f"logs/{rule}.pretrain.log", ERROR)
    grid = found()
    assert grid["data", None].state == "failed"
    assert grid["data", None].log == f"results/smoke/logs/{rule}.pretrain.log"
    assert grid["tables, figures", None].state == "waiting"


def test_tables_and_figures_are_done_when_all_of_them_exist(folder: Path) -> None:
    made = shown()
    assert found()["tables, figures", None].state == "done"
    for path in made:
        path.unlink()
        assert found()["tables, figures", None].state == "waiting", path
        path.touch()


@pytest.mark.parametrize(
    ("rule", "missing"),
    [
        ("draw_sparsity", "figures/sparsity.svg"), ("draw_contact_sheet", "figures/contact_sheet.pdf"),
        ("make_table", "tables/table1.tex"), ("show_examples", "figures/examples.html"),
        ("show_configuration", "configuration.html"), ("show_run_times", "tables/run_times.html"),
    ],
)  # fmt: skip
def test_one_failed_table_or_figure_is_a_failure_though_the_others_exist(folder: Path, rule: str, missing: str) -> None:
    shown()
    Path("results/smoke", missing).unlink()
    put(f"logs/{rule}.log", ERROR)
    assert found()["tables, figures", None].state == "failed"
    assert found()["tables, figures", None].log == f"results/smoke/logs/{rule}.log"

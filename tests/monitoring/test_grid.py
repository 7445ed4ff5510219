"""What a network is at is told by the files there are: made-up folders, one state after another."""

import os
from pathlib import Path
from typing import Any

import pytest

from lxmert_tickets.configuration import read_experiment
from lxmert_tickets.configuration_files import read_configuration
from lxmert_tickets.experiment import Experiment
from lxmert_tickets.layout import Layout
from lxmert_tickets.monitoring.grid import Clock, Status, statuses
from lxmert_tickets.monitoring.pulse import STALE_SECONDS, Pulse, write_pulse
from lxmert_tickets.sources import files_of

PROJECT = Path(__file__).resolve().parents[2]
NOW = 10_000.0
MODEL = "low_magnitude/s50"
ERROR = "2026-01-02 03:04:05 ERROR seed 0, step 6 of 16: the loss is nan; expected a finite loss.\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def experiment(**changes: Any) -> Experiment:
    files = [PROJECT / "configs" / "smoke.yaml"]
    return read_experiment(read_configuration(PROJECT, files) | changes)


def found(given: Experiment | None = None, host: str = "elsewhere") -> dict[tuple[str, int | None], Status]:
    given = given or experiment()
    paths = Layout(f"results/{given.experiment}")
    return {(s.name, s.seed): s for s in statuses(given, paths, files_of(given, paths), Clock(NOW, host))}


def of_model(host: str = "elsewhere") -> Status:
    return found(host=host)[MODEL, 0]


def put(path: str, content: str = "") -> Path:
    file = Path("results/smoke") / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
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


def pulse(age: float = 5.0, process: int | None = None) -> None:
    (file := put(f"seed0/{MODEL}/.resume/progress.json")).unlink()
    write_pulse(file, Pulse(120, 400, 2.0, {"train_loss": 0.5}, NOW - age, 10.0, process or os.getpid(), "node7"))


def test_nothing_there_is_a_grid_that_waits(folder: Path) -> None:
    grid = found()
    assert {status.state for status in grid.values()} == {"waiting"}
    assert {seed for name, seed in grid if name == "dense"} == {0, 1}
    assert ("low_magnitude/s75", 1) in grid


def test_a_network_is_done_when_it_is_trained_and_scored(folder: Path) -> None:
    trained()
    assert of_model().state == "trained"
    scored()
    assert of_model().state == "done"
    Path(f"results/smoke/submissions/test-std/seed0/{MODEL}.json").unlink()
    assert of_model().state == "trained"


def test_a_network_is_running_while_its_run_gives_word(folder: Path) -> None:
    pulse()
    status = of_model()
    assert status.state == "running"
    assert status.pulse is not None
    assert status.pulse.seconds_left(NOW) == (400 - 120) / 2 - 5


def test_a_run_that_is_silent_or_gone_is_stopped_and_tells_where_it_goes_on(folder: Path) -> None:
    pulse(age=STALE_SECONDS + 1)
    assert of_model().state == "stopped"
    assert "begins anew" in of_model().note
    put(f"seed0/{MODEL}/.resume/step0000000100.safetensors")
    put(f"seed0/{MODEL}/.resume/step0000000075.safetensors")
    assert "node7" in of_model().note
    assert "goes on from step 100 " in of_model().note
    pulse(process=2**22 + 1)
    assert of_model("node7").state == "stopped"
    assert of_model("node8").state == "running"


def test_a_run_that_ended_when_snakemake_was_gone_tells_that_its_result_will_be_used(folder: Path) -> None:
    put(f"seed0/{MODEL}/.resume/finished.json", "{}")
    assert of_model().state == "stopped"
    assert of_model().note == "trained when Snakemake was gone; used when its job starts again"


def test_a_run_that_was_asked_to_end_is_stopped(folder: Path) -> None:
    put(f"seed0/{MODEL}/.resume/lock", "process 7 on node7")
    put(f"seed0/{MODEL}/.resume/step0000000042.safetensors")
    put("logs/retrain.0.low_magnitude.50.log", "2026-01-02 03:04:05 WARNING SIGTERM came: the run stops\n")
    assert of_model().state == "stopped"


@pytest.mark.parametrize("log", ["retrain.0.low_magnitude.50.log", "prune_round.0.low_magnitude.50.log"])
def test_a_job_that_failed_tells_its_error_and_its_log(folder: Path, log: str) -> None:
    put(f"logs/{log}", "2026-01-02 03:04:01 INFO seed 0: step 5 of 16\n" + ERROR)
    put(f"seed0/{MODEL}/.resume/lock")
    status = of_model()
    assert status.state == "failed"
    assert status.note == "seed 0, step 6 of 16: the loss is nan; expected a finite loss."
    assert status.log == f"results/smoke/logs/{log}"
    assert found()[MODEL, 1].state == "waiting"


def test_a_job_that_was_started_again_has_not_failed(folder: Path) -> None:
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


def test_an_error_that_is_not_the_end_of_a_log_is_none(folder: Path) -> None:
    put("logs/retrain.0.low_magnitude.50.log", ERROR + "2026-01-02 03:05:05 INFO going on\n")
    assert of_model().state == "waiting"


def test_a_trained_network_whose_score_failed_has_failed(folder: Path) -> None:
    trained()
    put(f"logs/score.0.{MODEL}.log", ERROR)
    assert of_model().state == "failed"


def test_what_all_networks_need_is_told_too(folder: Path) -> None:
    put("pretrained/weights.safetensors")
    put("seed1/initial.safetensors")
    put("logs/convert_features.val.log", ERROR)
    grid = found()
    assert grid["pretrained", None].state == "done"
    assert (grid["initial", 0].state, grid["initial", 1].state) == ("waiting", "done")
    assert grid["data", None].state == "failed"
    for split in ("train", "val", "test-dev", "test-std"):
        put(f"data/{split}/features.h5")
        put(f"data/{split}/questions.h5")
    assert found()["data", None].state == "done"

"""The terminal shows the grid where it fits, sums it up where it does not, and always shows what went wrong."""

import io
import json
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from lxmert_tickets.cli import main
from lxmert_tickets.monitoring.grid import State, Status
from lxmert_tickets.monitoring.pulse import Pulse, write_pulse
from lxmert_tickets.monitoring.status_table import print_statuses

PROJECT = Path(__file__).resolve().parents[2]
RUNNING = Pulse(120, 480, 2.0, {"train_loss": 0.51239, "learning_rate": 5e-5}, 1000.0, 10.0, 12, "node7")
GRID = [
    Status("data", None, "done"),
    Status("pretrained", None, "done"),
    Status("initial", 0, "done"),
    Status("initial", 1, "waiting"),
    Status("dense", 0, "done"),
    Status("low_magnitude/s50", 0, "running", pulse=RUNNING),
    Status("dense", 1, "failed", "the loss is [bold]nan", "results/x/logs/finetune.1.log"),
    Status("low_magnitude/s50", 1, "waiting"),
    Status("tables, figures", None, "waiting"),
]


def shown(found: Sequence[Status], width: int = 100, everything: bool = False, terminal: bool = False) -> str:
    color = "256" if terminal else None
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=color)
    print_statuses("x", found, 1000.0, console, everything)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_grid_has_a_cell_per_network_and_a_line_for_each_that_runs_or_has_failed() -> None:
    text = shown(GRID)
    assert text.startswith("x: 4 networks, 1 done, 1 running, 1 failed, 1 waiting\n")
    cells = ([cell.strip() for cell in line.split("│")[1:4]] for line in text.splitlines() if "│" in line)
    rows = {name: states for name, *states in cells}
    assert rows["dense"] == ["done", "failed"]
    assert rows["low_magnitude/s50"] == ["25 %, 3 min 00 s", "waiting"]
    assert rows["initial weights"] == ["done", "waiting"]
    assert [rows[name] for name in ("data", "pretrained weights", "tables, figures")] == [
        ["done", ""], ["done", ""], ["waiting", ""]
    ]  # fmt: skip
    assert (
        "running  seed 0 low_magnitude/s50: step 120 of 480 (25 %), loss 0.5124, 2.0 steps a second, "
        "3 min 00 s left, process 12 on node7\n"
    ) in text
    assert "failed   seed 1 dense: the loss is [bold]nan (results/x/logs/finetune.1.log)\n" in text


def test_a_run_whose_speed_is_not_known_yet_is_shown_without_the_time_left() -> None:
    text = shown([Status("dense", 0, "running", pulse=replace(RUNNING, steps_per_second=0.0))])
    assert "│ dense              │ 25 %   │\n" in text
    assert "running  seed 0 dense: step 120 of 480 (25 %), loss 0.5124, process 12 on node7\n" in text


def test_every_state_is_counted_and_what_is_neither_done_nor_waiting_has_a_line() -> None:
    found = [Status("dense", seed, state, f"why {seed}") for seed, state in enumerate(get_args(State))]
    text = shown(found, width=120)
    assert text.startswith("x: 6 networks, 1 done, 1 running, 1 trained, 1 stopped, 1 failed, 1 waiting\n")
    told = [line for line in text.splitlines() if "why" in line]
    assert sorted(told) == sorted(
        f"{state:8s} seed {seed} dense: why {seed}"
        for seed, state in enumerate(get_args(State)) if state not in {"done", "waiting"}
    )  # fmt: skip


def test_colour_is_used_only_on_terminals() -> None:
    assert "\x1b[" not in shown(GRID)
    assert "\x1b[" in shown(GRID, terminal=True)


@pytest.mark.parametrize("width", [20, 40, 60])
def test_a_narrow_terminal_hides_no_error(width: int) -> None:
    text = shown(GRID, width, terminal=False)
    assert "finetune.1.log" in text


def large() -> list[Status]:
    names = [f"random/s{sparsity}" for sparsity in range(200)]
    failed = [Status("dense", seed, "failed", f"why {seed}", f"finetune.{seed}.log") for seed in range(30)]
    return [*(Status(name, seed, "done") for seed in range(5) for name in names), *failed]


def test_a_large_grid_is_summarised_by_subnetwork_and_the_first_failures_are_shown() -> None:
    text = shown(large(), width=80)
    assert "random/s7" not in text
    [row] = [line for line in text.splitlines() if line.startswith("│ random")]
    assert [cell.strip() for cell in row.split("│")[2:-1]] == ["1000", ""]  # done, failed: no other state
    assert text.count("why") == 10
    assert "failed   seed 9 dense: why 9 (finetune.9.log)\n" in text
    assert "and 20 more failed (--all)" in text
    assert len(text.splitlines()) < 30


def test_a_grid_of_many_rows_is_summarised_however_wide_the_terminal() -> None:
    assert "random/s7" not in shown(large(), width=1000)


def test_a_narrow_terminal_truncates_no_name_and_no_number() -> None:
    assert shown(large(), width=20).count("│") == shown(large(), width=80).count("│")
    assert "random" in shown(large(), width=20)
    assert "1000 │" in shown(large(), width=20)
    text = shown([replace(status, name=100 * "a" + "/s50") for status in large()], width=20)
    assert text.count("a") > 100
    assert "…" not in text


def test_networks_with_the_same_note_share_a_line() -> None:
    full = [replace(status, note="no space left") if status.note and status.seed != 3 else status for status in large()]
    text = shown(full, width=80)
    assert "failed   seed 0 dense and 28 more: no space left (finetune.0.log)\n" in text
    assert "failed   seed 3 dense: why 3 (finetune.3.log)\n" in text
    assert "--all" not in text
    assert shown(full, everything=True).count("no space left") == 29


def test_the_option_all_shows_a_line_for_each_network() -> None:
    assert shown(large(), everything=True).count("done     seed") == 1000


def test_a_run_without_a_pulse_yet_is_shown_as_running_with_its_note() -> None:
    starting = Status("dense", 0, "running", "starting, waiting for a GPU, or ending, process 12 on node7")
    text = shown([starting, *GRID[6:]])
    assert text.startswith("x: 3 networks, 1 running, 1 failed, 1 waiting\n")
    assert "running  seed 0 dense: starting, waiting for a GPU, or ending, process 12 on node7\n" in text


@pytest.fixture
def smoke_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return ["status", "--configfile", str(PROJECT / "config.yaml"), str(PROJECT / "configs/smoke.yaml")]


def test_the_command_honours_overlays_and_succeeds(
    smoke_arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "seeds.yaml").write_text("seeds: [4]\nsubnetworks: {random: null}\n")
    assert main([*smoke_arguments, "seeds.yaml"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("smoke: 5 networks, 5 waiting\n")
    assert "seed 4" in printed
    assert "random" not in printed


def test_the_last_of_two_lists_of_overlays_counts_as_in_snakemake(
    smoke_arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text("subnetworks: {another: {keep: random, sparsities: [50]}}\n")
    (tmp_path / "b.yaml").write_text("subnetworks: {random: null}\n")
    assert main([*smoke_arguments, "a.yaml", *smoke_arguments[1:], "b.yaml"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("smoke: 10 networks, 10 waiting\n")
    assert "another" not in printed
    assert "random" not in printed


def test_the_option_directory_shows_another_folder(
    smoke_arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "there" / "results" / "smoke" / "seed0").mkdir(parents=True)
    (tmp_path / "there" / "results" / "smoke" / "seed0" / "initial.safetensors").touch()
    assert main([*smoke_arguments, "--json", "--directory", "there"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["state"] for entry in found if (entry["name"], entry["seed"]) == ("initial", 0)] == ["done"]
    assert Path.cwd() == tmp_path


def test_a_folder_without_a_configuration_uses_the_workflows_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(PROJECT)
    assert main(["status", "--directory", str(tmp_path / "there"), "--configfile", "configs/smoke.yaml"]) == 0
    assert capsys.readouterr().out.startswith("smoke: 12 networks, 12 waiting\n")


def test_the_command_knows_the_processes_of_this_machine_and_is_wider_in_a_pipe_of_unknown_width(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    (tmp_path / "overlay.yaml").write_text("seeds: [0, 1, 2, 3, 4, 5]")
    folder = tmp_path / "results/smoke/seed5/dense/.resume"
    folder.mkdir(parents=True)
    ended = replace(RUNNING, time=time.time(), process=2**22 + 1, host=socket.gethostname())
    write_pulse(folder / "progress.json", ended)
    command = ["status", "--all", "--directory", str(tmp_path), "--configfile", str(PROJECT / "configs/smoke.yaml")]
    command.append(str(tmp_path / "overlay.yaml"))
    assert main(command) == 0
    text = capsys.readouterr().out
    assert " seed 5 " in text.splitlines()[2]  # the head of the grid
    assert "\nstopped  seed 5 dense: " in text
    assert "\nwaiting  seed 4 dense\n" in text
    monkeypatch.setenv("COLUMNS", "80")
    assert main(command) == 0
    assert " seed 5 " not in capsys.readouterr().out.splitlines()[2]

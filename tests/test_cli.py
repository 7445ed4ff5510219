"""Commands do their work, print it, and end a mistake with one line and status 1."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lxmert_tickets.cli import main
from lxmert_tickets.data import feature_conversion
from lxmert_tickets.data.feature_tsv import write_feature_row
from lxmert_tickets.data.features import open_features
from lxmert_tickets.pruning.mask_files import save_mask
from lxmert_tickets.report.results import METRICS

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    save_mask(tmp_path / "mask.safetensors", {"a": np.array([[True, False]])}, {"rule": "test"})
    return tmp_path / "mask.safetensors"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    with open(tmp_path / "features.tsv", "wb") as handle:
        write_feature_row(handle, "A", 30, 40, np.zeros((3, 4), np.float32), np.full((3, 5), 0.1, np.float32))
    return tmp_path / "features.tsv"


def test_inspect_tells_people_what_a_file_is(mask: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(mask)]) == 0
    printed = capsys.readouterr().out
    assert "'sparsity': 0.5" in printed
    assert "tensors" not in printed


def test_inspect_tells_machines_all_of_it(mask: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--json", str(mask)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "kind": "mask", "n_prunable": 2, "n_kept": 1, "sparsity": 0.5, "provenance": {"rule": "test"},
        "tensors": {"a": {"shape": [1, 2], "n_prunable": 2, "n_kept": 1, "sparsity": 0.5}},
    }  # fmt: skip


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_damaged_file_is_one_line_and_status_1(
    mask: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    mask.write_bytes(mask.read_bytes()[:-1])
    assert main(["inspect", *flags, str(mask)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {mask}: damaged or truncated")
    assert printed.err.count("\n") == 1


def test_features_are_converted_and_the_cost_of_half_precision_is_told(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert-features", str(table), "--out", str(tmp_path / "features.h5")]) == 0
    found = open_features(tmp_path / "features.h5")
    assert found.features.shape == (1, 3, 5)
    printed = capsys.readouterr().out
    assert "1 images, 3 regions of 5 values" in printed
    assert f"{(tmp_path / 'features.h5').stat().st_size:,} bytes" in printed
    assert "off by at most 2.44e-05, or 0.0244 %" in printed


def test_a_broken_table_is_one_line_and_status_1(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.write_bytes(table.read_bytes() + b"broken\n")
    assert main(["convert-features", str(table), "--out", str(tmp_path / "features.h5")]) == 1
    assert capsys.readouterr().err.startswith(f"error: {table}:2: ")
    assert not (tmp_path / "features.h5").exists()


@pytest.mark.parametrize("command", ["convert-features", "score"])
@pytest.mark.parametrize(("out", "reason"), [("folder", "Is a directory"), ("file/a", "Not a directory")])
def test_an_output_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, out: str, reason: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    inputs = ["a"] if command == "convert-features" else [f"--{name}=a" for name in ("q", "a", "p")]
    assert main([command, *inputs, "--out", str(tmp_path / out)]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/{out}: {reason}\n"
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_in_a_folder_that_is_not_ones_own_is_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    assert main(["convert-features", "a", "--out", str(tmp_path / "new" / "b")]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/new/b: Permission denied\n"
    assert not list(tmp_path.iterdir())


def test_what_the_system_refuses_is_one_line_and_status_1(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "features.h5")

    monkeypatch.setattr(feature_conversion, "convert_features", refused)
    assert main(["convert-features", str(table), "--out", str(tmp_path / "features.h5")]) == 1
    assert capsys.readouterr().err == "error: features.h5: Permission denied\n"


def test_show_refuses_an_unfinished_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tmp_path)]) == 1
    assert "expected a finished experiment" in capsys.readouterr().err


def test_show_prints_the_table_of_a_finished_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tables").mkdir()
    header = ["row", "val n_seeds", *(f"val {name} {what}" for name in METRICS for what in ("mean", "std"))]
    (tmp_path / "tables" / "table1.csv").write_text(f"{','.join(header)}\ndense,1{',91.25,' * len(METRICS)}\n")
    (tmp_path / "tables" / "table1.md").write_text("| a table |\n\nWhat the numbers are.\n")
    assert main(["show", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "91.25" in printed
    assert "Full" in printed
    assert "What the numbers are." in printed


@pytest.mark.parametrize("arguments", [[], ["inspect"], ["convert-features", "a.tsv"], ["paint"]])
def test_a_wrong_command_line_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m lxmert_tickets" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(f"\n    {name}" in printed for name in ("score", "convert-features", "inspect", "show", "status"))


def test_the_package_runs_as_a_module(mask: Path) -> None:
    command = [sys.executable, "-m", "lxmert_tickets", "inspect", "--json", str(mask)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["kind"] == "mask"

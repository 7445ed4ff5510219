"""Commands do their work and print the result; a mistake ends them with one line and status 1."""

import errno
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_tables import write_tsv

from lxmert_tickets.cli import main
from lxmert_tickets.data import feature_conversion
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
    return write_tsv(tmp_path / "features.tsv", ["A"], lambda _: np.full((3, 5), 0.1), np.zeros((3, 4)))


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    (tmp_path / "tables").mkdir()
    header = ["row", "val n_seeds", *(f"val {name} {what}" for name in METRICS for what in ("mean", "std"))]
    (tmp_path / "tables" / "table1.csv").write_text(f"{','.join(header)}\ndense,3{',91.25,0.5' * len(METRICS)}\n")
    (tmp_path / "tables" / "table1.md").write_text("| a table |\n\nWhat the numbers are.\n")
    return tmp_path


def run(*arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "lxmert_tickets", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True, check=False, **options)


def test_inspect_summarises_a_file_for_people(mask: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(mask)]) == 0
    printed = capsys.readouterr().out
    assert "'sparsity': 0.5" in printed
    assert "tensors" not in printed


def test_inspect_as_json_gives_every_detail_of_a_file(mask: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--json", str(mask)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "kind": "mask", "n_prunable": 2, "n_kept": 1, "sparsity": 0.5, "provenance": {"rule": "test"},
        "tensors": {"a": {"shape": [1, 2], "n_prunable": 2, "n_kept": 1, "sparsity": 0.5}},
    }  # fmt: skip


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_damaged_file_gives_one_line_and_status_1(
    mask: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    mask.write_bytes(mask.read_bytes()[:-1])
    assert main(["inspect", *flags, str(mask)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {mask}: damaged or truncated")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("command", ["convert-features", "score"])
@pytest.mark.parametrize(("out", "reason"), [("folder", "Is a directory"), ("file/a", "Not a directory")])
def test_an_output_that_cannot_be_written_is_reported_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, out: str, reason: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    inputs = ["a"] if command == "convert-features" else [f"--{name}=a" for name in ("q", "a", "p")]
    assert main([command, *inputs, "--out", str(tmp_path / out)]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/{out}: {reason}\n"
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_in_a_folder_without_write_permission_is_reported_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    assert main(["convert-features", "a", "--out", str(tmp_path / "new" / "b")]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/new/b: Permission denied\n"
    assert not list(tmp_path.iterdir())


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # as /dev/null
    except PermissionError:
        pytest.skip("devices are made by root alone")


@pytest.mark.parametrize("through_link", [False, True])
@pytest.mark.parametrize("make", [os.mkfifo, make_device])
def test_an_output_that_is_a_device_or_a_pipe_is_refused_and_left_alone(
    table: Path, capsys: pytest.CaptureFixture[str], make: Any, through_link: bool
) -> None:
    out = table.with_name("out")
    make(out)
    if through_link:
        out = table.with_name("link")
        out.symlink_to("out")
    before = out.lstat()
    assert main(["convert-features", str(table), "--out", str(out)]) == 1
    now = out.lstat()
    assert capsys.readouterr().err == f"error: {out}: Is a device, a pipe or a standard stream\n"
    assert (now.st_ino, now.st_mode, now.st_ctime_ns) == (before.st_ino, before.st_mode, before.st_ctime_ns)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1"])
@pytest.mark.parametrize("to", ["a pipe", "a file"])
def test_standard_output_is_refused_as_an_output_file(table: Path, name: str, to: str) -> None:
    out = table.with_name("out")
    out.symlink_to(name)  # the code under test must not touch the machine's own
    with open(table.with_name("printed"), "w") as printed:
        stdout = printed if to == "a file" else subprocess.PIPE
        done = run("convert-features", table, "--out", out, stdout=stdout)
    assert done.returncode == 1
    assert done.stderr == f"error: {out}: Is a device, a pipe or a standard stream\n"
    assert out.is_symlink()


@pytest.mark.parametrize("exists", [False, True])
def test_an_output_that_is_a_link_is_written_to_its_target(table: Path, tmp_path: Path, exists: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "features.h5", tmp_path / "link.h5"
    link.symlink_to("elsewhere/features.h5")
    if exists:
        target.touch()
    assert main(["convert-features", str(table), "--out", str(link)]) == 0
    assert link.is_symlink()
    assert open_features(target).image_ids == ("A",)


def test_an_output_that_is_a_link_to_itself_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert main(["convert-features", "a", "--out", str(tmp_path / "loop")]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/loop: {os.strerror(errno.ELOOP)}\n"


@pytest.mark.parametrize(
    "command",
    ["inspect PIPE", "convert-features a.tsv PIPE --out b", "check-submission PIPE --questions b",
     "score --questions PIPE --annotations b --predictions c --out d"],
)  # fmt: skip
def test_a_pipe_as_data_is_refused_with_the_remedy(capsys: pytest.CaptureFixture[str], command: str) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    assert main(command.replace("PIPE", f"/dev/fd/{reading}").split()) == 1
    os.close(reading)
    expected = f"error: /dev/fd/{reading}: is a pipe; expected a file. Write to a file what comes through it.\n"
    assert capsys.readouterr().err == expected


def test_a_configuration_may_come_through_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"experiment: piped")
    os.close(writing)
    assert main(["status", "--directory", str(PROJECT), "--configfile", f"/dev/fd/{reading}"]) == 0
    os.close(reading)
    assert "piped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "features.h5"), "features.h5: Permission denied"),
        (OSError(errno.EXDEV, "Invalid link", ".a.tmp", None, "a.h5"), "a.h5: Invalid link"),  # what was to be
        (OSError("Unable to create file"), "Unable to create file"),  # as h5py words it
    ],
)
def test_an_error_of_the_operating_system_gives_one_line_and_status_1(
    table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: OSError, told: str
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(feature_conversion, "convert_features", refused)
    assert main(["convert-features", str(table), "--out", str(table.with_name("features.h5"))]) == 1
    assert capsys.readouterr().err == f"error: {told}\n"


def test_show_prints_the_table_of_a_finished_experiment(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(experiment)]) == 0
    printed = capsys.readouterr().out
    assert "91.25 ±0.50" in printed
    assert "Full" in printed
    assert "What the numbers are." in printed


def test_show_finds_the_experiment_of_a_configuration(
    experiment: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(experiment)
    renamed = (PROJECT / "config.yaml").read_text().replace("experiment: scenes", "experiment: mine")
    Path("config.yaml").write_text(renamed)
    assert main(["show", "--folder"]) == 0
    assert capsys.readouterr().out == "results/mine\n"
    shutil.copytree("tables", "results/mine/tables")
    assert main(["show"]) == 0
    assert "91.25 ±0.50" in capsys.readouterr().out
    assert main(["show", "--folder", "--configfile", str(PROJECT / "configs/smoke.yaml")]) == 0
    assert capsys.readouterr().out == "results/smoke\n"


def test_a_terminal_width_of_0_counts_as_unknown(
    experiment: Path, mask: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command, found in (["show", experiment], "91.25 ±0.50"), (["inspect", mask], "'kind': 'mask'"):
        monkeypatch.setenv("COLUMNS", "0")
        assert main([*map(str, command)]) == 0
        assert found in capsys.readouterr().out


def test_characters_that_standard_output_cannot_encode_are_replaced(experiment: Path) -> None:
    done = run("show", experiment, stdout=subprocess.PIPE, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "91.25 ?0.50" in done.stdout


STATUS = ["status", "--configfile", "configs/smoke.yaml"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [["show"], ["inspect"], ["inspect", "--json"], STATUS, [*STATUS, "--json"]])
def test_a_reader_that_closes_the_pipe_gets_status_1_and_no_message(
    experiment: Path, mask: Path, command: list[str], unbuffered: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    file = {"show": [experiment], "inspect": [mask]}.get(command[0], [])
    done = run(*command, *file, stdout=writing, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("closed", [1, 2])
@pytest.mark.parametrize("command", ["status", "convert-features"])
def test_closed_standard_streams_do_no_harm(table: Path, tmp_path: Path, command: str, closed: int) -> None:
    arguments = STATUS if command == "status" else [command, table, "--out", tmp_path / "features.h5"]
    done = run(*arguments, stdout=subprocess.PIPE, preexec_fn=lambda: os.close(closed))
    assert (done.returncode, done.stderr, bool(done.stdout)) == (0, "", closed != 1)


@pytest.mark.parametrize("arguments", [[], ["inspect"], ["convert-features", "a.tsv"], ["paint"]])
def test_a_wrong_command_line_gives_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m lxmert_tickets" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(
        f"\n    {name}" in printed for name in ("score", "convert-features", "inspect", "show", "status", "verify")
    )


def test_ctrl_c_ends_a_command_as_a_shell_expects_and_with_one_word() -> None:
    program = """
import runpy, signal
from lxmert_tickets import cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
cli.main = lambda: signal.raise_signal(signal.SIGINT)
runpy.run_module("lxmert_tickets", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "interrupted\n")


def test_without_its_packages_it_names_the_commands_that_install_and_activate_them() -> None:
    command = [sys.executable, "-S", "-m", "lxmert_tickets", "status"]  # without site-packages
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"error: No module named '\w+'; .* Run make setup, then \. \.venv/bin/activate\n", done.stderr)

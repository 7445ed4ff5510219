"""A job logs to its file; a mistake that the user can fix ends it with one line and status 1."""

import errno
import gc
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lxmert_tickets.artifacts import replacing
from lxmert_tickets.errors import DataError
from lxmert_tickets.jobs.job import job


@pytest.fixture(autouse=True)
def no_sudden_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a test fail where a job would end the process of the tests, with status 0."""

    def refuse(status: int) -> None:
        raise AssertionError(f"the tests would have ended with {status}")

    monkeypatch.setattr(os, "_exit", refuse)


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "job.log"


def lines(log_path: Path) -> list[str]:
    return log_path.read_text(encoding="utf-8").splitlines()


def test_a_jobs_messages_go_to_its_log_and_to_the_terminal(log_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with job(log_path) as log:
        log.info("%d regions ± none", 12)
    assert len(lines(log_path)) == 1
    assert lines(log_path)[0].endswith(" INFO 12 regions ± none")
    assert capsys.readouterr().err == log_path.read_text(encoding="utf-8")


def test_a_message_on_a_terminal_replaces_the_bar_in_its_line(
    log_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with job(log_path) as log:
        log.info("at work")
    assert capsys.readouterr().err == f"\r\x1b[K{log_path.read_text(encoding='utf-8')}"


def test_a_job_that_starts_with_standard_error_closed_still_writes_its_log(
    log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as Python has it after `2>&-`
    with job(log_path) as log:
        log.info("at work")
    assert [line.endswith(" INFO at work") for line in lines(log_path)] == [True]


def test_a_user_error_ends_the_job_with_one_line_and_status_1(
    log_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, job(log_path):
        raise DataError("val.json", "no questions", "some", "Ask.")
    assert ended.value.code == 1
    assert len(lines(log_path)) == 1
    assert lines(log_path)[0].endswith(" ERROR val.json: no questions; expected some. Ask.")
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("make", [torch.ones, np.ones])
def test_running_out_of_memory_is_reported_with_the_remedy(log_path: Path, make: Callable[[int], object]) -> None:
    with pytest.raises(SystemExit) as ended, job(log_path):
        make(10**16)
    assert ended.value.code == 1
    assert len(lines(log_path)) == 1
    said = r"memory is full \(.*allocate .*\); expected memory .*Run fewer jobs at once .*lower batch sizes"
    assert re.search(said, lines(log_path)[0])


def test_a_full_disk_is_reported_with_the_file_being_written(log_path: Path) -> None:
    with pytest.raises(SystemExit) as ended, job(log_path):
        raise OSError(errno.ENOSPC, "Can't write data (file write failed: time = 12:00\n, errno = 28)", "features.h5")
    assert ended.value.code == 1
    assert len(lines(log_path)) == 1  # in the system's words: HDF5's are several lines
    assert lines(log_path)[0].endswith("features.h5: cannot be written (No space left on device); expected free "
                                       "disk space and inodes. Free some (df, df -i).")  # fmt: skip


def test_a_limit_on_the_size_of_files_is_not_reported_as_a_full_disk(log_path: Path) -> None:
    with pytest.raises(SystemExit), job(log_path):
        raise OSError(errno.EFBIG, "File too large", "figure1.png")
    assert "figure1.png: cannot be written (File too large); expected a disk and limits" in lines(log_path)[0]
    assert lines(log_path)[0].endswith("Raise ulimit -f, or use another disk.")


def test_a_file_without_access_is_reported_by_its_final_name_with_the_remedy(log_path: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended, job(log_path), replacing(tmp_path / "figure1.png") as temporary:
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))
    assert ended.value.code == 1
    assert (
        f"{tmp_path}/figure1.png: no access (Permission denied); expected a file for this user. " in lines(log_path)[0]
    )


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTCONN, errno.ESTALE])
@pytest.mark.parametrize(("name", "told"), [("mask.safetensors", "mask.safetensors"), (None, "a file")])
def test_a_file_server_that_does_not_answer_is_reported_with_the_remedy(
    log_path: Path, number: int, name: str | None, told: str
) -> None:
    with pytest.raises(SystemExit) as ended, job(log_path):
        raise OSError(number, os.strerror(number), name)
    assert ended.value.code == 1
    assert len(lines(log_path)) == 1
    assert lines(log_path)[0].endswith(
        f" {told}: its disk fails or is away ({os.strerror(number)}); expected a disk that answers. "
        "Check the disk or its file server, then start Snakemake again."
    )


def test_a_log_on_a_full_disk_fails_no_job_and_loses_no_line_on_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with job("/dev/full") as log:
        log.info("at work")
    said = capsys.readouterr().err
    assert said.endswith(" INFO at work\n")
    assert said.count("\n") == 1  # and no traceback


def test_a_log_that_cannot_be_opened_ends_the_job_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=rf"Is a directory: '{tmp_path}'"), job(tmp_path):
        raise AssertionError


def test_any_other_failure_propagates_and_is_written_to_the_log_alone(
    log_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ZeroDivisionError), job(log_path):
        raise ZeroDivisionError("100 % of 0")
    assert len(lines(log_path)) == 1
    assert lines(log_path)[0].endswith(" ERROR ZeroDivisionError: 100 % of 0")
    assert capsys.readouterr().err == ""  # Python will print it


def test_a_job_leaves_no_open_log_behind(log_path: Path) -> None:
    before = list(logging.getLogger("lxmert_tickets").handlers)
    for failure in (ValueError, DataError):
        with pytest.raises((ValueError, SystemExit)), job(log_path):
            raise failure("a", "b", "c")
    assert logging.getLogger("lxmert_tickets").handlers == before


def test_one_job_does_not_write_into_the_log_of_another(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with job(tmp_path / name) as log:
            log.info("in %s", name)
    assert [len(lines(tmp_path / name)) for name in ("a", "b")] == [1, 1]


def test_a_job_enables_garbage_collection_but_exempts_earlier_objects(tmp_path: Path) -> None:
    gc.disable()
    before = len(gc.get_objects())
    with job(tmp_path / "log"):
        assert gc.isenabled()
        assert gc.get_freeze_count() > before // 2
    gc.unfreeze()


def run_as_script(log_path: Path, ending: str) -> subprocess.CompletedProcess[str]:
    """Run, as Snakemake does, a script whose job ends with `ending` and that has code after its job."""
    program = f"""
snakemake = "what Snakemake hands over"
from lxmert_tickets.jobs.job import job
print("begun", end="")
with job({str(log_path)!r}) as log:
    log.info("at work")
    {ending}
print("went on")
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


def test_a_file_too_large_to_be_mapped_under_a_limit_on_memory_names_the_limit(log_path: Path, tmp_path: Path) -> None:
    (tmp_path / "features").touch()
    os.truncate(tmp_path / "features", 2**40)
    limit = "import resource, numpy; resource.setrlimit(resource.RLIMIT_AS, (2**39, 2**39)); "
    ended = run_as_script(log_path, f"{limit}numpy.memmap({str(tmp_path / 'features')!r}, mode='r')")
    assert ended.returncode == 1
    assert re.search(r"memory is full \(.*Cannot allocate memory\); .*\. Raise ulimit -v, ", lines(log_path)[-1])


def test_the_process_of_a_script_ends_with_its_job_and_none_of_its_output_is_lost(log_path: Path) -> None:
    ended = run_as_script(log_path, "pass")
    assert (ended.returncode, ended.stdout) == (0, "begun")
    assert ended.stderr == log_path.read_text(encoding="utf-8")
    assert ended.stderr.endswith(" INFO at work\n")


def test_a_script_whose_output_is_closed_succeeds(log_path: Path) -> None:
    ended = run_as_script(log_path, "import sys; sys.stdout = sys.stderr = None")  # as Python has it after `>&- 2>&-`
    assert ended.returncode == 0


def test_a_script_that_gets_sigterm_removes_half_written_files(log_path: Path) -> None:
    ending = f"""
    import os, signal
    from lxmert_tickets.artifacts import replacing
    with replacing({str(log_path.with_name("result"))!r}) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGTERM)
"""
    ended = run_as_script(log_path, ending)
    assert ended.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in ended.stderr
    assert [path.name for path in log_path.parent.iterdir()] == [log_path.name]


def test_a_script_that_gets_sigterm_twice_still_tidies_up(log_path: Path) -> None:
    tidy = log_path.with_name("tidy")
    ending = f"""
    import signal
    from pathlib import Path
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.raise_signal(signal.SIGTERM)
        Path({str(tidy)!r}).touch()
"""
    assert run_as_script(log_path, ending).returncode == 128 + signal.SIGTERM
    assert tidy.exists()


def test_a_script_that_gets_ctrl_c_removes_half_written_files_and_says_so_in_one_line(log_path: Path) -> None:
    ending = f"""
    import signal
    from lxmert_tickets.artifacts import replacing
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    with replacing({str(log_path.with_name("result"))!r}) as temporary:
        temporary.write_text("half")
        signal.raise_signal(signal.SIGINT)
"""
    ended = run_as_script(log_path, ending)
    assert ended.returncode == 128 + signal.SIGINT
    assert ended.stderr == log_path.read_text(encoding="utf-8")
    assert lines(log_path)[-1].endswith(" WARNING interrupted by Ctrl-C")
    assert [path.name for path in log_path.parent.iterdir()] == [log_path.name]


def test_a_worker_of_a_script_ends_at_once_on_sigterm(log_path: Path) -> None:
    ending = """
    import os, signal
    worker = os.fork()
    if worker == 0:
        os.kill(os.getpid(), signal.SIGTERM)
    log.info("it ended with %d", os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
"""
    ended = run_as_script(log_path, ending)
    assert (ended.returncode, ended.stdout) == (0, "begun")
    assert ended.stderr.endswith(f"it ended with {128 + signal.SIGTERM}\n")


def test_a_memory_mapped_file_truncated_while_it_is_read_leaves_a_traceback_in_the_log(log_path: Path) -> None:
    ending = f"""
    import os
    import numpy as np
    path = {str(log_path.with_name("features"))!r}
    np.zeros(1 << 20, np.uint8).tofile(path)
    mapped = np.memmap(path, mode="r")
    os.truncate(path, 0)
    mapped.sum()
"""
    ended = run_as_script(log_path, ending)
    assert ended.returncode == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in log_path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("ending", "status", "said"), [("raise KeyError(7)", 1, "KeyError: 7\n"), ("raise SystemExit(4)", 4, "at work\n")]
)
def test_a_script_that_fails_ends_as_python_ends_it(log_path: Path, ending: str, status: int, said: str) -> None:
    ended = run_as_script(log_path, ending)
    assert (ended.returncode, ended.stdout) == (status, "begun")
    assert ended.stderr.endswith(said)

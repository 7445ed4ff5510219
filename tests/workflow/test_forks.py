"""Jobs of Snakemake are forks, and nothing but the time they take shows it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from script_runs import wait_until
from workflow_runs import FORKS, ROOT, snakemake

from lxmert_tickets.jobs.forked import forks_pay

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forks on Linux alone")


@pytest.mark.parametrize(
    ("options", "cores", "expected"),
    [
        ((), 2, forks_pay()),
        (("--touch",), 2, False),
        (("--sdm", "env-modules"), 2, False),
        (("--debug",), 1, False),
    ],
)
def test_jobs_are_forks_unless_an_option_needs_other_processes(
    grid: Path, options: tuple[str, ...], cores: int, expected: bool
) -> None:
    again = ("--forcerun", "make_scenes", "--until", "draw_images", "extract_features", "convert_features")
    run = snakemake(grid, *again, *options, cores=cores)
    assert run.returncode == 0, run.stderr
    assert (FORKS in run.stderr) == expected


SNAKEFILE = """
import sys
from functools import partialmethod
sys.path.insert(0, {root!r})
from lxmert_tickets.environment import set_environment_of_jobs
from lxmert_tickets.jobs import forked

set_environment_of_jobs()
forked.Forks.is_ready = partialmethod(forked.Forks.is_ready, wait=True)
onstart:
    forked.let_jobs_be_forks((Path("job.py"),))

rule all:
    input: expand("{{number}}.txt", number=range({n_jobs}))

rule number:
    output: "{{number}}.txt"
    benchmark: "{{number}}.tsv"
    params: failing={failing!r}, patient={patient!r}
    resources: tmpdir="here"
    threads: 2
    script: "job.py"
"""
JOB = """
import os, signal, sys, time
import colorsys
assert os.environ["PATH"]
assert snakemake.wildcards.number != snakemake.params.failing, "this number fails"
if snakemake.params.patient:
    def end(*_):
        time.sleep(1)
        sys.exit(75)
    signal.signal(signal.SIGTERM, end)
    open(f"begun{snakemake.wildcards.number}", "w")
    time.sleep(600)
threads = {value for name, value in os.environ.items() if name.endswith("_THREADS")}
folders = {os.environ[name] for name in ("TMPDIR", "TMP", "TEMP", "TEMPDIR")}
found = *threads, *folders, snakemake.threads, open("/proc/self/comm").read().strip()
open(snakemake.output[0], "w").write(" ".join(map(str, found)))
"""


def numbers(folder: Path, failing: str = "", patient: bool = False) -> subprocess.Popen[str]:
    """Start a workflow of three jobs, one of which may fail; `patient` jobs run long and end a second after SIGTERM."""
    text = SNAKEFILE.format(root=str(ROOT), n_jobs=3, failing=failing, patient=patient)
    (folder / "Snakefile").write_text(text)
    (folder / "job.py").write_text(JOB)
    (folder / "here").mkdir()
    command = [sys.executable, "-m", "snakemake", "--cores", "4", "--directory", str(folder), "--keep-going"]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_jobs_of_snakemake_are_forks_and_get_what_it_gives_them(tmp_path: Path) -> None:
    run = numbers(tmp_path)
    _, said = run.communicate()
    assert run.returncode == 0, said
    assert "Traceback" not in said
    assert {(tmp_path / f"{number}.txt").read_text() for number in range(3)} == {"2 here 2 job.py"}
    assert len((tmp_path / "0.tsv").read_text().splitlines()) == 2
    assert not list((tmp_path / ".snakemake/scripts").iterdir())


def test_a_failed_fork_is_a_failed_job_and_shows_where_it_failed(tmp_path: Path) -> None:
    run = numbers(tmp_path, failing="1")
    _, said = run.communicate()
    assert run.returncode == 1
    assert said.count("Traceback") == 1
    assert "AssertionError: this number fails" in said
    assert "runpy" not in said
    assert "Error in rule number:" in said
    assert "returned non-zero exit status 1" in said
    assert [(tmp_path / f"{number}.txt").exists() for number in range(3)] == [True, False, True]


def test_jobs_that_a_scheduler_terminates_are_waited_for(tmp_path: Path) -> None:
    """SIGTERM goes to all processes at once, the one that they are forked from included."""
    run = numbers(tmp_path, patient=True)
    wait_until(lambda: len(list(tmp_path.glob("begun*"))) == 2)  # of two threads each, on four cores
    os.killpg(run.pid, signal.SIGTERM)
    _, said = run.communicate()
    assert said.count("returned non-zero exit status 75") == 2, said
    assert "Traceback" not in said

"""A fork runs a script as a Python of its own would, but for what is imported already."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil
import pytest

from lxmert_tickets.forked_jobs import Forks, imported_by

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forks on Linux alone")

Run = Callable[..., int | None]


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Forks:
    """Return forks that have imported what this fixture's script does."""
    script = tmp_path_factory.mktemp("scripts") / "script.py"
    script.write_text("import colorsys\nfrom lxmert_tickets.job import job\n")
    forks = Forks([script])
    assert forks.is_ready(wait=True)
    return forks


@pytest.fixture
def run(forks: Forks, tmp_path: Path) -> Run:
    """Return a function that runs a program in a fork, and gives its exit status."""

    def run(program: str, n_threads: int = 1, **variables: str) -> int | None:
        script = tmp_path / "tmp1a2b3c4d.train.py"
        script.write_text(program)
        return forks.run(str(script), n_threads, variables, lambda process: nullcontext())

    return run


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("", 0),
        ("import sys; sys.exit(75)", 75),
        ("import os; os._exit(3)", 3),
        ("1 / 0", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_the_status_is_that_of_the_script(run: Run, program: str, status: int) -> None:
    assert run(program) == status


def test_what_scripts_import_is_there_and_nothing_that_they_do_not(run: Run) -> None:
    assert run("import sys; sys.exit('colorsys' in sys.modules)") == 1
    assert run("import sys; sys.exit('wave' in sys.modules)") == 0


def test_a_script_is_the_main_module_and_knows_its_name(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "tmp1a2b3c4d.train.py"
    assert run(f"""
import multiprocessing, sys
snakemake = "what Snakemake puts there"
assert __name__ == "__main__"
assert sys.modules["__main__"].snakemake is snakemake
assert __file__ == {str(script)!r}
assert sys.argv == [__file__]
assert open("/proc/self/comm").read() == "train.py\\n"
assert multiprocessing.get_start_method() == {"forkserver" if sys.version_info >= (3, 14) else "fork"!r}
""") == 0  # fmt: skip


def test_variables_hold_for_one_script(run: Run, tmp_path: Path) -> None:
    assert run(f"""
import os, tempfile
assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "2"
assert tempfile.gettempdir() == {str(tmp_path)!r}
os.environ["SEEN"] = "1"
""", n_threads=2, TMPDIR=str(tmp_path)) == 0  # fmt: skip
    assert run("""
import os, tempfile
assert os.environ["OMP_NUM_THREADS"] == "1"
assert "SEEN" not in os.environ
""") == 0  # fmt: skip


def test_a_job_in_a_fork_ends_as_that_of_a_script_does(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = f"""
from lxmert_tickets.errors import DataError
from lxmert_tickets.job import job
snakemake = None
with job({str(log)!r}):
    {{}}
raise AssertionError("the process of a script ends with its job")
"""
    assert run(program.format("pass")) == 0
    assert run(program.format("raise DataError('val.json', 'no questions', 'some', 'Ask.')")) == 1
    assert log.read_text().endswith("ERROR val.json: no questions; expected some. Ask.\n")
    assert run(program.format("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")) == 128 + signal.SIGTERM


def test_each_of_many_at_once_has_a_status_of_its_own(forks: Forks, tmp_path: Path) -> None:
    for status in range(40):
        (tmp_path / f"{status}.py").write_text(f"import sys; sys.exit({status})")
    with ThreadPoolExecutor(8) as pool:
        statuses = pool.map(lambda k: forks.run(str(tmp_path / f"{k}.py"), 1, {}, lambda _: nullcontext()), range(40))
        assert list(statuses) == list(range(40))


def test_it_is_measured_before_it_begins(forks: Forks, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    (tmp_path / "script.py").write_text(f"open({str(begun)!r}, 'w')")

    @contextmanager
    def measure(process: int) -> Iterator[None]:
        time.sleep(0.2)
        assert psutil.Process(process).status() != psutil.STATUS_ZOMBIE
        assert not begun.exists()
        yield

    assert forks.run(str(tmp_path / "script.py"), 1, {}, measure) == 0
    assert begun.exists()


def test_one_that_is_killed_before_it_begins_has_failed(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "script.py").touch()

    @contextmanager
    def kill(process: int) -> Iterator[None]:
        os.kill(process, signal.SIGKILL)
        while psutil.pid_exists(process):
            time.sleep(0.01)
        yield

    assert forks.run(str(tmp_path / "script.py"), 1, {}, kill) == -signal.SIGKILL


def test_when_the_server_is_killed_a_script_has_failed_and_the_next_one_runs(run: Run) -> None:
    assert run("""
import os, signal
os.kill(os.getppid(), signal.SIGKILL)
""") not in {None, 0, -signal.SIGKILL}  # fmt: skip
    deadline = time.monotonic() + 60
    while (status := run("import sys; sys.exit(7)")) is None:  # it is not missed at once
        assert time.monotonic() < deadline
    assert status == 7


def test_what_jobs_of_the_workflow_are_forks_of_has_one_thread() -> None:
    """A fork copies one alone: a lock that another holds would never be opened again."""
    program = """
import sys
from pathlib import Path
import psutil
from lxmert_tickets.forked_jobs import Forks
assert Forks(sorted(Path("workflow_scripts").glob("*.py"))).is_ready(wait=True)
print([child.num_threads() for child in psutil.Process().children() if "forkserver" in " ".join(child.cmdline())])
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["[1]"]


SNAKEFILE = """
import sys
from functools import partialmethod
sys.path.insert(0, {root!r})
from lxmert_tickets.environment import let_jobs_import_this_package
from lxmert_tickets import forked_jobs

let_jobs_import_this_package()
forked_jobs.Forks.is_ready = partialmethod(forked_jobs.Forks.is_ready, wait=True)
onstart:
    forked_jobs.let_jobs_be_forks([Path("job.py")])

rule all:
    input: expand("{{number}}.txt", number=range({n_jobs}))

rule number:
    output: "{{number}}.txt"
    benchmark: "{{number}}.tsv"
    params: failing={failing!r}
    resources: tmpdir="here"
    threads: 2
    script: "job.py"
"""
JOB = """
import os, sys
import colorsys
assert snakemake.wildcards.number != snakemake.params.failing, "this number fails"
found = os.environ["OMP_NUM_THREADS"], os.environ["TMPDIR"], snakemake.threads, open("/proc/self/comm").read().strip()
open(snakemake.output[0], "w").write(" ".join(map(str, found)))
"""


@pytest.fixture
def numbers(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Return a function that runs a workflow of three jobs, of which one may fail."""

    def start(failing: str = "") -> subprocess.CompletedProcess[str]:
        (tmp_path / "Snakefile").write_text(SNAKEFILE.format(root=str(ROOT), n_jobs=3, failing=failing))
        (tmp_path / "job.py").write_text(JOB)
        (tmp_path / "here").mkdir()
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--directory", str(tmp_path), "--keep-going"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return start


def test_jobs_of_snakemake_are_forks_with_what_it_gives_them(
    numbers: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    run = numbers()
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert {(tmp_path / f"{number}.txt").read_text() for number in range(3)} == {"2 here 2 job.py"}
    assert len((tmp_path / "0.tsv").read_text().splitlines()) == 2
    assert not list((tmp_path / ".snakemake/scripts").iterdir())


def test_a_fork_that_fails_is_a_job_that_fails(
    numbers: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    run = numbers("1")
    assert run.returncode == 1
    assert "AssertionError: this number fails" in run.stderr
    assert "Error in rule number:" in run.stderr
    assert "returned non-zero exit status 1" in run.stderr
    assert [(tmp_path / f"{number}.txt").exists() for number in range(3)] == [True, False, True]


def test_imports_of_a_script_are_read_from_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
import os, sys as system
from collections.abc import Iterator
from . import beside
if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake
def late():
    import wave
""")
    assert imported_by(script) == ["os", "sys", "collections.abc"]

"""A fork runs a script as a new Python would, except for what is already imported."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from snakemake.script import PythonScript

from lxmert_tickets.jobs import forked
from lxmert_tickets.jobs.forked import OF_SERVER, Forks, imported_by, let_jobs_be_forks
from lxmert_tickets.jobs.one_run import stamps

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forks on Linux alone")

Run = Callable[..., int | None]


def not_measured(process: int) -> AbstractContextManager[None]:
    return nullcontext()


@pytest.fixture(scope="module")
def forks(own_fork_server: None, tmp_path_factory: pytest.TempPathFactory) -> Forks:
    """Return forks that have imported what this fixture's script does."""
    script = tmp_path_factory.mktemp("scripts") / "script.py"
    script.write_text("import colorsys\nfrom lxmert_tickets.jobs.job import job\n")
    forks = Forks([script])
    assert forks.is_ready(wait=True)
    return forks


@pytest.fixture
def run(forks: Forks, tmp_path: Path) -> Run:
    """Return a function that runs a program in a fork, and gives its exit status."""

    def run(program: str, **variables: str) -> int | None:
        script = tmp_path / "tmp1a2b3c4d.train.py"
        script.write_text(program)
        return forks.run(str(script), {**os.environ, **variables}, not_measured)

    return run


# What runs in a shell's background ignores Ctrl-C, as do all processes that it starts.
INTERRUPTED = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); signal.raise_signal(signal.SIGINT)"
)
FAILURES = [
    ("import sys; sys.exit(75)", 75),
    ("import os; os._exit(3)", 3),
    ("1 / 0", 1),
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    (INTERRUPTED, 128 + signal.SIGINT),
]


@pytest.mark.parametrize(("program", "status"), [("", 0), *FAILURES])
def test_the_status_of_a_fork_is_that_of_its_script(run: Run, program: str, status: int) -> None:
    assert run(program) == status


@pytest.fixture
def execute(forks: Forks, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return a function that runs a job as Snakemake does, and gives the scripts run so far that were no forks."""
    in_own_process: list[str] = []
    monkeypatch.setattr(forked, "Forks", lambda scripts: forks)
    monkeypatch.setattr(PythonScript, "execute_script", lambda job, file, edit: in_own_process.append(file))
    let_jobs_be_forks.__wrapped__(())

    def execute(script: Path, **of_job: str) -> list[str]:
        plain = dict.fromkeys(("container_img", "conda_env", "env_modules", "bench_record"))
        job = SimpleNamespace(**plain | {"threads": 1, "resources": {}} | of_job)
        PythonScript.execute_script(job, str(script))
        return in_own_process

    return execute


@pytest.mark.parametrize(("program", "status"), FAILURES)
def test_a_job_fails_as_its_fork_does(
    execute: Callable[..., list[str]], tmp_path: Path, program: str, status: int
) -> None:
    (tmp_path / "script.py").write_text(program)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        execute(tmp_path / "script.py")
    assert failed.value.returncode == status


def test_a_job_whose_package_has_changed_since_the_imports_gets_its_own_process(
    execute: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = [(path, changed + 1, size) for path, changed, size in stamps()]
    monkeypatch.setattr(forked, "stamps", lambda: edited)
    assert execute(Path("tmp12.score.py")) == ["tmp12.score.py"]


@pytest.mark.parametrize("environment", ["container_img", "conda_env", "env_modules"])
def test_a_job_with_its_own_software_environment_is_not_a_fork(
    execute: Callable[..., list[str]], tmp_path: Path, environment: str
) -> None:
    (tmp_path / "plain.py").touch()
    assert execute(tmp_path / "plain.py") == []
    assert execute(Path("other.py"), **{environment: "one"}) == ["other.py"]


def test_starting_a_fork_leaves_the_callers_signal_mask_unchanged(run: Run) -> None:
    before = signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2})
    run("")
    assert signal.pthread_sigmask(signal.SIG_SETMASK, before) == {signal.SIGUSR2}


def test_a_fork_has_imported_what_scripts_import_and_nothing_else(run: Run) -> None:
    assert run("import sys; sys.exit('colorsys' in sys.modules)") == 1
    assert run("import sys; sys.exit('snakemake.iocontainers' in sys.modules)") == 1
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


def test_environment_variables_hold_for_one_script_only(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SET_LATER", "yes")
    assert run(f"""
import os, tempfile
assert os.environ["OMP_NUM_THREADS"] == "2"
assert os.environ["SET_LATER"] == "yes"
assert tempfile.gettempdir() == {str(tmp_path)!r}
os.environ["SEEN"] = "1"
""", OMP_NUM_THREADS="2", TMPDIR=str(tmp_path)) == 0  # fmt: skip
    monkeypatch.delenv("SET_LATER")
    assert run("""
import os
assert not os.environ.keys() & {"SEEN", "SET_LATER"}
""") == 0  # fmt: skip


def test_a_fork_has_no_variables_but_its_own(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import os\nassert os.environ == {'ONE': '1'}")
    assert forks.run(str(tmp_path / "script.py"), {"ONE": "1"}, not_measured) == 0


def test_a_job_in_a_fork_ends_like_one_in_its_own_process(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = f"""
from lxmert_tickets.errors import DataError
from lxmert_tickets.jobs.job import job
snakemake = None
with job({str(log)!r}):
    {{}}
raise AssertionError("the process of a script ends with its job")
"""
    assert run(program.format("pass")) == 0
    assert run(program.format("raise DataError('val.json', 'no questions', 'some', 'Ask.')")) == 1
    assert log.read_text().endswith("ERROR val.json: no questions; expected some. Ask.\n")
    assert run(program.format("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")) == 128 + signal.SIGTERM


def test_each_of_many_concurrent_forks_has_its_own_status(forks: Forks, tmp_path: Path) -> None:
    for status in range(40):
        (tmp_path / f"{status}.py").write_text(f"import sys; sys.exit({status})")
    with ThreadPoolExecutor(8) as pool:
        statuses = pool.map(lambda k: forks.run(str(tmp_path / f"{k}.py"), os.environ, not_measured), range(40))
        assert list(statuses) == list(range(40))


def test_two_scripts_run_at_once(forks: Forks, tmp_path: Path) -> None:
    for mine, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{mine}.py").write_text(f"""
import time
open({str(tmp_path / mine)!r}, "w")
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    try:
        open({str(tmp_path / other)!r})
        break
    except FileNotFoundError:
        time.sleep(0.01)
else:
    raise SystemExit("the other does not come")
""")
    with ThreadPoolExecutor(2) as pool:
        statuses = pool.map(lambda name: forks.run(str(tmp_path / f"{name}.py"), os.environ, not_measured), "ab")
        assert list(statuses) == [0, 0]


def test_measuring_a_fork_starts_before_its_script_does(forks: Forks, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    (tmp_path / "script.py").write_text(f"open({str(begun)!r}, 'w')")

    @contextmanager
    def measure(process: int) -> Iterator[None]:
        time.sleep(0.2)
        assert psutil.Process(process).status() != psutil.STATUS_ZOMBIE
        assert not begun.exists()
        yield

    assert forks.run(str(tmp_path / "script.py"), os.environ, measure) == 0
    assert begun.exists()


def test_a_fork_killed_before_its_script_begins_has_failed(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "script.py").touch()

    @contextmanager
    def kill(process: int) -> Iterator[None]:
        os.kill(process, signal.SIGKILL)
        while psutil.pid_exists(process):
            time.sleep(0.01)
        yield

    assert forks.run(str(tmp_path / "script.py"), os.environ, kill) == -signal.SIGKILL


def test_when_the_fork_server_is_killed_its_script_fails_and_the_next_one_runs(run: Run) -> None:
    assert run("""
import os, signal
os.kill(os.getppid(), signal.SIGKILL)
""") not in {None, 0, -signal.SIGKILL}  # fmt: skip
    deadline = time.monotonic() + 60
    while (status := run("import sys; sys.exit(7)")) is None:  # its death is not noticed at once
        assert time.monotonic() < deadline
    assert status == 7


def test_a_script_is_not_started_if_the_fork_server_is_killed_before_it_forks(
    forks: Forks, run: Run, tmp_path: Path
) -> None:
    script, begun = tmp_path / "script.py", tmp_path / "begun"
    script.write_text(f"open({str(begun)!r}, 'w')")
    assert run(f"import os; open({str(tmp_path / 'server')!r}, 'w').write(str(os.getppid()))") == 0
    server = int((tmp_path / "server").read_text())
    os.kill(server, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        status = pool.submit(forks.run, str(script), os.environ, not_measured)
        time.sleep(0.5)  # so that it has asked the server
        os.kill(server, signal.SIGKILL)
        assert status.result() is None
    assert not begun.exists()


def test_a_script_does_not_begin_once_its_starter_has_given_up(forks: Forks, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    (tmp_path / "script.py").write_text(f"open({str(begun)!r}, 'w')")

    def give_up(process: int) -> AbstractContextManager[None]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forks.run(str(tmp_path / "script.py"), os.environ, give_up)
    for child in multiprocessing.active_children():
        child.join()
        assert child.exitcode == 1
    assert not begun.exists()


def own_program(folder: Path, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program that makes forks of its own, from a file without a main guard, as a user's might be."""
    (folder / "program.py").write_text(program)
    environment = {name: value for name, value in os.environ.items() if name not in OF_SERVER}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "program.py"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_process_that_jobs_are_forked_from_has_one_thread(tmp_path: Path) -> None:
    """A fork copies only one thread: a lock held by another would never be released."""
    (tmp_path / "script.py").write_text("import torch\nassert torch.get_num_threads() == 1")
    (tmp_path / "msgspec.py").write_text("raise RuntimeError('of the folder in which it is started')")
    run = own_program(tmp_path, f"""
import os, sys
sys.path.pop(0)  # so that this program itself finds the real msgspec
from contextlib import nullcontext
from pathlib import Path
import psutil
from lxmert_tickets.jobs.forked import Forks
print("once")
main = sys.modules["__main__"]
forks = Forks(sorted(Path({str(ROOT / "workflow_scripts")!r}).glob("*.py")))
assert forks.is_ready(wait=True)
print([child.num_threads() for child in psutil.Process().children() if "forkserver" in " ".join(child.cmdline())])
print(forks.run("script.py", os.environ, lambda process: nullcontext()))
assert sys.modules["__main__"] is main
""", OMP_NUM_THREADS="4")  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["once", "[1]", "0"]
    assert run.stderr == ""


def test_there_are_no_forks_where_the_fork_server_cannot_start(tmp_path: Path) -> None:
    run = own_program(tmp_path, """
import multiprocessing
from lxmert_tickets.jobs.forked import Forks
multiprocessing.set_executable("/no/python/here")
print(Forks([]).is_ready(wait=True))
""")  # fmt: skip
    assert (run.returncode, run.stdout) == (0, "False\n"), run.stderr
    assert "Traceback" not in run.stderr


def test_the_imports_of_a_script_are_read_from_its_source(tmp_path: Path) -> None:
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

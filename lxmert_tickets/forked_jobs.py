"""Jobs as forks of one process that has imported what jobs import, where each would else be a Python of its own.

A training of the embedded data set takes seconds, and importing torch one of them.
"""

import ast
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache, partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any

from lxmert_tickets.environment import has_gpu

FORKSERVER = multiprocessing.get_context("forkserver")
# Python has one server a process, and looks, whenever it starts a fork, whether others have ended: two threads must not
# read how one did.
LOCK = threading.Lock()

# What Snakemake sets for each process of a job.
THREADS = (
    "OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)  # fmt: skip
FOLDERS = ("TMPDIR", "TMP", "TEMPDIR", "TEMP")
# What Snakemake has every Python script import.
OF_EVERY_SCRIPT = ("snakemake.logging", "snakemake.iocontainers")

# A fork copies one thread alone, so the server should have no other: neither those that libraries start when they are
# loaded, nor that of pyarrow, which pandas imports. And it should import nothing from the folder it is started in.
OF_SERVER = {
    **dict.fromkeys(THREADS, "1"),
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "PYTHONSAFEPATH": "1",
}
# To the process group, as Ctrl-C, schedulers and terminals send them: forks decide what to do, and the server waits for
# them.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)

Measure = Callable[[int], AbstractContextManager[object]]
"""What is measured of a process, while it runs."""


class Forks:
    """Runs Python scripts in forks of a process that begins to import what `scripts` import when this is made.

    Python's own fork server is that process: it ends with this one.
    """

    def __init__(self, scripts: Sequence[Path]) -> None:
        modules = dict.fromkeys([*OF_EVERY_SCRIPT, *(module for script in scripts for module in imported_by(script))])
        FORKSERVER.set_forkserver_preload(list(modules))
        os.environ.update(OF_SERVER)  # for good: other threads may read them at any time
        self._is_ready = False
        self._warming_up = threading.Thread(target=self._warm_up, daemon=True)
        self._warming_up.start()

    def is_ready(self, *, wait: bool = False) -> bool:
        """Return whether all is imported; until then a process of its own is faster, and where there is no server.

        With `wait`, not before it is known.
        """
        if wait:
            self._warming_up.join()
        return self._is_ready

    def run(self, script: str, variables: Mapping[str, str], measure: Measure) -> int | None:
        """Run `script` with environment `variables`; return its exit status, negative for the signal that ended it.

        None if it was not begun: the server has just been killed. The next one that is run starts another.
        """
        may_begin, begin = FORKSERVER.Pipe(duplex=False)  # once it is measured: it may end within milliseconds
        process = FORKSERVER.Process(target=_run, args=(script, dict(variables), may_begin))
        with begin:
            try:
                with may_begin, LOCK:
                    _start(process)
            except (OSError, EOFError):
                return None
            assert process.pid is not None
            with measure(process.pid):
                with suppress(BrokenPipeError):  # it has been killed already
                    begin.send_bytes(b"")
                wait([process.sentinel])
        with LOCK:
            process.join()
        assert process.exitcode is not None
        return process.exitcode

    def _warm_up(self) -> None:
        process = FORKSERVER.Process(target=_nothing)
        try:
            with LOCK:
                _start(process)
                process.join()
        except (OSError, EOFError):  # no sockets here, or what is imported ends the process: a job will tell
            return
        self._is_ready = process.exitcode == 0


def forks_pay() -> bool:
    """Return whether forks are for this machine: not macOS, where libraries do not stand it, nor for hours on a GPU."""
    return sys.platform == "linux" and not has_gpu()


def imported_by(script: Path) -> list[str]:
    """Return the modules that `script` imports before it does anything."""
    modules = []
    for node in ast.parse(script.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.append(node.module)
    return modules


@cache
def let_jobs_be_forks(scripts: tuple[Path, ...]) -> None:
    """Have Snakemake run Python scripts in forks, from when what `scripts` import is imported; once is enough.

    Not those with an environment of their own: a container, conda's, or environment modules.
    """
    from snakemake.benchmark import benchmarked  # noqa: PLC0415 (forks import this module, and do without)
    from snakemake.script import PythonScript  # noqa: PLC0415

    forks = Forks(scripts)
    in_own_process = PythonScript.execute_script

    def execute(job: Any, file: str, edit: bool = False) -> None:
        measure = nullcontext if job.bench_record is None else partial(benchmarked, benchmark_record=job.bench_record)
        folder = job.resources.get("tmpdir")
        given = dict.fromkeys(THREADS, str(job.threads)) | (dict.fromkeys(FOLDERS, folder) if folder else {})
        may_be_fork = forks.is_ready() and not (job.container_img or job.conda_env or job.env_modules)
        status = forks.run(file, {**os.environ, **given}, measure) if may_be_fork else None
        if status is None:
            in_own_process(job, file, edit)
        elif status:
            raise subprocess.CalledProcessError(status, f"{sys.executable} {file}")

    PythonScript.execute_script = execute


def _start(process: multiprocessing.context.ForkServerProcess) -> None:
    """Start a fork, and the server where there is none; with `LOCK` held."""
    resource_tracker.ensure_running()  # which else starts with the server, and lets signals through again
    # A fork would import the main module, which is most of Snakemake, or whatever program calls Snakemake.
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # of this thread, and of what it starts
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        sys.modules["__main__"] = main


def _nothing() -> None: ...


def _run(script: str, variables: dict[str, str], may_begin: Connection) -> None:
    """Be what a Python of its own would be that runs `script`."""
    try:
        with may_begin:
            may_begin.recv_bytes()
    except EOFError:  # who has started it is gone
        sys.exit(1)
    os.environ.clear()
    os.environ.update(variables)
    multiprocessing.set_start_method(None, force=True)
    sys.argv = [script]
    with suppress(OSError):  # `top` and `ps` show it; Snakemake calls its copy of train.py tmp1a2b3c4d.train.py
        Path("/proc/self/comm").write_text(Path(script).name.partition(".")[2], encoding="utf-8")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        runpy.run_path(script, run_name="__main__")
    except Exception as error:  # told as Python tells it, without what is below the script
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename != script:
            frames = frames.tb_next
        traceback.print_exception(error.with_traceback(frames or error.__traceback__))
        sys.exit(1)

"""Runs jobs as forks of one process that has already imported their modules, instead of a new Python each.

A training on the embedded data set takes seconds, one of which is importing torch.
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
from lxmert_tickets.jobs.one_run import code_at_start, stamps

FORKSERVER = multiprocessing.get_context("forkserver")
# Python has one fork server per process, and starting a fork also collects the status of ended ones: two threads must
# not read the same one.
LOCK = threading.Lock()

# What Snakemake sets for each process of a job.
THREADS = (
    "OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)  # fmt: skip
FOLDERS = ("TMPDIR", "TMP", "TEMPDIR", "TEMP")
# What Snakemake makes every Python script import.
OF_EVERY_SCRIPT = ("snakemake.logging", "snakemake.iocontainers")

# A fork copies only one thread, so the server should have no others: neither those that libraries start when loaded,
# nor that of pyarrow, which pandas imports. Nor should it import anything from the folder it is started in.
OF_SERVER = {
    **dict.fromkeys(THREADS, "1"),
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "PYTHONSAFEPATH": "1",
}
# Sent to the process group by Ctrl-C, schedulers and terminals: forks handle them, and the server waits for the forks.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)

Measure = Callable[[int], AbstractContextManager[object]]
"""Measures the process of an id for as long as the context is open."""


class Forks:
    """Runs Python scripts in forks of a process, which starts to import the modules of `scripts` on construction.

    That process is Python's own fork server; it ends with this one.
    """

    def __init__(self, scripts: Sequence[Path]) -> None:
        modules = dict.fromkeys([*OF_EVERY_SCRIPT, *(module for script in scripts for module in imported_by(script))])
        FORKSERVER.set_forkserver_preload(list(modules))
        os.environ.update(OF_SERVER)  # never restored: other threads may read them at any time
        self._is_ready = False
        self._warming_up = threading.Thread(target=self._warm_up, daemon=True)
        self._warming_up.start()

    def is_ready(self, *, wait: bool = False) -> bool:
        """Return whether the imports are done; until then, or without a server, a process per job is faster.

        With `wait`, return only once that is known.
        """
        if wait:
            self._warming_up.join()
        return self._is_ready

    def run(self, script: str, variables: Mapping[str, str], measure: Measure) -> int | None:
        """Run `script` with environment `variables`; return its exit status, negative for the signal that ended it.

        None if it was not started because the server had been killed; the next call starts another server.
        """
        may_begin, begin = FORKSERVER.Pipe(duplex=False)  # only once measured: it may end within milliseconds
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
        except (OSError, EOFError):  # no sockets here, or an import ends the process: a job will report it
            return
        self._is_ready = process.exitcode == 0


def forks_pay() -> bool:
    """Return whether forks pay here: not on macOS, where libraries break in them, nor on a GPU, for jobs of hours."""
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
    """Make Snakemake run Python scripts in forks once the imports of `scripts` are done; calling it once is enough.

    Except those with their own environment: a container, conda, or environment modules.
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
        may_be_fork = may_be_fork and stamps() == code_at_start()  # else its own process checks what has changed
        status = forks.run(file, {**os.environ, **given}, measure) if may_be_fork else None
        if status is None:
            in_own_process(job, file, edit)
        elif status:
            raise subprocess.CalledProcessError(status, f"{sys.executable} {file}")

    PythonScript.execute_script = execute


def _start(process: multiprocessing.context.ForkServerProcess) -> None:
    """Start a fork, and the server if there is none; to be called with `LOCK` held."""
    resource_tracker.ensure_running()  # else it starts with the server, and unblocks the signals
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
    """Behave like a separate Python process that runs `script`."""
    try:
        with may_begin:
            may_begin.recv_bytes()
    except EOFError:  # the process that started it is gone
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
    except (Exception, KeyboardInterrupt) as error:  # printed as Python does, without the frames outside the script
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename != script:
            frames = frames.tb_next
        traceback.print_exception(error.with_traceback(frames or error.__traceback__))
        sys.exit(128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1)

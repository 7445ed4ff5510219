"""Jobs as forks of one process that has imported what jobs import, where each would else be a Python of its own.

A training of the embedded data set takes seconds, and importing torch one of them.
"""

import ast
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any

FORKSERVER = multiprocessing.get_context("forkserver")
# Libraries read them when they are loaded, before it is known how many threads a job has.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# A fork copies one thread alone, so what is forked should have no other: here that of pyarrow, which pandas imports.
OF_SERVER = {**dict.fromkeys(THREADS, "1"), "JE_ARROW_MALLOC_CONF": "background_thread:false"}
FOLDERS = ("TMPDIR", "TMP", "TEMPDIR", "TEMP")
# What Snakemake has every Python script import.
OF_EVERY_SCRIPT = ("snakemake.logging", "snakemake.iocontainers")

Measure = Callable[[int], AbstractContextManager[object]]
"""What is measured of a process, while it runs."""


class Forks:
    """Runs Python scripts in forks of a process that begins to import what `scripts` import when this is made.

    Python's own fork server is that process: it ends with this one.
    """

    def __init__(self, scripts: Sequence[Path]) -> None:
        modules = dict.fromkeys([*OF_EVERY_SCRIPT, *(module for script in scripts for module in imported_by(script))])
        FORKSERVER.set_forkserver_preload(list(modules))
        os.environ.update(OF_SERVER)  # Snakemake sets the threads of each process that it starts
        self._is_ready = False
        # Python looks, whenever it starts a process, whether others have ended: two threads must not read how one did.
        self._lock = threading.Lock()
        self._warming_up = threading.Thread(target=self._warm_up, daemon=True)
        self._warming_up.start()

    def is_ready(self, *, wait: bool = False) -> bool:
        """Return whether all is imported; until then a process of its own is faster, and where there is no server.

        With `wait`, not before it is known.
        """
        if wait:
            self._warming_up.join()
        return self._is_ready

    def run(self, script: str, n_threads: int, variables: Mapping[str, str], measure: Measure) -> int | None:
        """Run `script` with environment `variables`; return its exit status, negative for the signal that ended it.

        None if it was not begun: the server has just been killed. The next one that is run starts another.
        """
        given = {**variables, **dict.fromkeys(THREADS, str(n_threads))}
        may_begin, begin = FORKSERVER.Pipe(duplex=False)  # once it is measured: it may end within milliseconds
        process = FORKSERVER.Process(target=_run, args=(script, given, may_begin), name=Path(script).name)
        with begin:
            try:
                with may_begin, self._lock, _no_main_module():
                    process.start()
            except (OSError, EOFError):
                return None
            assert process.pid is not None
            with measure(process.pid):
                with suppress(BrokenPipeError):  # it has been killed already
                    begin.send_bytes(b"")
                wait([process.sentinel])
        with self._lock:
            process.join()
        assert process.exitcode is not None
        return process.exitcode

    def _warm_up(self) -> None:
        try:
            with self._lock:
                process = FORKSERVER.Process(target=_nothing)
                with _no_main_module():
                    process.start()
                process.join()
            self._is_ready = process.exitcode == 0
        except (OSError, EOFError):  # no sockets here, or what is imported ends the process: a job will tell
            pass


def can_fork() -> bool:
    """Return whether forks do here what processes of their own do; on macOS libraries do not stand it."""
    return sys.platform == "linux"


def imported_by(script: Path) -> list[str]:
    """Return the modules that `script` imports before it does anything."""
    modules = []
    for node in ast.parse(script.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.append(node.module)
    return modules


def let_jobs_be_forks(scripts: Sequence[Path]) -> None:
    """Have Snakemake run Python scripts in forks, from when what `scripts` import is imported.

    Not those with an environment of their own: a container, conda's, or environment modules.
    """
    from snakemake.benchmark import benchmarked  # noqa: PLC0415 (forks import this module, and do without)
    from snakemake.script import PythonScript  # noqa: PLC0415

    forks = Forks(scripts)
    in_own_process = PythonScript.execute_script

    def execute(job: Any, file: str, edit: bool = False) -> None:
        measure = nullcontext if job.bench_record is None else partial(benchmarked, benchmark_record=job.bench_record)
        folder = job.resources.get("tmpdir")
        variables = dict.fromkeys(FOLDERS, folder) if folder else {}
        may_be_fork = forks.is_ready() and not (job.container_img or job.conda_env or job.env_modules)
        status = forks.run(file, job.threads, variables, measure) if may_be_fork else None
        if status is None:
            in_own_process(job, file, edit)
        elif status:
            raise subprocess.CalledProcessError(status, f"{sys.executable} {file}")

    PythonScript.execute_script = execute


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Hide the main module: a fork would import it, which is most of Snakemake, or whatever program calls Snakemake."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _nothing() -> None: ...


def _run(script: str, variables: dict[str, str], may_begin: Connection) -> None:
    """Be what a Python of its own would be that runs `script`."""
    with may_begin:
        may_begin.recv_bytes()
    os.environ.update(variables)
    tempfile.tempdir = None  # so that TMPDIR is read
    multiprocessing.set_start_method(None, force=True)
    sys.argv = [script]
    with suppress(OSError):  # `top` and `ps` show it; Snakemake calls its copy of train.py tmp1a2b3c4d.train.py
        Path("/proc/self/comm").write_text(Path(script).name.partition(".")[2], encoding="utf-8")
    runpy.run_path(script, run_name="__main__")

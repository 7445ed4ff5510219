"""What surrounds every job: a log, errors that read as one message, and a quick start and end."""

import errno
import faulthandler
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType

from lxmert_tickets.errors import FULL_DISK, LOST_DISK, NO_ACCESS, TicketsError
from lxmert_tickets.progress import OnTerminal

NO_MEMORY = "can't allocate memory"  # as torch says it
LINE = "%(asctime)s %(levelname)s %(message)s"

# What a script imports lives until its process ends. Looking for garbage in it, on import and at exit, takes a third of
# the time that a job with torch needs to start and stop. `job` switches the collector on again.
gc.disable()


class _LogFile(logging.FileHandler):
    """A log that ends no job when its disk is full: the terminal has the same lines."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Do nothing: a traceback for each line would bury the message on the terminal."""

    def close(self) -> None:
        """Close the file, whether or not its last lines can be written."""
        with suppress(OSError):
            super().close()


@contextmanager
def job(log_path: str | Path) -> Iterator[logging.Logger]:
    """Yield the logger of a job, which writes to `log_path` and to the terminal.

    A mistake that the user can fix ends the process with one message, status 1 and no traceback. The process of a
    script exits with the job: tearing down torch would take another tenth of a second.

    SIGTERM and Ctrl-C end a script as an error does, so that half-written files are removed. A crash leaves its
    traceback in the log, such as the SIGBUS when a memory-mapped file is truncated.
    """
    # So Snakemake hands the job to a script, whose process does nothing else.
    is_script = hasattr(sys.modules["__main__"], "snakemake")
    gc.freeze()
    gc.enable()
    log = logging.getLogger("lxmert_tickets")
    log.setLevel(logging.INFO)
    try:
        in_log, on_terminal = _LogFile(log_path, encoding="utf-8"), OnTerminal(sys.stderr)
    except OSError as error:
        sys.exit(str(_of_the_machine(error) or error))
    for handler in (in_log, on_terminal):
        handler.setFormatter(logging.Formatter(LINE, datefmt="%Y-%m-%d %H:%M:%S"))
        log.addHandler(handler)
    if is_script:
        faulthandler.enable(in_log.stream)  # type: ignore[arg-type]  # it is open
        signal.signal(signal.SIGTERM, partial(_end, os.getpid()))
    try:
        yield log
    except TicketsError as error:
        log.error("%s", error)  # noqa: TRY400 (the message says all; a traceback would bury it)
        sys.exit(1)
    except KeyboardInterrupt:
        log.warning("interrupted by Ctrl-C")  # no error: nothing is wrong with it
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if told := _of_the_machine(error):
            log.error("%s", told)  # noqa: TRY400 (as above)
            sys.exit(1)
        # Python prints it on the terminal; the log must end with it too.
        text = f"{type(error).__name__}: {error}"
        in_log.handle(log.makeRecord(log.name, logging.ERROR, __file__, 0, text, (), None))
        raise
    finally:
        if is_script:
            faulthandler.disable()
        for handler in (in_log, on_terminal):
            log.removeHandler(handler)
            handler.close()
    if is_script:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError):  # closed by who started Snakemake
                stream.flush()
        os._exit(0)


def _of_the_machine(error: Exception) -> TicketsError | None:
    """Return the error to report for a full or lost disk, a file without access or full memory, or None."""
    said = str(error)
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        place, expected, remedy = error.filename or "a file", "free disk space and inodes", "Free some (df, df -i)."
        if error.errno == errno.EFBIG:
            expected, remedy = "a disk and limits for a file of its size", "Raise ulimit -f, or use another disk."
        return TicketsError(place, f"cannot be written ({os.strerror(error.errno)})", expected, remedy)
    if isinstance(error, OSError) and error.errno in LOST_DISK:
        place, remedy = error.filename or "a file", "Check the disk or its file server, then start Snakemake again."
        return TicketsError(place, f"its disk fails or is away ({error.strerror})", "a disk that answers", remedy)
    if isinstance(error, OSError) and error.errno in NO_ACCESS and error.filename:
        remedy = "Check owner, permissions and disk of the file and of its folder."
        return TicketsError(error.filename, f"no access ({error.strerror})", "a file for this user", remedy)
    is_mapping = isinstance(error, OSError) and error.errno == errno.ENOMEM  # of a file, such as the features
    if isinstance(error, MemoryError) or NO_MEMORY in said or is_mapping:
        found = f"its memory is full ({said[max(said.find(NO_MEMORY), 0) :] or 'MemoryError'})"
        expected = "memory for the network and its batches"
        is_limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
        more = "Raise ulimit -v" if is_limited else "Run fewer jobs at once (--cores)"
        remedy = f"{more}, or lower batch sizes or the sizes of the model."
        return TicketsError(f"this machine ({socket.gethostname()})", found, expected, remedy)
    return None


def _end(process: int, number: int, frame: FrameType | None) -> None:
    """End the process on signal `number`, the job's own `process` by an exception."""
    if os.getpid() != process:  # a worker, which has nothing to tidy up
        os._exit(128 + number)
    signal.signal(number, signal.SIG_IGN)  # SLURM may send it too (jobs/signals.py); tidying up goes on
    sys.exit(128 + number)

"""Locks that one process has at a time, and that the kernel takes back when it ends, in whatever way.

A lock is a file. The process that has it, and its host, stand in it, so that others can be told.
"""

import logging
import os
import re
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lxmert_tickets.errors import ArtifactError

MOST_IN_VAIN = 100  # attempts to have a folder and a file in it
HOLDER = re.compile(rb"process ([1-9]\d{0,8}) on (\S+)")
HOLDER_BYTES = 4096

log = logging.getLogger("lxmert_tickets")


@dataclass(frozen=True)
class Holder:
    """Who took a lock last, and has it unless it has ended."""

    process: int
    host: str
    since: float  # seconds since 1970, by the clock of the disk

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def say_nothing(holder: str) -> None:
    """Have `alone` wait without a word."""


@contextmanager
def alone(path: Path, place: object, work: str, on_held: Callable[[str], None] = say_nothing) -> Iterator[None]:
    """Hold the lock file `path`, made with its folder where there is none, until the block ends.

    When another process has it, `on_held` is told once which, such as "process 12 on host": it raises an error of its
    own, or returns, and the lock is waited for. A disk without locks is worth a warning, no more: `place` is not to
    have `work` ("train it") done twice at once. Raises ArtifactError where the file cannot be made.
    """
    guard = FileLock(path, thread_local=False, fallback_to_soft=False, on_acquired=_sign)
    try:
        _acquire(guard, path, on_held)
    except OSError as error:
        if error.filename is not None:  # that of a file or folder which cannot be made; a lock has no name
            raise ArtifactError(
                path,
                f"cannot be opened for locking ({error.strerror})",
                "a lock file of this user",
                "Delete it, or make it writable.",
            ) from None
        log.warning(
            "%s: cannot be locked (%s): make sure that no second process tries to %s", place, error.strerror, work
        )
    try:
        yield
    finally:
        guard.release()


def remove_with_folder(path: Path, kept: Collection[Path] = ()) -> None:
    """Remove the lock file `path`, which is held, and its folder with all files in it; not what is to be `kept`.

    Another process may take the folder for its own as soon as the lock file is gone: then the folder stays. What cannot
    be removed stays too: nobody's work is to fail for it.
    """
    with suppress(FileNotFoundError):  # somebody has tidied up
        for other in path.parent.iterdir():
            if other != path and other not in kept:
                _remove(other)
    _remove(path)
    with suppress(OSError):
        path.parent.rmdir()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: cannot be removed (%s)", path, error.strerror)


def _acquire(guard: FileLock, path: Path, on_held: Callable[[str], None]) -> None:
    n_vain, is_told = 0, False
    while True:
        try:
            guard.acquire(blocking=is_told)  # makes the folder, which whoever had the lock may just remove
        except (FileNotFoundError, FileExistsError):
            n_vain += 1
            if n_vain == MOST_IN_VAIN:
                raise
        except Timeout:
            if holder := _name_of_holder(path):
                on_held(holder)
                is_told = True
        else:
            return


def _sign(descriptor: int) -> None:
    """Write into the lock file who has it."""
    with suppress(OSError):  # a full disk: the name is a courtesy
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def holder_of(path: Path) -> Holder | None:
    """Return who took the lock file `path` last, None where it does not tell; the file is only read."""
    try:
        with open(path, "rb") as file:
            found = HOLDER.fullmatch(file.read(HOLDER_BYTES))
            since = os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    return Holder(int(found[1]), found[2].decode(errors="replace"), since) if found else None


def _name_of_holder(path: Path) -> str:
    """Return who has the lock file `path`, "" where there is none."""
    holder = holder_of(path)
    return str(holder) if holder else "another process" if path.exists() else ""

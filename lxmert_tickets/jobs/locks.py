"""Locks held by one process at a time; the kernel releases them however the process ends.

A lock is a file that names the process holding it and its host, for others to report.
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

MOST_IN_VAIN = 100  # attempts to create the folder and the file
HOLDER = re.compile(rb"process ([1-9]\d{0,8}) on (\S+)")
HOLDER_BYTES = 4096

log = logging.getLogger("lxmert_tickets")


@dataclass(frozen=True)
class Holder:
    """The process that took a lock last, and holds it unless it has ended."""

    process: int
    host: str
    since: float  # seconds since 1970, by the clock of the disk

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


@contextmanager
def alone(path: Path, place: object, work: str, on_held: Callable[[str], None] = lambda holder: None) -> Iterator[None]:
    """Hold the lock file `path`, created with its folder if missing, until the block ends.

    If another process holds it, `on_held` is called once with its name, such as "process 12 on host": it raises an
    error of its own, or returns to wait for the lock. A disk without locks only causes a warning against a second
    process that tries to do `work` ("train it") on `place`. Raises ArtifactError when the file cannot be created.
    """
    guard = FileLock(path, thread_local=False, fallback_to_soft=False, on_acquired=_sign)
    try:
        _acquire(guard, path, on_held)
    except OSError as error:
        if error.filename is not None:  # a file or folder cannot be created; a failing lock names none
            existing = next(place for place in (path, *path.absolute().parents) if place.exists())
            found = f"cannot be opened for locking ({error.strerror})"
            remedy = f"Make {existing} writable." if existing.is_dir() or existing == path else f"Remove {existing}."
            raise ArtifactError(path, found, "a lock file of this user", remedy) from None
        log.warning(
            "%s: cannot be locked (%s): make sure that no second process tries to %s", place, error.strerror, work
        )
    try:
        yield
    finally:
        guard.release()


def remove_with_folder(path: Path, kept: Collection[Path] = ()) -> None:
    """Remove the lock file `path`, which is held, and its folder with all files in it except those `kept`.

    Another process may start to use the folder as soon as the lock file is gone: then the folder stays. What cannot be
    removed stays too, with a warning: no work must fail because of it.
    """
    with suppress(FileNotFoundError):  # another process has removed it
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
            guard.acquire(blocking=is_told)  # creates the folder, which the last holder may be removing
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
    """Write the holder's name into the lock file."""
    with suppress(OSError):  # a full disk: the name is a courtesy
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def holder_of(path: Path) -> Holder | None:
    """Return who took the lock file `path` last, or None if it does not say; the file is only read."""
    try:
        with open(path, "rb") as file:
            found = HOLDER.fullmatch(file.read(HOLDER_BYTES))
            since = os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    return Holder(int(found[1]), found[2].decode(errors="replace"), since) if found else None


def _name_of_holder(path: Path) -> str:
    """Return who holds the lock file `path`, "" if it does not exist."""
    holder = holder_of(path)
    return str(holder) if holder else "another process" if path.exists() else ""

"""Locks held by one process at a time; the kernel releases them however the process ends.

A lock is a file that names the process holding it and its host, for others to report.

A lock file may be removed while others wait for it, and they must not hold what no longer has its name. The number of
its names does not tell on every disk: NFS renames a removed file that is open, and other machines may still find it
under its old name for a minute. So it is marked as removed before.
"""

import errno
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lxmert_tickets.errors import ArtifactError

MOST_IN_VAIN = 100  # attempts to create the folder and the file, or to find a file that is not REMOVED
PAUSE_SECONDS = 0.05  # between attempts
REMOVED = b"removed"  # the content of a lock file that is about to be, or was
OPEN_BUT_REMOVED = (".nfs", ".fuse_hidden")  # begin the names that some disks give such files until they are closed
VANISHED = (errno.ENOENT, errno.EEXIST, errno.ESTALE)  # say that somebody has just removed or made it
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


class _RemovedError(Exception):
    pass


@contextmanager
def alone(path: Path, place: object, work: str, on_held: Callable[[str], None] = lambda holder: None) -> Iterator[None]:
    """Hold the lock file `path`, created with its folder if missing, until the block ends.

    If another process holds it, `on_held` is called once with its name, such as "process 12 on host": it raises an
    error of its own, or returns to wait for the lock. A disk without locks only causes a warning against a second
    process that tries to do `work` ("train it") on `place`. Raises ArtifactError when the file cannot be created.
    """
    guard = None
    try:
        guard = _acquired(path, on_held)
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
        if guard is not None:
            guard.release()
        if not path.exists():  # `remove_with_folder` could not remove the folder of an open file from every disk
            with suppress(OSError):
                path.parent.rmdir()


def remove_with_folder(path: Path, kept: Collection[Path] = ()) -> None:
    """Remove the lock file `path`, which is held, and its folder with all files in it except those `kept`.

    Another process may start to use the folder as soon as the lock file is gone: then the folder stays. What cannot be
    removed stays too, with a warning: no work must fail because of it.
    """
    with suppress(FileNotFoundError):  # another process has removed it
        for other in path.parent.iterdir():
            if other != path and other not in kept and not other.name.startswith(OPEN_BUT_REMOVED):
                _remove(other)
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            _write(descriptor, REMOVED)
        finally:
            os.close(descriptor)
    _remove(path)
    with suppress(OSError):
        path.parent.rmdir()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: cannot be removed (%s)", path, error.strerror)


def _acquired(path: Path, on_held: Callable[[str], None]) -> FileLock:
    """Return the lock at `path`, held by this process."""
    n_vain, is_told = 0, False

    def sign(descriptor: int) -> None:
        """Write the holder's name into the lock file."""
        is_removed = os.pread(descriptor, HOLDER_BYTES, 0) == REMOVED
        if is_removed and n_vain < MOST_IN_VAIN:  # later: who marked it was killed just then
            raise _RemovedError
        _write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())

    guard = FileLock(path, thread_local=False, fallback_to_soft=False, on_acquired=sign)
    while True:
        try:
            guard.acquire(blocking=is_told)  # creates the folder, which the last holder may be removing
        except _RemovedError:
            n_vain += 1
        except Timeout:
            if holder := _name_of_holder(path):
                on_held(holder)
                is_told = True
                continue
        except OSError as error:
            n_vain += 1
            if n_vain >= MOST_IN_VAIN or error.errno not in VANISHED:
                raise
            if error.errno != errno.ESTALE:  # which GlusterFS says for a second
                continue
        else:
            return guard
        time.sleep(PAUSE_SECONDS)


def _write(descriptor: int, content: bytes) -> None:
    """Make `content` that of a lock file, for other machines too: some disks would send it minutes later."""
    with suppress(OSError):  # a full disk: the name is a courtesy
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
        os.fsync(descriptor)


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
    """Return who holds the lock file `path`, "" if it does not exist or is about to be removed."""
    if holder := holder_of(path):
        return str(holder)
    try:
        return "" if path.read_bytes() == REMOVED else "another process"
    except FileNotFoundError:
        return ""
    except OSError:
        return "another process"

"""One process at a time holds a lock; the next gets it when the holder ends, however it ends."""

import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.jobs import locks
from lxmert_tickets.jobs.locks import Holder, alone, holder_of, remove_with_folder

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60

HOLD = """
import os, subprocess, sys, time
from pathlib import Path
from lxmert_tickets.jobs.locks import alone

with alone(Path(sys.argv[1]), "it", "do it"):
    child = 0
    if sys.argv[2] == "subprocess":
        child = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).pid
    if sys.argv[2] != "fork":
        print(child, flush=True)
    elif os.fork() == 0:
        print(os.getpid(), flush=True)  # what it inherited of the lock is closed by now
        time.sleep(60)
    sys.stdin.read()
"""

TAKE_TURNS = """
import sys
from pathlib import Path
from lxmert_tickets.jobs.locks import alone, remove_with_folder

lock, busy, turns = map(Path, sys.argv[1:])
for _ in range(100):
    with alone(lock, "it", "do it"):
        with open(busy, "x"), open(turns, "a") as file:  # fails where another is busy
            file.write("x")
        (lock.parent / "work").touch()
        busy.unlink()
        remove_with_folder(lock)
"""


class RefusedError(Exception):
    """Raised by a caller that does not want to wait."""


def refuse(holder: str) -> None:
    raise RefusedError(holder)


def started(code: str, *args: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def held_elsewhere(path: Path, child: str = "") -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Yield a process that holds the lock `path` until its input ends, and the process that it started, if any."""
    with started(HOLD, path, child) as holder:
        assert holder.stdout is not None
        number = int(holder.stdout.readline())
        try:
            yield holder, number
        finally:
            if number:
                os.kill(number, signal.SIGKILL)


def is_held(path: Path) -> bool:
    try:
        with alone(path, "it", "do it", refuse):
            return False
    except RefusedError:
        return True


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "lock"


def test_a_second_process_learns_who_holds_the_lock_and_may_give_up(lock: Path) -> None:
    lock.parent.mkdir()
    lock.write_text(f"process 1 on {'x' * 100}")  # of a process that was killed
    with held_elsewhere(lock) as (holder, _):
        for _ in range(2):  # a refused process takes nothing
            with pytest.raises(RefusedError) as refused, alone(lock, "it", "do it", refuse):
                raise AssertionError
            assert str(refused.value) == f"process {holder.pid} on {socket.gethostname()}"
        holder.communicate("", PATIENCE_SECONDS)
    assert holder.returncode == 0
    assert not is_held(lock)


def test_a_second_process_learns_once_who_holds_the_lock_and_may_wait(lock: Path) -> None:
    told: list[str] = []
    with held_elsewhere(lock) as (holder, _):
        assert holder.stdin is not None

        def let_it_end(whom: str) -> None:
            told.append(whom)
            threading.Timer(0.2, holder.stdin.close).start()

        with alone(lock, "it", "do it", let_it_end):
            assert lock.read_text() == f"process {os.getpid()} on {socket.gethostname()}"
            assert is_held(lock)
    assert told == [f"process {holder.pid} on {socket.gethostname()}"]


@pytest.mark.parametrize("child", ["", "subprocess", "fork"])
def test_a_killed_holder_loses_the_lock_whatever_processes_it_leaves_behind(lock: Path, child: str) -> None:
    with held_elsewhere(lock, child) as (holder, left_behind):
        assert is_held(lock)
        holder.kill()
        assert holder.wait(PATIENCE_SECONDS) == -signal.SIGKILL
        assert not is_held(lock)
        assert bool(left_behind) == bool(child)
        if left_behind:
            os.kill(left_behind, 0)  # it is alive


def test_the_lock_is_released_however_the_block_ends(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[FileLock] = []  # else garbage collection would release it
    monkeypatch.setattr(locks, "FileLock", lambda *of, **how: alive.append(FileLock(*of, **how)) or alive[-1])
    with pytest.raises(KeyboardInterrupt), alone(lock, "it", "do it", refuse):
        raise KeyboardInterrupt
    assert not is_held(lock)


def test_processes_that_take_turns_and_remove_the_folder_never_hold_the_lock_at_once(
    lock: Path, tmp_path: Path
) -> None:
    turns = tmp_path / "turns"
    with ExitStack() as stack:
        processes = [stack.enter_context(started(TAKE_TURNS, lock, tmp_path / "busy", turns)) for _ in range(4)]
    assert [process.returncode for process in processes] == [0] * 4
    assert turns.read_text() == "x" * 400
    assert not lock.parent.exists()


def before_it_is_locked(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> list[str]:
    """Have the holder `do` something between our opening and locking of its file, once; the list returned tells."""
    flock, done = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not done:
            done.append("done")
            do()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    return done


def test_a_lock_that_nfs_renames_because_it_is_removed_while_it_is_taken_is_made_again(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = lock.with_name(".nfs1")

    def remove() -> None:
        lock.write_bytes(locks.REMOVED)
        lock.rename(renamed)

    before_it_is_locked(monkeypatch, remove)
    with alone(lock, "it", "do it", refuse):
        assert str(holder_of(lock)) == f"process {os.getpid()} on {socket.gethostname()}"
    assert renamed.read_bytes() == locks.REMOVED


def test_a_removed_lock_says_so_to_whoever_has_opened_it(lock: Path) -> None:
    with alone(lock, "it", "do it"), open(lock, "rb") as opened:
        remove_with_folder(lock)
        assert opened.read() == locks.REMOVED


@pytest.mark.parametrize("name", [".nfs1", ".fuse_hidden1"])
def test_a_removed_file_that_the_disk_keeps_because_it_is_open_is_left_to_the_disk(lock: Path, name: str) -> None:
    with alone(lock, "it", "do it"):
        lock.with_name("other").touch()
        lock.with_name(name).touch()
        remove_with_folder(lock)
    assert [path.name for path in lock.parent.iterdir()] == [name]


def test_a_lock_whose_holder_is_killed_while_removing_it_can_be_taken(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PAUSE_SECONDS", 0)
    lock.parent.mkdir()
    lock.write_bytes(locks.REMOVED)
    with alone(lock, "it", "do it", refuse):
        assert is_held(lock)
        assert holder_of(lock)


def test_a_folder_is_removed_once_its_lock_is_closed_where_open_files_only_get_another_name(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, renamed = Path.unlink, lock.with_name(".nfs1")

    class Lock(FileLock):
        def release(self, force: bool = False) -> None:
            super().release(force)
            unlink(renamed)

    monkeypatch.setattr(locks, "FileLock", Lock)
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok: path.rename(renamed))
    with alone(lock, "it", "do it"):
        remove_with_folder(lock)
        assert [path.name for path in lock.parent.iterdir()] == [".nfs1"]
    assert not lock.parent.exists()


def test_a_lock_whose_folder_is_removed_while_it_is_taken_is_made_again(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = before_it_is_locked(monkeypatch, lambda: shutil.rmtree(lock.parent))
    with alone(lock, "it", "do it", refuse):
        assert is_held(lock)
    assert done


def test_a_folder_that_the_next_process_has_locked_is_not_removed(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = Path.unlink

    def unlink_and_meet_the_next(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if path == lock:
            path.write_text("the next one's")

    with alone(lock, "it", "do it"):
        (lock.parent / "work").touch()
        monkeypatch.setattr(Path, "unlink", unlink_and_meet_the_next)
        remove_with_folder(lock)
    assert [path.read_text() for path in lock.parent.iterdir()] == ["the next one's"]


def test_files_to_be_kept_stay_and_so_do_those_that_cannot_be_removed(
    lock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with alone(lock, "it", "do it"):
        for name in ("work", "result"):
            (lock.parent / name).touch()
        (lock.parent / "busy").mkdir()
        remove_with_folder(lock, [lock.parent / "result"])
    assert sorted(path.name for path in lock.parent.iterdir()) == ["busy", "result"]
    assert caplog.messages == [f"{lock.parent / 'busy'}: cannot be removed (Is a directory)"]


def test_removing_a_folder_that_is_already_gone_is_no_error(lock: Path) -> None:
    with alone(lock, "it", "do it"):
        shutil.rmtree(lock.parent)
        remove_with_folder(lock)
    assert not lock.parent.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_causes_only_a_warning(
    lock: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with alone(lock, "that file", "make it", refuse):
        remove_with_folder(lock)
    assert caplog.messages == [
        f"that file: cannot be locked ({os.strerror(number)}): make sure that no second process tries to make it"
    ]
    assert not lock.parent.exists()


def test_a_lock_that_another_machine_removes_while_it_is_taken_is_made_again(
    lock: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def remove() -> None:
        lock.unlink()
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    done = before_it_is_locked(monkeypatch, remove)
    with alone(lock, "it", "do it", refuse):
        assert is_held(lock)
    assert done
    assert not caplog.messages


def test_the_name_in_a_lock_is_sent_to_the_disk_at_once_so_that_other_machines_see_it(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sent.append(os.pread(descriptor, 99, 0).decode()))
    with alone(lock, "it", "do it"):
        assert sent == [f"process {os.getpid()} on {socket.gethostname()}"]


def test_an_error_within_the_block_is_not_mistaken_for_a_lock_error(lock: Path) -> None:
    with pytest.raises(OSError, match="the block's"), alone(lock, "it", "do it"):
        raise OSError(errno.ENOLCK, "the block's")


def test_a_lock_with_garbled_content_is_reported_as_held_by_another_process(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    lock.parent.mkdir()
    lock.write_text("\x1b{torn")
    monkeypatch.setattr(os, "pwrite", full)
    with alone(lock, "it", "do it"), pytest.raises(RefusedError) as refused, alone(lock, "it", "do it", refuse):
        raise AssertionError
    assert str(refused.value) == "another process"


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "in"):
        told = rf"lock: cannot be opened for locking \((Not a directory|File exists)\); .* Remove {tmp_path}/file\.$"
        with pytest.raises(ArtifactError, match=told), alone(folder / "lock", "it", "do it"):
            raise AssertionError


def test_a_lock_names_the_process_that_took_it_last(lock: Path) -> None:
    assert holder_of(lock) is None
    assert not lock.parent.exists()
    with alone(lock, "it", "do it"):
        holder = holder_of(lock)
        assert holder == Holder(os.getpid(), socket.gethostname(), lock.stat().st_mtime)
        assert str(holder) == f"process {os.getpid()} on {socket.gethostname()}"


def test_an_unreadable_lock_names_nobody_and_an_undecodable_host_is_shown_as_far_as_possible(lock: Path) -> None:
    lock.mkdir(parents=True)
    assert holder_of(lock) is None
    lock.rmdir()
    lock.write_bytes(b"process 7 on n\xf6de")
    assert str(holder_of(lock)) == "process 7 on n\N{REPLACEMENT CHARACTER}de"

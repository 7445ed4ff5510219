"""Real processes: killed in the middle, two at once, a full disk."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from breaking_server import Answer, BreakingServer, Served
from downloads_made import ZIP, Get, part_of, receipt_of
from made_zips import zip_bytes
from script_runs import wait_until

from lxmert_tickets.downloads import half_file
from lxmert_tickets.downloads.fetch import fetch
from lxmert_tickets.downloads.half_file import MARGIN_BYTES
from lxmert_tickets.errors import DataError

PROJECT = Path(__file__).resolve().parents[2]
BIG_ZIP = zip_bytes(20_000_000)


def start(url: str, target: Path, lock: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("fetching.py")), url, str(target), str(lock)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for_bytes(part: Path, n: int) -> None:
    wait_until(lambda: part.exists() and part.stat().st_size >= n)


def test_a_download_killed_at_random_moments_fetches_each_byte_once(
    server: BreakingServer, target: Path, lock: Path
) -> None:
    server.files["/train.zip"] = Served(BIG_ZIP)
    server.always = Answer(bytes_per_second=20_000_000)
    part, kept = part_of(target), []
    for moment in sorted(random.Random(3).sample(range(100_000, 18_000_000), 4)):
        process = start(server.url(), target, lock)
        wait_for_bytes(part, moment)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not target.exists()
        kept.append(part.stat().st_size)
    process = start(server.url(), target, lock)
    process.communicate()
    assert process.returncode == 0
    assert target.read_bytes() == BIG_ZIP
    # Each run asked only for what was missing; bytes sent into a dead connection do not count.
    assert [asked.first_byte for asked in server.asked] == [None, *kept]
    assert server.asked[-1].sent == len(BIG_ZIP) - kept[-1]


@pytest.mark.slow
def test_a_download_killed_again_and_again_ends_with_the_right_bytes(
    server: BreakingServer, target: Path, lock: Path
) -> None:
    server.files["/train.zip"] = Served(BIG_ZIP)
    server.always = Answer(bytes_per_second=10_000_000)
    part, chance, kept, n_kills = part_of(target), random.Random(4), 0, 0
    while not target.exists():
        n_asked = len(server.asked)
        process = start(server.url(), target, lock)
        time.sleep(chance.uniform(0.1, 2.0))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        n_kills += 1
        assert n_kills < 100
        asked_for = [asked.first_byte or 0 for asked in server.asked[n_asked:]]
        assert asked_for in ([], [kept])  # from the first missing byte, or killed before it asked
        kept = part.stat().st_size if part.exists() else 0
    process = start(server.url(), target, lock)
    process.communicate()
    assert process.returncode == 0
    assert target.read_bytes() == BIG_ZIP
    assert n_kills > 3


def test_two_concurrent_processes_download_the_file_once(server: BreakingServer, target: Path, lock: Path) -> None:
    server.files["/train.zip"] = Served(BIG_ZIP)
    second_waits = threading.Event()
    server.always = Answer(held_by=second_waits)
    first = start(server.url(), target, lock)
    wait_for_bytes(part_of(target), 100_000)
    second = start(server.url(), target, lock)
    assert second.stderr is not None
    assert f"waiting for process {first.pid} on " in second.stderr.readline()
    second_waits.set()
    said = [process.communicate()[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert "already there, verified" in said[1]
    assert server.sent == len(BIG_ZIP)
    assert target.read_bytes() == BIG_ZIP


def test_too_small_a_disk_is_noticed_before_the_first_byte(
    server: BreakingServer, get: Get, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/train.zip"] = Served(BIG_ZIP)
    free = [MARGIN_BYTES + len(BIG_ZIP)]  # not enough: the margin grows with the file
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free[0]))
    with pytest.raises(
        DataError, match=r"36\.8 MB free on the disk .*expected 37\.2 MB for the download.*Free some disk space"
    ):
        get(server.url())
    assert not part_of(target).exists()
    free[0] += len(BIG_ZIP) // 50 + 1
    get(server.url())


def test_a_half_file_needs_room_only_for_the_rest(
    server: BreakingServer, get: Get, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/train.zip"] = Served(BIG_ZIP)
    server.answers = [Answer(break_after=19_000_000), Answer(status=404)]
    with pytest.raises(DataError):
        get(server.url())
    rest = len(BIG_ZIP) - 19_000_000
    free = [MARGIN_BYTES + rest]  # not enough: the margin grows with the file
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free[0]))
    with pytest.raises(DataError, match="free on the disk"):
        get(server.url())
    free[0] += rest // 50
    get(server.url())
    assert target.read_bytes() == BIG_ZIP
    assert server.asked[-1].first_byte == 19_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_during_a_download_is_reported_and_what_arrived_is_kept(
    server: BreakingServer, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _check_that_a_full_disk_is_told(server, small_disk, monkeypatch)
    size = (small_disk / ".train.zip.part").stat().st_size
    assert size > 3_000_000
    assert (small_disk / ".train.zip.part").read_bytes() == BIG_ZIP[:size]
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    server.asked.clear()
    fetch([server.url()], small_disk / "train.zip", lock=small_disk / "lock.json")
    assert [asked.first_byte for asked in server.asked] == [size]
    assert (small_disk / "train.zip").read_bytes() == BIG_ZIP


def test_a_disk_that_accepts_only_short_writes_gets_every_byte(
    server: BreakingServer, get: Get, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sluggish(half_file.FileIO):
        def write(self, block: memoryview) -> int:  # type: ignore[override]
            return super().write(block[:5000])

    monkeypatch.setattr(half_file, "FileIO", Sluggish)
    assert get(server.url()) == receipt_of(ZIP)
    assert target.read_bytes() == ZIP


def test_a_refused_write_is_reported_as_a_full_disk(
    server: BreakingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(half_file.FileIO):
        def write(self, block: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(half_file, "FileIO", FullDisk)
    _check_that_a_full_disk_is_told(server, tmp_path, monkeypatch)


def _check_that_a_full_disk_is_told(server: BreakingServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if another process filled the disk after the check: the check sees free space that does not exist."""
    server.files["/train.zip"] = Served(BIG_ZIP)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
        with pytest.raises(DataError, match=r"is full; expected space for the file. Free some disk space"):
            fetch([server.url()], folder / "train.zip", lock=folder / "lock.json")

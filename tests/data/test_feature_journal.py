"""A killed conversion resumes where it stopped, and ends in the bytes of an uninterrupted one."""

import errno
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from feature_tables import shown_progress, write_tsv, zipped
from script_runs import wait_until

from lxmert_tickets.data import feature_conversion, hdf5
from lxmert_tickets.data.feature_conversion import convert_features
from lxmert_tickets.errors import ArtifactError, DataError
from lxmert_tickets.progress import Progress

N_IMAGES = 120
BLOCK_BYTES = 4000
"""One image or two."""

CONVERT = """
import os, sys, time
from lxmert_tickets.data.feature_conversion import Progress, convert_features
*paths, output, workers, pause = sys.argv[1:]

def wait(progress, n_bytes):
    time.sleep(float(pause))
    while os.path.exists(output + ".hold"):  # as long as a test wants it to last
        time.sleep(0.01)

Progress.advance = wait
convert_features(paths, output, metadata={"a": 1}, workers=int(workers), block_bytes=4000)
"""
# It kills itself, in a thread: whoever watched it from elsewhere might look away for longer than it lives.
CONVERT_AND_BE_KILLED = """
import os, signal, threading, time
from pathlib import Path

def kill(journal, least_bytes, seconds):
    while not journal.exists() or journal.stat().st_size < least_bytes:
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=kill, args=(Path({journal!r}), {least_bytes}, {seconds}), daemon=True).start()
"""


class KilledError(Exception):
    """Stands in for a kill at an exact moment."""


def start(
    paths: list[Path], output: Path, workers: int, pause: float = 0.01, before: str = ""
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", before + CONVERT, *map(str, paths), str(output), str(workers), str(pause)]
    return subprocess.Popen(command)


def write_table(path: Path, first: int, n: int) -> Path:
    rng = np.random.default_rng(first)
    names = [f"IMAGE_{index}" for index in range(first, first + n)]
    return write_tsv(path, names, lambda _: rng.standard_exponential((2, 200), dtype=np.float32))


def sources_of(kind: str, folder: Path) -> list[Path]:
    folder.mkdir()
    if kind == "tsv":
        return [write_table(folder / "a.tsv", 0, N_IMAGES)]
    first = zipped(write_table(folder / "a.tsv", 0, N_IMAGES // 2), folder / "a.zip")
    second = write_table(folder / "b.tsv", N_IMAGES // 2, N_IMAGES // 2)
    return [first, second] if kind == "both" else [first, zipped(second, folder / "b.zip", name="b.tsv")]


def whole(sources: list[Path], tmp_path: Path) -> bytes:
    convert_features(sources, tmp_path / "whole.h5", metadata={"a": 1}, workers=1)
    return (tmp_path / "whole.h5").read_bytes()


def count_blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that fills with the first row of every block decoded in this process from now on."""
    rows: list[int] = []
    task_of = feature_conversion._Conversion._task

    def counting(conversion, index, block, row):
        rows.append(row)
        return task_of(conversion, index, block, row)

    monkeypatch.setattr(feature_conversion._Conversion, "_task", counting)
    return rows


@pytest.mark.parametrize(("kind", "workers"), [("tsv", 1), ("zip", 2), ("both", 2)])
def test_a_conversion_killed_repeatedly_at_random_moments_ends_in_the_same_bytes(
    tmp_path: Path, kind: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = sources_of(kind, tmp_path / "in")
    output = tmp_path / "f.h5"
    journal = tmp_path / ".f.h5.partial" / "journal"
    moments = random.Random(kind)
    done = 0
    for _ in range(3):
        killed = CONVERT_AND_BE_KILLED.format(
            journal=str(journal), least_bytes=done + moments.randrange(1, 3500), seconds=moments.random() * 0.02
        )
        assert start(sources, output, workers, before=killed).wait() == -signal.SIGKILL
        assert not output.exists()
        assert journal.stat().st_size >= done
        done = journal.stat().st_size
    decoded = count_blocks(monkeypatch)
    convert_features(sources, output, metadata={"a": 1}, workers=workers, block_bytes=BLOCK_BYTES)
    assert 0 < decoded[0] < N_IMAGES
    assert output.read_bytes() == whole(sources, tmp_path)
    assert not (tmp_path / ".f.h5.partial").exists()


def broken_off(sources: list[Path], output: Path, after_blocks: int = 20) -> Path:
    """Convert until `after_blocks` blocks are done, and return the folder of the partial work."""
    calls = []

    def stop(progress: Progress, n_bytes: int) -> None:
        calls.append(n_bytes)
        if len(calls) == after_blocks:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "advance", stop)
        with pytest.raises(KilledError):
            convert_features(sources, output, metadata={"a": 1}, workers=1, block_bytes=BLOCK_BYTES)
    assert not output.exists()
    return output.with_name(f".{output.name}.partial")


def damage_features(folder: Path) -> None:
    content = bytearray((folder / "features").read_bytes())
    content[-1] ^= 1
    (folder / "features").write_bytes(content)


def damage_record(folder: Path) -> None:
    before, name, after = (folder / "journal").read_bytes().rpartition(b"IMAGE_")
    assert name
    (folder / "journal").write_bytes(before + b"image_" + after)


def truncate(name: str, size: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size - size)


def append_to_journal(folder: Path) -> None:
    with open(folder / "journal", "ab") as file:
        file.write(b"\x20\0\0\0torn")


@pytest.mark.parametrize(
    ("harm", "kept_most"),
    [
        (lambda folder: None, True),
        (append_to_journal, True),
        (truncate("journal", 1), True),
        (damage_features, True),
        (damage_record, True),
        (truncate("features", 3), True),
        (lambda folder: (folder / "journal").write_bytes(b"x" * 500), False),
        (lambda folder: (folder / "features").unlink(), False),
        (lambda folder: (folder / "about.json").unlink(), False),
        (lambda folder: (folder / "about.json").write_text('{"version": 0}'), False),
    ],
)
def test_truncated_or_damaged_partial_work_is_redone(tmp_path: Path, monkeypatch, harm, kept_most: bool) -> None:
    source = write_table(tmp_path / "a.tsv", 0, N_IMAGES)
    folder = broken_off([source], tmp_path / "f.h5")
    harm(folder)
    decoded = count_blocks(monkeypatch)
    convert_features([source], tmp_path / "f.h5", metadata={"a": 1}, block_bytes=BLOCK_BYTES)
    assert (decoded[0] > 10) == kept_most
    assert (tmp_path / "f.h5").read_bytes() == whole([source], tmp_path)


def with_other_rows(source: Path) -> None:
    write_table(source, 1000, N_IMAGES)


def touched(source: Path) -> None:
    os.utime(source, ns=(1, 1))


@pytest.mark.parametrize("change", [with_other_rows, touched])
def test_partial_work_on_other_input_is_discarded_with_a_warning(tmp_path: Path, monkeypatch, change, caplog) -> None:
    source = write_table(tmp_path / "a.tsv", 0, N_IMAGES)
    broken_off([source], tmp_path / "f.h5")
    change(source)
    decoded = count_blocks(monkeypatch)
    convert_features([source], tmp_path / "f.h5", metadata={"a": 1}, block_bytes=BLOCK_BYTES)
    assert decoded[0] == 0
    assert "was made from other input or settings; starting over" in caplog.text
    assert (tmp_path / "f.h5").read_bytes() == whole([source], tmp_path)


def test_partial_work_is_discarded_if_metadata_changes_or_inputs_are_added(tmp_path: Path, monkeypatch) -> None:
    source = write_table(tmp_path / "a.tsv", 0, N_IMAGES)
    more = write_table(tmp_path / "b.tsv", 5000, 3)
    for paths, metadata in (([source], {"a": 2}), ([source, more], {"a": 1})):
        broken_off([source], tmp_path / "f.h5")
        decoded = count_blocks(monkeypatch)
        convert_features(paths, tmp_path / "f.h5", metadata=metadata, block_bytes=BLOCK_BYTES)
        assert decoded[0] == 0
        monkeypatch.undo()
        (tmp_path / "f.h5").unlink()


def test_another_block_size_or_number_of_workers_resumes_the_same_work(tmp_path: Path, monkeypatch) -> None:
    source = zipped(write_table(tmp_path / "a.tsv", 0, N_IMAGES), tmp_path / "a.zip")
    broken_off([source], tmp_path / "f.h5")
    decoded = count_blocks(monkeypatch)
    convert_features([source], tmp_path / "f.h5", metadata={"a": 1}, workers=2, block_bytes=1500)
    assert decoded[0] > 10
    assert (tmp_path / "f.h5").read_bytes() == whole([source], tmp_path)


def test_after_a_kill_an_image_converted_before_it_is_still_refused_as_a_repeat(tmp_path: Path, monkeypatch) -> None:
    source = write_table(tmp_path / "a.tsv", 0, N_IMAGES)
    again = write_tsv(tmp_path / "b.tsv", ["IMAGE_3"], lambda index: np.ones((2, 200), np.float32))
    broken_off([source, again], tmp_path / "f.h5")
    with pytest.raises(DataError, match=r"b\.tsv:1: IMAGE_3 again, after .*a\.tsv:4"):
        convert_features([source, again], tmp_path / "f.h5", metadata={"a": 1}, block_bytes=BLOCK_BYTES)
    assert not (tmp_path / ".f.h5.partial").exists()


def test_the_report_includes_the_work_done_before_the_kill(tmp_path: Path, monkeypatch) -> None:
    largest = [np.full((2, 200), 1000.2, np.float32)] + [np.ones((2, 200), np.float32)] * (N_IMAGES - 1)
    source = write_tsv(tmp_path / "a.tsv", [f"I{index}" for index in range(N_IMAGES)], lambda index: largest[index])
    broken_off([source], tmp_path / "f.h5")
    told = shown_progress(monkeypatch)
    report = convert_features([source], tmp_path / "f.h5", metadata={"a": 1}, block_bytes=BLOCK_BYTES)
    assert report.max_absolute_error == pytest.approx(0.2, rel=1e-2)
    assert report.n_images == N_IMAGES
    assert 0 < told[0][0] < told[-1][0] == source.stat().st_size


def test_a_conversion_killed_before_its_last_step_decodes_nothing_again(tmp_path: Path, monkeypatch) -> None:
    source = zipped(write_table(tmp_path / "a.tsv", 0, N_IMAGES), tmp_path / "a.zip")

    def killed(conversion: object) -> int:
        raise KilledError

    monkeypatch.setattr(feature_conversion._Conversion, "finish", killed)
    with pytest.raises(KilledError):
        convert_features([source], tmp_path / "f.h5", metadata={"a": 1}, block_bytes=BLOCK_BYTES)
    monkeypatch.undo()
    decoded = count_blocks(monkeypatch)
    convert_features([source], tmp_path / "f.h5", metadata={"a": 1}, block_bytes=BLOCK_BYTES)
    assert decoded == []
    monkeypatch.undo()
    assert (tmp_path / "f.h5").read_bytes() == whole([source], tmp_path)


def test_a_second_conversion_to_the_same_file_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    source = write_table(tmp_path / "a.tsv", 0, N_IMAGES)
    output = tmp_path / "f.h5"
    hold = tmp_path / "f.h5.hold"
    hold.touch()
    process = start([source], output, 1)
    try:
        wait_until(lambda: (tmp_path / ".f.h5.partial" / "journal").exists() or process.poll() is not None)
        found = (
            rf"f\.h5: process {process.pid} on {re.escape(socket.gethostname())} is converting features to this file"
        )
        with pytest.raises(ArtifactError, match=found):
            convert_features([source], output, metadata={"a": 1})
        convert_features([source], tmp_path / "other.h5", metadata={"a": 1})
    finally:
        hold.unlink()
    assert process.wait() == 0
    assert output.read_bytes() == (tmp_path / "other.h5").read_bytes()


def test_a_disk_without_locks_only_causes_a_warning(tmp_path: Path, monkeypatch, caplog) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    convert_features([write_tsv(tmp_path / "a.tsv", ["A"])], tmp_path / "f.h5", metadata={})
    assert (
        "f.h5: cannot be locked (No locks available): make sure that no second process tries to convert to it"
        in caplog.text
    )
    assert {path.name for path in tmp_path.iterdir()} == {"a.tsv", "f.h5"}


def test_a_full_disk_is_reported_with_a_remedy_and_partial_work_is_kept(tmp_path: Path, monkeypatch) -> None:
    source = write_table(tmp_path / "a.tsv", 0, N_IMAGES)
    output = tmp_path / "f.h5"
    limited = CONVERT.replace(
        "import os, sys, time",
        "import os, sys, time, resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))",
    )
    command = [sys.executable, "-c", limited, str(source), str(output), "1", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "f.h5: cannot be written (File too large)" in done.stderr
    assert "it resumes where it stopped" in done.stderr
    assert not output.exists()
    decoded = count_blocks(monkeypatch)
    convert_features([source], output, metadata={"a": 1}, block_bytes=BLOCK_BYTES)
    assert decoded[0] > 0
    assert output.read_bytes() == whole([source], tmp_path)


def test_a_disk_that_is_full_from_the_start_is_reported_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:  # in the words of h5py
        raise RuntimeError("Disable slist on flush dest failure failed (file write failed: errno = 28, ...)")

    monkeypatch.setattr(hdf5, "_set_metadata", fails)
    with pytest.raises(ArtifactError, match=r"f\.h5: cannot be written \(No space left on device\)"):
        convert_features([write_tsv(tmp_path / "a.tsv", ["A"])], tmp_path / "f.h5", metadata={})


def test_a_disk_with_too_little_room_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_table(tmp_path / "a.tsv", 0, N_IMAGES)
    usage = feature_conversion.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(feature_conversion.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(ArtifactError, match=r"1000 bytes are free; expected 9\d{4} bytes"):
        convert_features([source], tmp_path / "f.h5", metadata={"a": 1})

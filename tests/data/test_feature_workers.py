"""Decoding processes give what one process gives, in order, and report failures."""

import mmap
import os
import tempfile
from multiprocessing.connection import Pipe
from pathlib import Path

import numpy as np
import pytest
from feature_tables import numbers, write_tsv

from lxmert_tickets.data import feature_workers
from lxmert_tickets.data.feature_decoding import BlockTask, DecodedBlock
from lxmert_tickets.data.feature_workers import Decoders, decoding

N_BLOCKS = 12


def submit(decoders: Decoders, tsv: bytes, row: int, label: str = "a.tsv") -> None:
    decoders.next_buffer()[: len(tsv)] = tsv
    decoders.submit(BlockTask(len(tsv), label, row + 1, 2, 3, "a.tsv:1", offset=12 * row))


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_results_come_in_the_order_of_the_tasks_and_features_go_to_their_place(tmp_path: Path, n_workers: int) -> None:
    lines = write_tsv(tmp_path / "a.tsv", [f"I{k}" for k in range(N_BLOCKS)]).read_bytes().splitlines(keepends=True)
    found: list[DecodedBlock] = []
    with open(tmp_path / "out", "wb+") as out, decoding(n_workers, out.fileno(), 4096) as decoders:
        for row, line in enumerate(lines):
            submit(decoders, line, row)
            found += decoders.finished()
        found += decoders.finished(wait=True)
        stored = np.frombuffer((tmp_path / "out").read_bytes(), "<f2").reshape(N_BLOCKS, 2, 3)
    assert [block.image_ids for block in found] == [[f"I{k}"] for k in range(N_BLOCKS)]
    assert np.array_equal(stored, [numbers(k) for k in range(N_BLOCKS)])


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_bad_row_fails_only_its_own_block(tmp_path: Path, n_workers: int) -> None:
    line = write_tsv(tmp_path / "a.tsv", ["A"]).read_bytes()
    with open(tmp_path / "out", "wb+") as out, decoding(n_workers, out.fileno(), 4096) as decoders:
        submit(decoders, line + b"bad\n", 0)
        submit(decoders, line, 5)
        first, second = decoders.finished(wait=True)
    assert first.image_ids == ["A"]
    assert first.failure is not None
    assert first.failure[:2] == ("a.tsv:2", "1 columns")
    assert second.failure is None


@pytest.mark.parametrize("n_workers", [1, 2])
def test_failure_to_write_features_raises_in_the_calling_process(tmp_path: Path, n_workers: int) -> None:
    line = write_tsv(tmp_path / "a.tsv", ["A"]).read_bytes()
    with open(tmp_path / "a.tsv", "rb") as read_only, decoding(n_workers, read_only.fileno(), 4096) as decoders:

        def work() -> None:
            submit(decoders, line, 0)
            list(decoders.finished(wait=True))

        with pytest.raises(OSError, match="Bad file descriptor"):
            work()


def test_a_killed_worker_raises_an_error_with_its_exit_status(tmp_path: Path) -> None:
    line = write_tsv(tmp_path / "a.tsv", ["A"]).read_bytes()
    with open(tmp_path / "out", "wb+") as out, decoding(2, out.fileno(), 4096) as decoders:
        decoders._workers[0]._process.kill()
        decoders._workers[0]._process.wait()

        def work() -> None:
            submit(decoders, line, 0)
            list(decoders.finished(wait=True))

        with pytest.raises(RuntimeError, match="ended with status -9"):
            work()


def test_a_worker_killed_in_the_middle_of_an_answer_raises_that_error_too(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb+") as out, decoding(2, out.fileno(), 4096) as decoders:
        worker = decoders._workers[0]
        worker._process.kill()
        worker._pipe.close()
        worker._pipe, its_end = Pipe()
        with its_end:
            os.write(its_end.fileno(), (100).to_bytes(4, "big") + b"half of 100 bytes")
        assert worker.has_answered()
        with pytest.raises(RuntimeError, match="ended with status -9"):
            worker.receive()


def test_workers_end_when_the_process_that_started_them_is_gone(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb+") as out, feature_workers._shared_file(4096) as shared:
        worker = feature_workers._Worker(shared, out.fileno(), 4096)
        worker._pipe.close()  # as when its owner was killed
        assert worker._process.wait(timeout=300) == 0


def test_buffers_take_memory_only_where_they_are_filled() -> None:
    with feature_workers._shared_file(64 << 20) as shared:
        mmap.mmap(shared, 0)[:1000] = b"x" * 1000
        assert os.fstat(shared).st_blocks * 512 < 1 << 20


def test_without_files_in_memory_a_temporary_file_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with feature_workers._shared_file(4096) as shared:
        assert os.fstat(shared).st_dev == tmp_path.stat().st_dev
        assert (os.fstat(shared).st_size, os.fstat(shared).st_nlink) == (4096, 0)  # no name: it vanishes with its users
    assert not list(tmp_path.iterdir())
    test_results_come_in_the_order_of_the_tasks_and_features_go_to_their_place(tmp_path, 2)

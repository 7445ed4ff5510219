"""Worker processes that decode blocks of lines and write the features themselves.

The lines are in shared memory; tasks and results, which are small, go through pipes. A worker exits when its pipe
closes, however its parent ended.
"""

import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import msgspec

from lxmert_tickets.data.feature_decoding import BlockTask, DecodedBlock, decode_block

ROOT = Path(__file__).resolve().parents[2]
MAX_WORKERS = 8
"""More would be idle: one process reads and cuts for all of them."""

TASKS_AHEAD = 2
"""Per worker: one in progress, one queued."""


class _Order(msgspec.Struct, frozen=True):
    buffer_index: int
    task: BlockTask


class _Answer(msgspec.Struct, frozen=True):
    block: DecodedBlock | None
    errno: int = 0


@contextmanager
def decoding(n_workers: int, features: int, buffer_bytes: int) -> Iterator["Decoders"]:
    """Yield decoders in `n_workers` processes (1: in this one, at most MAX_WORKERS) that write to the file `features`.

    A block must fit in `buffer_bytes`; only the filled part of a buffer takes memory.
    """
    if n_workers <= 1:
        buffer = memoryview(mmap.mmap(-1, buffer_bytes))
        yield Decoders([_Here(buffer, features)], [buffer])
        return
    n_workers = min(n_workers, MAX_WORKERS)
    n_buffers = n_workers * TASKS_AHEAD + 1
    with _shared_file(n_buffers * buffer_bytes) as shared:
        workers = [_Worker(shared, features, buffer_bytes) for _ in range(n_workers)]
        try:
            yield Decoders(workers, _buffers(shared, buffer_bytes))
        finally:
            for worker in workers:
                worker.end()


class Decoders:
    """Decodes blocks and writes their features; results come in the order of the tasks.

    Workers and buffers take blocks in turn, as all blocks are of about the same size.
    """

    def __init__(self, workers: "Sequence[_Worker | _Here]", buffers: Sequence[memoryview]) -> None:
        self._workers, self._buffers = workers, buffers
        self._n_submitted = self._n_received = 0
        self._results = deque[DecodedBlock]()

    def next_buffer(self) -> memoryview:
        """Return the buffer for the next block, waiting until one is free."""
        while self._n_submitted - self._n_received >= len(self._buffers):
            self._receive()
        return self._buffers[self._n_submitted % len(self._buffers)]

    def submit(self, task: BlockTask) -> None:
        """Submit the block in the buffer that `next_buffer` returned last."""
        order = _Order(self._n_submitted % len(self._buffers), task)
        self._workers[self._n_submitted % len(self._workers)].send(order)
        self._n_submitted += 1

    def finished(self, *, wait: bool = False) -> Iterator[DecodedBlock]:
        """Yield the results available; with `wait`, those of all tasks.

        Raises OSError, as the other methods do, when features could not be written.
        """
        while self._n_received < self._n_submitted and (wait or self._oldest().has_answered()):
            self._receive()
        while self._results:
            yield self._results.popleft()

    def _oldest(self) -> "_Worker | _Here":
        return self._workers[self._n_received % len(self._workers)]

    def _receive(self) -> None:
        self._results.append(self._oldest().receive())
        self._n_received += 1


class _Here:
    """Decodes in this process, when it is sent an order."""

    def __init__(self, buffer: memoryview, features: int) -> None:
        self._buffer, self._features, self._answers = buffer, features, deque[DecodedBlock]()

    def send(self, order: _Order) -> None:
        self._answers.append(_work(self._buffer, order.task, self._features))

    def has_answered(self) -> bool:
        return True

    def receive(self) -> DecodedBlock:
        return self._answers.popleft()


class _Worker:
    """A process that decodes, and the pipe to it."""

    def __init__(self, shared: int, features: int, buffer_bytes: int) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._pipe, its_end = Pipe()
        with its_end:
            given = its_end.fileno(), shared, features
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, *map(str, (*given, buffer_bytes))],
                pass_fds=given,
                env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            )

    def send(self, order: _Order) -> None:
        try:
            self._pipe.send_bytes(msgspec.msgpack.encode(order))
        except OSError:
            raise self._ended() from None

    def has_answered(self) -> bool:
        return self._pipe.poll()

    def receive(self) -> DecodedBlock:
        try:
            answer = msgspec.msgpack.decode(self._pipe.recv_bytes(), type=_Answer)
        except (EOFError, OSError):  # the latter if it ended in the middle of an answer
            raise self._ended() from None
        if answer.block is None:
            raise OSError(answer.errno, os.strerror(answer.errno))
        return answer.block

    def end(self) -> None:
        """Kill the process; its current task is no longer needed."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()

    def _ended(self) -> RuntimeError:
        return RuntimeError(f"a process that decodes region features ended with status {self._process.wait()}")


def _serve(pipe: int, shared: int, features: int, buffer_bytes: int) -> None:
    """Process the orders that come through `pipe` until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    buffers = _buffers(shared, buffer_bytes)
    with Connection(pipe) as orders, suppress(EOFError, OSError):
        while True:
            order = msgspec.msgpack.decode(orders.recv_bytes(), type=_Order)
            try:
                answer = _Answer(_work(buffers[order.buffer_index], order.task, features))
            except OSError as error:
                answer = _Answer(None, error.errno or 0)
            orders.send_bytes(msgspec.msgpack.encode(answer))


def _work(buffer: memoryview, task: BlockTask, features: int) -> DecodedBlock:
    block, content = decode_block(buffer[: task.size_bytes], task)
    _write_all(features, content, task.offset)
    if hasattr(os, "posix_fadvise"):  # start writing to disk now, not all at the end
        os.posix_fadvise(features, task.offset, len(content), os.POSIX_FADV_DONTNEED)
    return block


def _write_all(file: int, content: memoryview, offset: int) -> None:
    while content:
        written = os.pwrite(file, content, offset)
        content, offset = content[written:], offset + written


@contextmanager
def _shared_file(size_bytes: int) -> Iterator[int]:
    """Yield an open anonymous file, in memory where supported; it is freed when the last process closes it."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("lxmert-tickets-lines")
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    try:
        os.ftruncate(file, size_bytes)
        yield file
    finally:
        os.close(file)


def _buffers(shared: int, buffer_bytes: int) -> list[memoryview]:
    whole = memoryview(mmap.mmap(shared, 0))
    return [whole[start : start + buffer_bytes] for start in range(0, len(whole), buffer_bytes)]


if __name__ == "__main__":
    _serve(*map(int, sys.argv[1:]))

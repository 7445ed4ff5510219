"""Work whose results are needed only at the end, on side CUDA streams: weight gradients, parts of the optimiser step.

A product over a batch of 32 fills only a fraction of a large GPU, so the next sublayer's can run at the same time.
Nor does the update of one matrix keep the memory bandwidth busy from start to end.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import cycle

import torch

N_STREAMS = 3
Work = Callable[[], None]


class Aside:
    """Runs work concurrently with the current stream, until `join`; within a CUDA graph capture too.

    Works go to several streams in turn: none may need another's results, or write what another reads or writes.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams = cycle([torch.cuda.Stream(device) for _ in range(N_STREAMS)])  # type: ignore[no-untyped-call]
        self._begun: defaultdict[torch.cuda.Stream, list[Work]] = defaultdict(list)

    def run(self, work: Work) -> None:
        """Run `work` after everything queued on the current stream so far."""
        self.run_each([work])

    def run_each(self, works: Sequence[Work]) -> None:
        """Run independent works after everything queued on the current stream so far."""
        streams = [next(self._streams) for _ in works]
        for stream in dict.fromkeys(streams):
            stream.wait_stream(torch.cuda.current_stream(self._device))
        for stream, work in zip(streams, works, strict=True):
            self._begun[stream].append(work)  # keeps the memory that it reads from being reused too early
            with torch.cuda.stream(stream):
                work()

    def join(self) -> None:
        """Make the current stream wait for all works."""
        for stream in self._begun:  # during a capture, waiting for a stream outside the graph is an error
            torch.cuda.current_stream(self._device).wait_stream(stream)
        self._begun.clear()


_in_use: ContextVar[Aside | None] = ContextVar("_in_use", default=None)


@contextmanager
def using(aside: Aside) -> Iterator[None]:
    """Run on `aside` what `beside` is given in this block, and the weight gradients of its forward passes.

    Join `aside` before reading these gradients.
    """
    before = _in_use.set(aside)
    try:
        yield
    finally:
        _in_use.reset(before)


def runner() -> Callable[[Work], None]:
    """Return a function that runs work on the `Aside` in use, or at once if none is. Call this in the forward pass."""
    aside = _in_use.get()
    return aside.run if aside is not None else lambda work: work()


def beside(works: Iterable[Work]) -> None:
    """Run independent works, concurrently within `using`, and join them all."""
    aside = _in_use.get()
    if aside is None:
        for work in works:
            work()
    else:
        aside.run_each(list(works))
        aside.join()

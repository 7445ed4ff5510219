"""Work that nothing waits for before the end, on CUDA streams of its own: gradients of weights, the optimiser's parts.

A product over a batch of 32 fills a fraction of a large GPU, and the next sublayer's can be computed beside it.
Nor does the update of one matrix keep all of its memory busy, from the first number to the last.
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
    """Runs work beside the stream that asks for it, until `join`; within the capture of a CUDA graph, too.

    No work may need another's, or write what another reads or writes: each has the next of several streams.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams = cycle([torch.cuda.Stream(device) for _ in range(N_STREAMS)])  # type: ignore[no-untyped-call]
        self._begun: defaultdict[torch.cuda.Stream, list[Work]] = defaultdict(list)

    def run(self, work: Work) -> None:
        """Run `work`, after all that was asked of the current stream so far."""
        self.run_each([work])

    def run_each(self, works: Sequence[Work]) -> None:
        """Run works of which none needs another, after all that was asked of the current stream so far."""
        streams = [next(self._streams) for _ in works]
        for stream in dict.fromkeys(streams):
            stream.wait_stream(torch.cuda.current_stream(self._device))
        for stream, work in zip(streams, works, strict=True):
            self._begun[stream].append(work)  # what it reads is given to nothing else before it has been read
            with torch.cuda.stream(stream):
                work()

    def join(self) -> None:
        """Let the current stream wait for all of it."""
        for stream in self._begun:  # a graph being captured may not wait for a stream that has no part in it
            torch.cuda.current_stream(self._device).wait_stream(stream)
        self._begun.clear()


_in_use: ContextVar[Aside | None] = ContextVar("_in_use", default=None)


@contextmanager
def using(aside: Aside) -> Iterator[None]:
    """Let gradients of weights, of forward passes within, be computed `aside`; whoever reads them joins it first.

    And let what is done `beside` itself be done there.
    """
    before = _in_use.set(aside)
    try:
        yield
    finally:
        _in_use.reset(before)


def runner() -> Callable[[Work], None]:
    """Return what runs work aside; at once, where nothing else is in use. To be asked for in the forward pass."""
    aside = _in_use.get()
    return aside.run if aside is not None else lambda work: work()


def beside(works: Iterable[Work]) -> None:
    """Run works of which none needs another, beside each other where `using` lets them; all are joined."""
    aside = _in_use.get()
    if aside is None:
        for work in works:
            work()
    else:
        aside.run_each(list(works))
        aside.join()

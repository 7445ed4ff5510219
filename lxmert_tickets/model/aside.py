"""Work that nothing waits for before the end, on a CUDA stream of its own: the gradients of weights.

A product over a batch of 32 fills a fraction of a large GPU, and the next sublayer's can be computed beside it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

Work = Callable[[], None]


class Aside:
    """Runs work beside the stream that asks for it, until `join`; within the capture of a CUDA graph, too."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._begun: list[Work] = []

    def run(self, work: Work) -> None:
        """Run `work`, after all that was asked of the current stream so far."""
        self._begun.append(work)  # what it reads is given to nothing else before it has been read
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            work()

    def join(self) -> None:
        """Let the current stream wait for all of it."""
        if self._begun:  # a graph being captured may not wait for a stream that has no part in it
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
        self._begun.clear()


_in_use: ContextVar[Aside | None] = ContextVar("_in_use", default=None)


@contextmanager
def using(aside: Aside) -> Iterator[None]:
    """Let gradients of weights, of forward passes within, be computed `aside`; whoever reads them joins it first."""
    before = _in_use.set(aside)
    try:
        yield
    finally:
        _in_use.reset(before)


def runner() -> Callable[[Work], None]:
    """Return what runs work aside; at once, where nothing else is in use. To be asked for in the forward pass."""
    aside = _in_use.get()
    return aside.run if aside is not None else lambda work: work()

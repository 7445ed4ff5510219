"""CUDA graphs imitated on the CPU: operators are recorded without effect, and replayed on the tensors they had.

Replays alternate: the work of another stream is run either as late as possible (when something waits for it, otherwise
never) or as soon as what it waits for is done.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from toys import CPU, toy_data

from lxmert_tickets.model.lowered import using
from lxmert_tickets.model.places import rows_for
from lxmert_tickets.training.batches import Batch, VqaData
from lxmert_tickets.training.steps import GraphedStep, Step

ROWS_STEP = 4


class RecordedStream:
    """Stands in for `torch.cuda.Stream`.

    Its work is done at once. But what it reads must live until another stream waits for it: on a GPU, freed memory may
    be given to others before it has been read.
    """

    current: "RecordedStream"

    def __init__(self, device: object = None) -> None:
        self.reads = Reads()

    def wait_stream(self, other: "RecordedStream") -> None:
        assert not any(storage.expired() for storage in other.reads.outside), "a tensor went before it was read"
        other.reads.outside.clear()
        if RecordedGraph.recording is not None:
            RecordedGraph.recording.graph.note_wait(self, other)

    @contextmanager
    def while_current(self) -> Iterator[None]:
        """Stands in for `torch.cuda.stream`."""
        before, RecordedStream.current = RecordedStream.current, self
        self.reads.made.clear()
        try:
            with self.reads:
                yield
        finally:
            RecordedStream.current = before


class Reads(TorchDispatchMode):
    """Notes the storages that operators read but did not make."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[StorageWeakRef] = []
        self.made: set[int] = set()

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        given = [each.untyped_storage() for each in tree_leaves((arguments, options)) if isinstance(each, Tensor)]
        addresses = {storage.data_ptr() for storage in given}
        self.outside += [StorageWeakRef(storage) for storage in given if storage.data_ptr() not in self.made]
        made = operator(*arguments, **(options or {}))
        found = {each.untyped_storage().data_ptr() for each in tree_leaves(made) if isinstance(each, Tensor)}
        self.made |= found - addresses
        return made


MAIN = RecordedStream.current = RecordedStream()


class Wait(NamedTuple):
    """A wait for the first `n_calls` calls of a stream."""

    stream: RecordedStream
    n_calls: int


class RecordedGraph:
    """Stands in for `torch.cuda.CUDAGraph`."""

    recording: "Recording | None" = None
    n_replays = 0

    def __init__(self) -> None:
        self._calls: defaultdict[RecordedStream, list[Callable[[], None] | Wait]] = defaultdict(list)
        self._n_done: Counter[RecordedStream] = Counter()
        self.held: list[Tensor] = []  # a graph's memory is its own

    def pool(self) -> None: ...

    def note(self, call: Callable[[], None]) -> None:
        """Record a call of the current stream."""
        self._calls[RecordedStream.current].append(call)

    def note_wait(self, stream: RecordedStream, other: RecordedStream) -> None:
        """Record that `stream` waits for the calls of another so far."""
        assert other is MAIN or other in self._calls, "a wait for a stream that has no part in the capture"
        self._calls[stream].append(Wait(other, len(self._calls[other])))

    def check_joined(self) -> None:
        """Fail where the capture ends without waiting for all calls of another stream."""
        waited_for = {call.stream: call.n_calls for call in self._calls[MAIN] if isinstance(call, Wait)}
        others = {stream: len(calls) for stream, calls in self._calls.items() if stream is not MAIN}
        assert others == waited_for, "a stream that took part in the capture was not joined"

    def _take_next(self, stream: RecordedStream) -> None:
        call = self._calls[stream][self._n_done[stream]]
        if isinstance(call, Wait):
            while self._n_done[call.stream] < call.n_calls:
                self._take_next(call.stream)
        else:
            call()
        self._n_done[stream] += 1

    def _may_take_next(self, stream: RecordedStream) -> bool:
        """Return whether there is a next call and what it waits for is done."""
        calls, n_done = self._calls[stream], self._n_done[stream]
        if n_done == len(calls):
            return False
        call = calls[n_done]
        return not isinstance(call, Wait) or self._n_done[call.stream] >= call.n_calls

    @torch.no_grad()
    def replay(self) -> None:
        self._n_done.clear()
        RecordedGraph.n_replays += 1
        others = [stream for stream in self._calls if stream is not MAIN] if RecordedGraph.n_replays % 2 else []
        while self._n_done[MAIN] < len(self._calls[MAIN]):
            for stream in others:
                while self._may_take_next(stream):
                    self._take_next(stream)
            self._take_next(MAIN)


class Recording(TorchDispatchMode):
    """Records operators for `graph`, and undoes their effects."""

    def __init__(self, graph: RecordedGraph) -> None:
        super().__init__()
        self.graph = graph
        self._own: set[int] = set()
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = options or {}
        assert operator is not torch.ops.aten._local_scalar_dense.default, "a graph waits for no number"
        given = tree_leaves((arguments, options))
        storages = {each.untyped_storage().data_ptr() for each in given if isinstance(each, Tensor)}
        for argument, value in zip(operator._schema.arguments, arguments, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.will_write(*tree_leaves(value))
        made = operator(*arguments, **options)
        fresh = self._fresh(made, storages)

        if operator is torch.ops.aten.empty.memory_format:  # its values mean nothing, and it may be resized
            return made

        def again() -> None:
            for old, new in zip(fresh, self._fresh(operator(*arguments, **options), storages), strict=True):
                old.copy_(new)

        self.graph.note(again)
        return made

    def _fresh(self, made: object, storages: set[int]) -> list[Tensor]:
        """Return the tensors that an operator made and that are not views of its arguments."""
        fresh = [each for each in tree_leaves(made) if isinstance(each, Tensor)]
        fresh = [each for each in fresh if each.untyped_storage().data_ptr() not in storages]
        self.graph.held += fresh
        self._own |= {each.untyped_storage().data_ptr() for each in fresh}
        return fresh

    def will_write(self, *tensors: Tensor) -> None:
        """Save the contents of these tensors, unless they are the graph's own."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._own | self._before.keys():
                self._before[storage.data_ptr()] = storage, storage.clone()

    def take_back(self) -> None:
        for storage, before in self._before.values():
            storage.copy_(before)
        for made in self.graph.held:
            if made.is_floating_point():
                made.detach().fill_(torch.nan)


@contextmanager
def recorded(graph: RecordedGraph, pool: None, stream: None) -> Iterator[None]:
    """Stands in for `torch.cuda.graph`."""
    state, recording = torch.get_rng_state(), Recording(graph)
    RecordedGraph.recording = recording
    try:
        with recording:
            yield
    finally:
        RecordedGraph.recording = None
        recording.take_back()
        torch.set_rng_state(state)
    graph.check_joined()


def _on_the_only_stream(step: GraphedStep, batch: Batch, targets: Tensor, learning_rate: float) -> Tensor:
    with using(step._lowered):
        return Step.__call__(step, batch, targets, learning_rate)


def let_graphs_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `GraphedStep` run on the CPU."""
    monkeypatch.setattr(RecordedGraph, "n_replays", 0)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)
    monkeypatch.setattr(torch.cuda, "graph", recorded)
    monkeypatch.setattr(torch.cuda, "Stream", RecordedStream)
    monkeypatch.setattr(torch.cuda, "stream", RecordedStream.while_current)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: RecordedStream.current)
    monkeypatch.setattr(GraphedStep, "_on_another_stream", _on_the_only_stream)
    monkeypatch.setattr(GraphedStep, "_stream", None)


def batch_for_gpu(data: VqaData, rows: np.ndarray) -> Batch:
    """Return questions as a GPU gets them: not truncated, and packed into a number of rows known beforehand."""
    ids = torch.from_numpy(data.questions.input_ids[rows].astype(np.int64)).to(data.device)
    seen = data.regions.gather(data.questions.image_row[rows])
    return Batch(ids, ids != 0, *seen, n_rows=rows_for(int((ids != 0).sum()), ROWS_STEP))


def losses_of_steps(step: Step, n_steps: int, batch_size: int, device: torch.device = CPU) -> list[Tensor]:
    """Return the losses of steps, each at its own learning rate, on three batches of one shape, three of another."""
    data, losses = toy_data(device=device), []
    order = np.argsort(data.questions.length)
    kinds = order[:batch_size], order[-batch_size:]
    for number in range(n_steps):
        rows = np.roll(kinds[number // 3 % 2], number)
        losses.append(step(batch_for_gpu(data, rows), data.targets(rows), 1e-2 / (1 + number)))
    return losses

"""One training step: gradient, mask, clipping, optimiser. On a GPU it is a CUDA graph."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lxmert_tickets.errors import TrainingError
from lxmert_tickets.jobs.gpus import tells_of_full_memory
from lxmert_tickets.model import aside
from lxmert_tickets.model.aside import Aside
from lxmert_tickets.model.lowered import Lowered, using
from lxmert_tickets.model.lxmert import LxmertForVqa, vqa_loss
from lxmert_tickets.training.batches import Batch
from lxmert_tickets.training.device import Precision, autocast, lowered_for
from lxmert_tickets.training.optimizer import BertAdam

FIRST_STEPS = 3
"""Steps of a process that are never graphs: they set up libraries, gradients and moments, and move weights to their
final addresses. The last one does all that a graph does."""
Shape = tuple[int, ...]


class Step:
    """Takes training steps of one network."""

    def __init__(self, network: LxmertForVqa, optimizer: BertAdam, precision: Precision) -> None:
        self.network, self.optimizer, self.precision = network, optimizer, precision
        self._device = next(network.parameters()).device

    def __call__(self, batch: Batch, targets: Tensor, learning_rate: float) -> Tensor:
        """Update the network once; return the loss before the update, () on the device."""
        loss = self.backward(batch, targets)
        self.optimizer.step(learning_rate)
        return loss

    def backward(self, batch: Batch, targets: Tensor) -> Tensor:
        """Return the loss of a batch, and add its gradient to every parameter's."""
        with autocast(self._device, self.precision):
            logits = self.network(*batch)
        loss = vqa_loss(logits, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()


class GraphedStep(Step):
    """Takes training steps on a GPU as CUDA graphs, one for each batch shape.

    A step is thousands of small kernels, which Python launches one by one; a graph is one launch. It draws the same
    random numbers as plain steps. The first step of each shape is plain, so that what libraries load for that shape is
    loaded before the capture, during which not everything may be. Weight gradients are computed concurrently with the
    others, and weights are updated concurrently.
    """

    def __init__(self, network: LxmertForVqa, optimizer: BertAdam, precision: Precision) -> None:
        super().__init__(network, optimizer, precision)
        self._n_taken = 0
        self._known: set[Shape] = set()
        self._graphs: dict[Shape, _Graph] = {}
        self._lowered: Lowered | None = None

    def __call__(self, batch: Batch, targets: Tensor, learning_rate: float) -> Tensor:
        self._n_taken += 1
        shape = *batch.input_ids.shape, batch.n_rows or 0
        # From the second step on, or the first that is resumed: products of both runs read weights at like addresses,
        # and cuBLAS may choose another algorithm for others.
        if self._lowered is None and self.optimizer.can_keep:
            self._lowered = self._kept_lowered()
        if self._n_taken <= FIRST_STEPS or shape not in self._known:
            self._known.add(shape)
            return self._on_another_stream(batch, targets, learning_rate)
        if shape not in self._graphs:
            try:
                self._graphs[shape] = self._captured(batch, targets)
            except RuntimeError as error:
                first = error.__context__ or error  # where ending the capture fails too
                if tells_of_full_memory(first):
                    raise first from None
                raise TrainingError(
                    f"CUDA graph of a step on {len(batch.input_ids)} questions",
                    f"not captured ({first})",
                    "a step that CUDA can record",
                    "Set gpus.cuda_graphs to false in config.yaml: steps are then slower, with the same results.",
                ) from error
        graph = self._graphs[shape]
        self.optimizer.set_learning_rate(learning_rate)
        graph.read(batch, targets)
        graph.graph.replay()
        return graph.loss.clone()

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        """The stream of plain steps and captures alike: cuBLAS and torch keep memory for each stream.

        It has priority over the side streams.
        """
        return torch.cuda.Stream(self._device, priority=-1)  # type: ignore[no-untyped-call]

    @cached_property
    def _aside(self) -> Aside:
        return Aside(self._device)

    def backward(self, batch: Batch, targets: Tensor) -> Tensor:
        """Return the loss of a batch, and add its gradient to every parameter's."""
        loss = super().backward(batch, targets)
        self._aside.join()
        return loss

    def _on_another_stream(self, batch: Batch, targets: Tensor, learning_rate: float) -> Tensor:
        """Take a plain step where graphs will be captured: on a stream other than the default."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream), using(self._lowered), aside.using(self._aside):
            loss = super().__call__(batch, targets, learning_rate)
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        return loss

    def _captured(self, batch: Batch, targets: Tensor) -> "_Graph":
        """Return the graph of a step on a batch like this one; nothing is computed yet."""
        inputs, expected = batch.copy(), targets.clone()
        graph = torch.cuda.CUDAGraph()
        # The graphs share memory: they run one at a time, and none reads what another left behind.
        pool = next(iter(self._graphs.values())).graph.pool() if self._graphs else None
        recording = torch.cuda.graph(graph, pool=pool, stream=self._stream)
        with recording, using(self._lowered), aside.using(self._aside):
            loss = self.backward(inputs, expected)
            self.optimizer.update()
        self.optimizer.drop_gradients()
        return _Graph(graph, inputs, expected, loss)

    def _kept_lowered(self) -> Lowered | None:
        """Return the lowered weights, which the optimiser then keeps up to date; None where products are in float32."""
        lowered = lowered_for(self.network, self.precision)
        if lowered is not None:
            self.optimizer.keep(lowered)
            lowered.refresh()
        return lowered


@dataclass(frozen=True)
class _Graph:
    """A step, and the tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Batch
    targets: Tensor
    loss: Tensor

    def read(self, batch: Batch, targets: Tensor) -> None:
        """Copy the next batch to where the graph reads it."""
        for place, tensor in zip(self.inputs, batch, strict=True):
            if isinstance(place, Tensor) and isinstance(tensor, Tensor):
                place.copy_(tensor)
        self.targets.copy_(targets)


def step_of(network: LxmertForVqa, optimizer: BertAdam, precision: Precision, cuda_graphs: bool = True) -> Step:
    """Return what takes steps on the device of `network`: on a GPU as CUDA graphs, if `cuda_graphs`."""
    on_gpu = next(network.parameters()).device.type == "cuda"
    return (GraphedStep if on_gpu and cuda_graphs else Step)(network, optimizer, precision)

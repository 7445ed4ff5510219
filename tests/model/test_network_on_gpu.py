"""Networks on a GPU match the plain implementation, and a CUDA graph can capture their steps (see `kernels_here`)."""

import inspect
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from kernels_here import DEVICE, KERNELS, LOW, MARKS, _way  # noqa: F401 (a fixture)
from recorded_graphs import RecordedGraph, batch_for_gpu, let_graphs_be_recorded, losses_of_steps
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from toys import CPU, RECIPE, TINY, changed, random_weights, toy_features, toy_questions

from lxmert_tickets.model import adam_kernels, aside, on_gpu
from lxmert_tickets.model.aside import Aside
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.lowered import Lowered, using
from lxmert_tickets.model.lxmert import LxmertForVqa, vqa_loss
from lxmert_tickets.training import answering, batches, steps
from lxmert_tickets.training import optimizer as optimizer_module
from lxmert_tickets.training.answering import answer_all
from lxmert_tickets.training.batches import VqaData
from lxmert_tickets.training.optimizer import BertAdam
from lxmert_tickets.training.regions import Regions
from lxmert_tickets.training.steps import GraphedStep, Step

pytestmark = MARKS
SMALL = changed(TINY, n_language_layers=1)
MASK = {"lxmert.pooler.dense.weight": np.random.default_rng(0).random((32, 32)) < 0.5}


@pytest.mark.parametrize(("packed", "reduced"), [(False, False), (True, False), (True, True)])
def test_the_whole_network_matches_the_plain_implementation(
    way: Callable[[bool], None], packed: bool, reduced: bool
) -> None:
    data, numbers = VqaData(toy_questions(8, 4), Regions(toy_features(4), DEVICE), DEVICE), np.arange(3)
    ids, attention_mask, features, boxes, *_ = data.batch(numbers)
    n_rows = int(attention_mask.sum()) + 3 if packed else attention_mask.numel()

    def gradient(network: LxmertForVqa, plain: bool, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the gradients of all parameters, and the loss, as one vector."""
        way(plain)
        lowered = Lowered(network, dtype)
        lowered.refresh()
        with torch.autocast(DEVICE.type, LOW, enabled=dtype == LOW), using(lowered):
            logits = network(ids, attention_mask, features, boxes, n_rows=n_rows)
        loss = vqa_loss(logits, data.targets(numbers))
        network.zero_grad()
        loss.backward()
        given = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        return torch.cat([loss.detach()[None], *given])

    ours, allowed = [], []
    n_networks = (2 if DEVICE.type == "cpu" else 8) if reduced else 1  # rounding errors of a single one vary by half
    for seed in range(n_networks):
        network = build_network(random_weights(SMALL, seed), SMALL).to(DEVICE)
        exact = gradient(network, plain=True)
        ours.append((gradient(network, plain=False, dtype=LOW if reduced else torch.float32) - exact).norm())
        allowed.append(
            1.2 * (gradient(network, plain=True, dtype=LOW) - exact).norm() if reduced else 1e-5 * exact.norm()
        )
    assert torch.stack(ours).norm() < torch.stack(allowed).norm()  # no worse than autocast's own


class Devices(TorchDispatchMode):
    """Notes every operator that takes or returns a tensor outside `device`."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.elsewhere = device, []

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        given = operator(*arguments, **(options or {}))
        tensors = [leaf for leaf in tree_leaves((arguments, options, given)) if isinstance(leaf, Tensor)]
        self.elsewhere += [str(operator) for tensor in tensors if tensor.device.type != self.device.type]
        return given


class Launches:
    """Replaces a kernel, and counts the devices of the tensors that it would be launched with."""

    def __init__(self) -> None:
        self.devices: Counter[str] = Counter()

    def __getitem__(self, _: object) -> Callable[..., None]:
        return lambda *given, **named: self.devices.update(
            each.device.type for each in (*given, *named.values()) if isinstance(each, Tensor)
        )


@pytest.mark.parametrize("plain", [False, True])
def test_random_numbers_are_drawn_only_in_training(way: Callable[[bool], None], plain: bool) -> None:
    way(plain)
    network = build_network(random_weights(SMALL), SMALL, hidden_dropout=0.1, attention_dropout=0.1).to(DEVICE)
    data = VqaData(toy_questions(8, 4), Regions(toy_features(4), DEVICE), DEVICE)
    state = torch.get_rng_state if DEVICE.type == "cpu" else torch.cuda.get_rng_state

    def draws(training: bool) -> bool:
        before = state()
        network.train(training)(*data.batch(np.arange(3))[:4])
        return not torch.equal(state(), before)

    assert draws(training=True)
    assert not draws(training=False)  # or a run resumed during validation would drop other numbers after it


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_stays_on_its_device_and_never_reads_a_value_back(
    monkeypatch: pytest.MonkeyPatch, way: Callable[[bool], None], fused: bool
) -> None:
    """So a CUDA graph can capture it. Here tensors are on the meta device, which has no values to read."""
    device, launches = torch.device("meta"), Launches()
    way(not fused)
    for module, kernel in KERNELS:
        monkeypatch.setattr(module, kernel, launches)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # meta has none
    monkeypatch.setattr(on_gpu, "_dtype_of_products", lambda _: torch.bfloat16)
    monkeypatch.setattr(torch, "_fused_adamw_", lambda *_, **__: None)
    monkeypatch.setattr(batches, "GPU_ROWS_STEP", 4)
    network = build_network(random_weights(SMALL), SMALL, hidden_dropout=0.1, attention_dropout=0.1).train().to(device)
    optimizer = BertAdam(network, RECIPE, MASK)
    optimizer._kernels = adam_kernels if fused else None
    data = VqaData(toy_questions(8, 4), Regions(toy_features(4), CPU), device)
    batch, targets = data.batch(np.arange(8)), data.targets(np.arange(8))
    batch = batch._replace(features=batch.features.to(device), boxes=batch.boxes.to(device))
    assert {tensor.device.type for tensor in batch if isinstance(tensor, Tensor)} == {device.type}
    assert batch.n_rows < batch.input_ids.numel()  # packed
    step = Step(network, optimizer, "float32")
    step(batch, targets, 1.0)  # the first step moves masks to the device
    optimizer.set_learning_rate(1.0)
    with Devices(device) as watch:
        step.backward(batch, targets)
        optimizer.update()
    assert watch.elsewhere == []
    assert launches.devices.keys() == ({device.type} if fused else set())
    trained = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert all(
        parameter.grad.dtype == torch.float32 for parameter in network.parameters() if parameter.grad is not None
    )
    assert {"lxmert.embeddings.word_embeddings.weight", "lxmert.encoder.visn_fc.visn_fc.weight"} <= trained


UNSPECIALISED = ("n_rows", "n_rows_each")
ANY_ALIGNMENT = ("seed", "sums")
"""As the kernels' decorators say."""


def variant_of(argument: str, value: object) -> object:
    """Return the properties of an argument that make Triton recompile a kernel."""
    if isinstance(value, Tensor):
        return value.dtype, argument in ANY_ALIGNMENT or value.data_ptr() % 16 == 0
    if argument.isupper():
        return value
    return isinstance(value, int) and argument not in UNSPECIALISED and (value == 1, value % 16 == 0)


class RecordedKernel:
    """Launches a kernel, and again at every replay of a graph that recorded it; notes its variants."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.launched: set[object] = set()
        self.new_when_recorded: set[object] = set()

    def note(self, arguments: dict[str, object], recorded: bool) -> None:
        variant = frozenset((name, variant_of(name, value)) for name, value in arguments.items())
        if recorded and variant not in self.launched:
            self.new_when_recorded.add(variant)
        self.launched.add(variant)

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*given: object, **named: object) -> None:
            recording = RecordedGraph.recording
            arguments = dict(zip(inspect.signature(self.kernel.fn).parameters, given, strict=False)) | named
            self.note(arguments, recording is not None)
            with _disable_current_modes():  # the interpreter's own use of torch is not recorded
                if recording is not None:
                    recording.will_write(*[each for each in (*given, *named.values()) if isinstance(each, Tensor)])
                self.kernel[grid](*given, **named)
            if recording is not None:
                recording.graph.note(lambda: self.kernel[grid](*given, **named))

        return launch


def let_kernels_and_graphs_be_recorded(monkeypatch: pytest.MonkeyPatch) -> list[RecordedKernel]:
    let_graphs_be_recorded(monkeypatch)
    kernels = [RecordedKernel(getattr(module, name)) for module, name in KERNELS]
    for (module, name), kernel in zip(KERNELS, kernels, strict=True):
        monkeypatch.setattr(module, name, kernel)
    return kernels


def test_graphed_steps_match_plain_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shapes, with dropout: on a GPU, real graphs in bfloat16; elsewhere, recorded ones."""
    n_steps, tolerance, kernels = 12, 0.02, []
    # With a small `eps`, Adam makes whole steps of gradients that are rounding errors, as those of keys' biases are.
    recipe = changed(RECIPE, eps=1e-3)
    monkeypatch.setattr(optimizer_module, "GATHERED_BELOW", 200)  # some parameters are updated alone, some together
    if DEVICE.type == "cpu":
        n_steps, tolerance = 6, 0.0
        kernels = let_kernels_and_graphs_be_recorded(monkeypatch)
        monkeypatch.setattr(steps, "FIRST_STEPS", 2)
        monkeypatch.setattr(steps, "lowered_for", lambda network, _: Lowered(network, torch.float32))
    found, smaller = [], changed(SMALL, n_cross_layers=1)
    for kind in (Step, GraphedStep):
        for kernel in kernels:
            kernel.launched.clear()
        torch.manual_seed(0)
        network = build_network(random_weights(smaller), smaller, hidden_dropout=0.1, attention_dropout=0.1)
        network.train().to(DEVICE)
        optimizer = BertAdam(network, recipe, MASK)
        optimizer._kernels = adam_kernels
        step = kind(network, optimizer, "auto")
        found.append([*losses_of_steps(step, n_steps, 2, DEVICE), *map(Tensor.clone, network.state_dict().values())])
        if isinstance(step, GraphedStep):
            assert len(step._graphs) == 2
            assert step._lowered is not None
            # During a capture nothing may be compiled or loaded.
            assert not any(kernel.new_when_recorded for kernel in kernels)
    for plain, graphed in zip(*found, strict=True):
        assert (plain - graphed).norm() <= tolerance * plain.norm()


def test_gradients_are_the_same_if_those_of_weights_are_computed_on_a_second_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU at LXMERT's width, with each stream delayed in turn; then as a graph."""
    architecture, n_questions, times = changed(SMALL, hidden_size=768, n_heads=12, intermediate_size=3072), 64, 5
    late: Callable[[], None] = partial(torch.cuda._sleep, 10**7)  # a few milliseconds
    if DEVICE.type == "cpu":
        architecture, n_questions, times, late = SMALL, 2, 1, lambda: None
        let_kernels_and_graphs_be_recorded(monkeypatch)
    network = build_network(random_weights(architecture), architecture).to(DEVICE)
    data = VqaData(toy_questions(n_questions, 8), Regions(toy_features(8), DEVICE), DEVICE)
    batch, targets = batch_for_gpu(data, np.arange(n_questions)), data.targets(np.arange(n_questions))
    plain, graphed = (kind(network, BertAdam(network, RECIPE), "auto") for kind in (Step, GraphedStep))

    def gradients() -> list[Tensor]:
        return [p.grad for p in network.parameters() if p.grad is not None]

    def forget() -> None:
        for gradient in gradients():
            gradient.fill_(torch.nan)

    plain.backward(batch, targets)
    expected, n_run, run = torch.cat([each.flatten() for each in gradients()]), 0, Aside.run

    def is_expected() -> bool:
        found = torch.cat([each.flatten() for each in gradients()])
        return bool((found - expected).norm() <= 1e-5 * expected.norm())

    def run_late(own: Aside, work: Callable[[], None]) -> None:
        nonlocal n_run
        n_run += 1

        def begin() -> None:
            if aside_is_late:
                late()
            work()

        run(own, begin)

    monkeypatch.setattr(Aside, "run", run_late)
    for number in range(times):
        aside_is_late = number % 2 == 1
        forget()
        network.zero_grad()
        if not aside_is_late:
            late()
        with aside.using(graphed._aside):
            graphed.backward(batch, targets)
        assert is_expected()
    n_sublayers = 2 + 2 + 5 + 3  # language, vision, the first cross layer, and the last one's language branch
    assert n_run == times * n_sublayers

    monkeypatch.setattr(Aside, "run", run)
    stream = None if DEVICE.type == "cpu" else torch.cuda.Stream(DEVICE)
    for _ in range(0 if stream is None else 2):  # so that libraries have loaded everything before the capture
        network.zero_grad()
        with torch.cuda.stream(stream), aside.using(graphed._aside):
            graphed.backward(batch, targets)
    network.zero_grad()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=None, stream=stream), aside.using(graphed._aside):
        graphed.backward(batch, targets)
    for _ in range(times + 1):
        forget()
        graph.replay()
        assert is_expected()


def test_answers_come_from_the_current_weights(monkeypatch: pytest.MonkeyPatch, way: Callable[[bool], None]) -> None:
    network = build_network(random_weights(SMALL), SMALL).to(DEVICE)
    data = VqaData(toy_questions(4, 2), Regions(toy_features(2), DEVICE), DEVICE)
    way(True)
    expected = answer_all(network, data, "float32")[1]
    way(False)
    monkeypatch.setattr(answering, "lowered_for", lambda network, _: Lowered(network, torch.float32))
    assert answer_all(network, data, "float32")[1] == pytest.approx(expected, rel=1e-4)

"""A step is the same with or without a CUDA graph, and features reach a GPU whether resident or streamed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recorded_graphs import let_graphs_be_recorded, losses_of_steps
from torch import Tensor
from toys import CPU, RECIPE, TINY, tiny_network, toy_data, toy_features, toy_questions

from lxmert_tickets.errors import TrainingError
from lxmert_tickets.model import operators
from lxmert_tickets.training.batches import Batch, VqaData
from lxmert_tickets.training.device import Precision
from lxmert_tickets.training.optimizer import BertAdam
from lxmert_tickets.training.regions import Regions, Resident, Streamed
from lxmert_tickets.training.steps import FIRST_STEPS, GraphedStep, Step, _Graph, step_of


class _NotedError(Exception):
    pass


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_on_the_cpu_steps_are_plain() -> None:
    network = tiny_network()
    assert type(step_of(network, BertAdam(network, RECIPE), "auto")) is Step


@pytest.mark.parametrize(("cuda_graphs", "kind"), [(True, GraphedStep), (False, Step)])
def test_on_a_gpu_steps_are_graphs_unless_told_otherwise(cuda_graphs: bool, kind: type[Step]) -> None:
    class OnGpu:
        def parameters(self) -> Iterator[object]:
            yield SimpleNamespace(device=torch.device("cuda"))

    assert type(step_of(OnGpu(), None, "auto", cuda_graphs)) is kind  # type: ignore[arg-type]


def test_a_step_that_cannot_be_captured_fails_naming_the_setting_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        try:
            raise RuntimeError("operation not permitted when stream is capturing")
        finally:
            raise RuntimeError("ending a capture that failed")  # as torch does

    let_graphs_be_recorded(monkeypatch)
    monkeypatch.setattr(torch.cuda, "graph", refuse)
    network = tiny_network()
    step = GraphedStep(network, BertAdam(network, RECIPE), "float32")
    with pytest.raises(TrainingError, match=r"8 questions: not captured \(operation not .* gpus.cuda_graphs to false"):
        losses_of_steps(step, 2 * FIRST_STEPS, 8)


@pytest.mark.parametrize("ends_well", [True, False])
@pytest.mark.parametrize("words", ["CUDA out of memory. Tried", "CUDA error: out of memory\nCUDA kernel errors might"])
def test_running_out_of_memory_is_not_blamed_on_graphs(
    monkeypatch: pytest.MonkeyPatch, words: str, ends_well: bool
) -> None:
    def fill(*_: object, **__: object) -> None:
        try:
            raise RuntimeError(words)
        finally:
            if not ends_well:
                raise RuntimeError("ending a capture that failed")

    let_graphs_be_recorded(monkeypatch)
    monkeypatch.setattr(torch.cuda, "graph", fill)
    network = tiny_network()
    step = GraphedStep(network, BertAdam(network, RECIPE), "float32")
    with pytest.raises(RuntimeError, match=words):
        losses_of_steps(step, 2 * FIRST_STEPS, 8)


def test_a_step_returns_the_loss_before_it_and_updates_the_weights() -> None:
    network, data, rows = tiny_network(), toy_data(), np.arange(8)
    step = step_of(network, BertAdam(network, RECIPE), "float32")
    losses = [step(data.batch(rows), data.targets(rows), 1e-3).item() for _ in range(3)]
    fresh = tiny_network()
    assert losses[0] == pytest.approx(step_of(fresh, BertAdam(fresh, RECIPE), "float32").backward(
        data.batch(rows), data.targets(rows)
    ).item())  # fmt: skip
    assert losses[0] > losses[1] > losses[2]


def test_a_graph_reads_the_next_batch_from_the_same_addresses_as_the_last() -> None:
    data = toy_data()
    rows, next_rows = np.arange(8), np.arange(8, 16)
    batch = data.batch(rows)
    places = batch.copy()
    graph = _Graph(graph=None, inputs=places, targets=data.targets(rows), loss=torch.zeros(()))  # type: ignore[arg-type]
    following = data.batch(next_rows)
    before = [tensor.data_ptr() for tensor in places if isinstance(tensor, Tensor)]
    graph.read(following, data.targets(next_rows))
    assert [tensor.data_ptr() for tensor in places if isinstance(tensor, Tensor)] == before
    assert torch.equal(places.features, following.features)
    assert torch.equal(batch.features, data.batch(rows).features)  # the batch that was recorded is left as it was
    assert torch.equal(graph.targets, data.targets(next_rows))


def test_a_shape_gets_a_plain_step_before_its_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    network, data = tiny_network(), toy_data()
    taken: list[tuple[str, int]] = []

    def noted(kind: str) -> Callable[..., Tensor]:
        def note(step: Step, batch: Batch, *_: object) -> Tensor:
            taken.append((kind, len(batch.input_ids)))
            raise _NotedError

        return note

    monkeypatch.setattr(GraphedStep, "_on_another_stream", noted("plain"))
    monkeypatch.setattr(GraphedStep, "_captured", noted("graph"))
    step = GraphedStep(network, BertAdam(network, RECIPE), "float32")
    sizes = [8] * FIRST_STEPS + [4, 8, 4, 2, 2]
    for size in sizes:
        rows = np.arange(size)
        with pytest.raises(_NotedError):
            step(data.batch(rows), data.targets(rows), 1e-3)
    kinds = ["plain"] * FIRST_STEPS + ["plain", "graph", "graph", "plain", "graph"]
    assert taken == list(zip(kinds, sizes, strict=True))


@pytest.mark.parametrize("gathers", [Resident, Streamed])
def test_resident_and_streamed_regions_are_the_same(
    monkeypatch: pytest.MonkeyPatch, gathers: type[Resident] | type[Streamed]
) -> None:
    features, rows = toy_features(16), np.array([3, 0, 3, 15])
    monkeypatch.setattr("lxmert_tickets.training.regions.UPLOAD_BYTES", 3 * features.features[0].nbytes)
    expected, expected_boxes = Regions(features, CPU).gather(rows)
    found, boxes = gathers(features, CPU)(rows)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert torch.equal(boxes, expected_boxes)


@pytest.mark.parametrize("masked", [False, True])
def test_recorded_graphs_take_the_same_steps_as_plain_code(monkeypatch: pytest.MonkeyPatch, masked: bool) -> None:
    let_graphs_be_recorded(monkeypatch)
    monkeypatch.setattr(operators, "engine_of", lambda *_: None)
    mask = {"lxmert.pooler.dense.weight": np.random.default_rng(0).random((TINY.hidden_size,) * 2) < 0.5}
    found = []
    for kind in (Step, GraphedStep):
        torch.manual_seed(0)
        network = tiny_network(hidden_dropout=0.1, attention_dropout=0.1).train()
        step = kind(network, BertAdam(network, RECIPE, mask if masked else None), "float32")
        found.append(losses_of_steps(step, 12, 8) + [tensor.clone() for tensor in network.state_dict().values()])
        if isinstance(step, GraphedStep):
            assert len(step._graphs) == 2
    plain, graphed = found
    assert all(torch.equal(a, b) for a, b in zip(plain, graphed, strict=True))


@pytest.mark.gpu
@CUDA
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("precision", "rate", "tolerance"), [("float32", 1e-4, 1e-4), ("bfloat16", 1e-3, 0.05)])
def test_cuda_graphs_take_nearly_the_same_steps_as_plain_code(
    masked: bool, precision: Precision, rate: float, tolerance: float
) -> None:
    device, n_steps = torch.device("cuda"), FIRST_STEPS + 12
    data = VqaData(toy_questions(32, 16), Regions(toy_features(16), device), device)
    mask = {"lxmert.pooler.dense.weight": np.random.default_rng(0).random((TINY.hidden_size,) * 2) < 0.5}
    found = []
    for kind in (Step, GraphedStep):
        torch.manual_seed(0)
        network = tiny_network(hidden_dropout=0.1, attention_dropout=0.1).to(device).train()
        step = kind(network, BertAdam(network, RECIPE, mask if masked else None), precision)
        batches = list(data.shuffled(8, 0, 1)) * n_steps
        losses = [step(data.batch(rows), data.targets(rows), rate).item() for rows in batches[:n_steps]]
        found.append((losses, {name: tensor.cpu() for name, tensor in network.state_dict().items()}))
    (plain_losses, plain), (losses, weights) = found
    assert losses == pytest.approx(plain_losses, rel=tolerance)  # with dropout: the random numbers are the same, too
    if precision == "bfloat16":
        # The same batch twice: a graph that read the first copies of its weights would not come near this.
        assert plain_losses[FIRST_STEPS + 8] < 0.85 * plain_losses[FIRST_STEPS]
        return
    for name, tensor in weights.items():
        assert torch.allclose(tensor, plain[name], rtol=1e-3, atol=1e-5), name


@pytest.mark.gpu
@CUDA
def test_regions_stay_on_the_gpu_if_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda")
    assert isinstance(Regions(toy_features(16), device).gather, Resident)
    monkeypatch.setattr("lxmert_tickets.training.regions.SHARE_OF_GPU", 0.0)
    streamed = Regions(replace(toy_features(16)), device).gather
    assert isinstance(streamed, Streamed)
    assert torch.equal(streamed(np.array([1]))[0].cpu(), Regions(toy_features(16), CPU).gather(np.array([1]))[0])


@pytest.mark.gpu
@CUDA
def test_streamed_regions_arrive_before_they_are_read_and_stay_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda")
    monkeypatch.setattr("lxmert_tickets.training.regions.SHARE_OF_GPU", 0.0)
    streamed, gather = Regions(toy_features(16), device).gather, Regions(toy_features(16), CPU).gather
    busy = torch.randn(4096, 4096, device=device)
    found = []
    for number in range(200):
        for _ in range(3):
            busy = torch.tanh(busy @ busy)  # batches come faster than they are read
        features, boxes = streamed(np.array([number % 16] * 64))
        found.append((features.sum(dim=(1, 2)), boxes.sum(dim=(1, 2))))
    for number, sums in enumerate(found):
        for given, expected in zip(sums, gather(np.array([number % 16])), strict=True):
            assert given.cpu() == pytest.approx(np.full(64, expected.sum().item()), rel=1e-4, abs=1e-4)

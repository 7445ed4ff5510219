"""What a GPU computes has the numbers and gradients of the plain way: on a GPU, or here by Triton's interpreter.

`test_kernels` runs this file where Triton is not installed; on a GPU: `pytest -m gpu`.
"""

import os
from importlib.util import find_spec

import numpy as np
import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if find_spec("triton") is None:
    pytest.skip("no Triton", allow_module_level=True)
if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported

# ruff: noqa: E402
import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from recorded_graphs import RecordedGraph, let_graphs_be_recorded, losses_of_steps
from test_on_cpu import are_tokens, gradients_of
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from toys import CPU, RECIPE, changed, random_weights, toy_features, toy_questions

from lxmert_tickets.model import adam_kernels, gpu_kernels, on_gpu, operators
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.lowered import Lowered, using
from lxmert_tickets.model.lxmert import vqa_loss
from lxmert_tickets.model.places import Places
from lxmert_tickets.model.sublayers import Attending, Feeding, make_neighbours
from lxmert_tickets.training import answering, batches, steps
from lxmert_tickets.training import optimizer as optimizer_module
from lxmert_tickets.training.answering import answer_all
from lxmert_tickets.training.batches import VqaData
from lxmert_tickets.training.optimizer import BertAdam
from lxmert_tickets.training.regions import Regions
from lxmert_tickets.training.steps import GraphedStep, Step

pytestmark = pytest.mark.gpu if DEVICE.type == "cuda" else []
H, HEADS = 48, 3
LOW = torch.bfloat16 if DEVICE.type == "cuda" else torch.float16  # the interpreter multiplies no bfloat16
# Interpreting takes its time.
few = settings(max_examples=3 if DEVICE.type == "cpu" else 30, deadline=None, phases=[Phase.generate])


@pytest.fixture(autouse=True)
def way(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Lets a test choose: the plain way, or the one of this file, which it is to begin with."""

    def choose(plain: bool) -> None:
        monkeypatch.setattr(operators, "engine_of", lambda *_: None if plain else on_gpu)

    choose(False)
    return choose


def outcome(
    operator: Callable[[], Sequence[Tensor]], inputs: Sequence[Tensor], every: Sequence[Places]
) -> list[Tensor]:
    """Return the output of `operator` where there are tokens, and the gradients that `inputs` get from there."""
    output = torch.cat(list(operator()))
    torch.manual_seed(8)
    tokens = torch.cat([are_tokens(places.apart).to(DEVICE) for places in every])
    gradient = torch.randn(output.shape).to(DEVICE) * tokens[:, None]
    return [output.detach()[tokens], *gradients_of(output, inputs, gradient)]


def agree(operator: Callable[[], Sequence[Tensor]], inputs: Sequence[Tensor], *every: Places) -> bool:
    found = outcome(operator, inputs, every)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "engine_of", lambda *_: None)
        expected = outcome(operator, inputs, every)
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(found, expected, strict=True))


def rows(n: int, width: int = H, seed: int = 0) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)).to(DEVICE).requires_grad_()


def linear(n_inputs: int, n_outputs: int, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(n_inputs, n_outputs).to(DEVICE)


def norm() -> nn.LayerNorm:
    layer = nn.LayerNorm(H)
    torch.manual_seed(1)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer.to(DEVICE)


def attending(dropouts: tuple[float, float] = (0.0, 0.0)) -> Attending:
    query, key, value, dense = (linear(H, H, seed) for seed in range(4))
    make_neighbours([query, key, value])
    return Attending((query, key, value), dense, norm(), HEADS, dropouts)


def feeding(dropout: float = 0.0) -> Feeding:
    return Feeding(linear(H, 20), linear(20, H), norm(), dropout)


def padded(lengths: list[int], n_places: int, n_rows: int) -> Places:
    present = (torch.arange(n_places) < torch.tensor(lengths)[:, None]).to(DEVICE)
    return Places.of(len(lengths), n_places, present, n_rows)


lengths = st.lists(st.integers(1, 18), min_size=2, max_size=2)
places = st.one_of(
    st.builds(Places, st.just(2), st.integers(1, 7)),
    lengths.map(lambda given: padded(given, 18, 2 * 18)),
    lengths.map(lambda given: padded(given, 18, sum(given) + 2)),
)
"""Of two sequences: without padding, padded, packed."""
shared = st.one_of(places, st.builds(lambda n: Places(1, n).shared_by(torch.tensor([0, 0], device=DEVICE)), st.just(5)))
"""Also of two that share their rows."""


@few
@given(places, shared)
def test_attention_from_one_stream_to_another(of_rows: Places, of_context: Places) -> None:
    given, context, part = rows(of_rows.n_rows), rows(of_context.n_rows, seed=1), attending()
    assert agree(
        lambda: [operators.one_way(given, context, of_rows, of_context, part)],
        [given, context, *part.parameters()],
        of_rows,
    )


@few
@given(places, shared)
def test_attention_between_two_streams(one: Places, other: Places) -> None:
    given, part = [rows(one.n_rows), rows(other.n_rows, seed=1)], attending()
    assert agree(lambda: operators.sublayers(given, [one, other], [part]), [*given, *part.parameters()], one, other)


@few
@given(places, st.permutations(["attention", "feed-forward", "feed-forward"]))
def test_sublayers_one_after_the_other(its: Places, kinds: list[str]) -> None:
    given = rows(its.n_rows)
    parts = [attending() if kind == "attention" else feeding() for kind in kinds]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    assert agree(lambda: operators.sublayers([given], [its], parts), [given, *parameters], its)


@pytest.mark.parametrize("n_rows", [1, 3, 7])
def test_however_rows_are_shared_among_programs(monkeypatch: pytest.MonkeyPatch, n_rows: int) -> None:
    monkeypatch.setattr(gpu_kernels, "PROGRAMS", 3)
    given, part, its = rows(n_rows), feeding(), Places(n_rows, 1)
    assert agree(lambda: operators.sublayers([given], [its], [part]), [given, *part.parameters()], its)


@pytest.mark.parametrize("dropouts", [(0.4, 0.0), (0.0, 0.4), (0.3, 0.3)])
def test_gradients_are_those_of_the_numbers_that_dropout_kept(dropouts: tuple[float, float]) -> None:
    one, other = padded([3, 5], 6, 10), Places(2, 4)
    given, part = [rows(one.n_rows), rows(other.n_rows, seed=1)], attending(dropouts)
    chosen = [*given, part.projections[0].weight, part.projections[2].weight, part.dense.bias, part.norm.weight]

    def output(shift: float = 0.0) -> Tensor:
        torch.manual_seed(3)
        with torch.no_grad():
            torch._foreach_add_(chosen, directions, alpha=shift)
        return (torch.cat(list(operators.sublayers(given, [one, other], [part]))) * weights).sum()

    torch.manual_seed(4)
    directions = [torch.randn(tensor.shape).to(DEVICE) for tensor in chosen]
    tokens = torch.cat([are_tokens(places).to(DEVICE) for places in (one, other)])
    weights = torch.randn(len(tokens), H).to(DEVICE) * tokens[:, None]
    gradients = gradients_of(output(), chosen, torch.ones((), device=DEVICE))
    along = sum(float((a * b).sum()) for a, b in zip(gradients, directions, strict=True))
    step = 2e-3
    before, after = output(-step).item(), output(2 * step).item()
    assert (after - before) / (2 * step) == pytest.approx(along, rel=0.01)


def test_dropout_keeps_its_share_and_its_mean_and_obeys_the_seed() -> None:
    its, part, given = Places(24, 1), feeding(0.25), rows(24).detach()

    def kept(seed: int) -> Tensor:
        seeds = torch.tensor([seed], device=DEVICE)
        ones, zeros = torch.ones_like(given), torch.zeros_like(given)
        gain, shift = torch.ones(H, device=DEVICE), torch.zeros(H, device=DEVICE)
        output, *_ = gpu_kernels.end(ones, zeros, gain, shift, 1e-12, seeds, 0.25)
        return output > 0  # 1 / 0.75 lies above the row's mean, 0 below

    assert kept(1).float().mean().item() == pytest.approx(0.75, abs=0.05)
    assert torch.equal(kept(1), kept(1))
    assert (kept(1) == kept(2)).float().mean().item() == pytest.approx(0.75**2 + 0.25**2, abs=0.06)

    def output(seed: int) -> Tensor:
        torch.manual_seed(seed)
        [output] = operators.sublayers([given], [its], [part, part])
        return output

    assert torch.equal(output(1), output(1))
    assert not torch.equal(output(1), output(2))


def test_whether_dropout_keeps_a_number_says_nothing_of_its_neighbours() -> None:
    n, width, n_heads, n_sequences = 16, 16, 3, 24
    its, seeds = Places(n_sequences, n), torch.tensor([5], device=DEVICE)
    zeros, ones = torch.zeros(2, n_sequences * n, n_heads * width, device=DEVICE), torch.ones(2, 500, H, device=DEVICE)
    values = torch.eye(n, device=DEVICE).repeat(n_sequences, n_heads)  # what is attended are the attention weights
    attended = torch.empty_like(values)
    gpu_kernels.attend(*zeros, values, attended, on_gpu._heads_of(its, its, n_heads, seeds, 0.25))
    output, *_ = gpu_kernels.end(ones[0], torch.zeros_like(ones[0]), ones[1, 0], 0 * ones[1, 0], 1e-12, seeds, 0.25)
    for kept in (attended > 0, output > 0):
        assert kept.float().mean().item() == pytest.approx(0.75, abs=0.02)
        for apart in (1, 2, 3, 4, 8, 16):
            beside, below = (kept[:, apart:], kept[:, :-apart]), (kept[apart:], kept[:-apart])
            aslant = (kept[1:, apart:], kept[:-1, :-apart]), (kept[:-1, apart:], kept[1:, :-apart])
            for one, other in (beside, below, *aslant):
                alike = (one == other).float().mean().item()
                assert alike == pytest.approx(0.75**2 + 0.25**2, abs=0.02)


def test_streams_that_attend_to_each_other_have_dropout_of_their_own() -> None:
    its, same = Places(2, 3), rows(6).detach()
    language, vision = operators.sublayers([same, same], [its, its], [attending()])
    assert torch.allclose(language, vision)
    language, vision = operators.sublayers([same, same], [its, its], [attending((0.0, 0.5))])
    assert not torch.allclose(language, vision)


@pytest.mark.parametrize("kernel", ["attend", "attend_backward", "end", "end_backward", "norm_of", "update"])
def test_where_a_kernel_cannot_be_made_the_plain_way_serves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kernel: str
) -> None:
    monkeypatch.setattr(on_gpu, "DEVICE", DEVICE)
    monkeypatch.setattr(on_gpu, "LOW", LOW)
    assert operators._on_gpu.__wrapped__() is on_gpu
    module = gpu_kernels if hasattr(gpu_kernels, kernel) else adam_kernels
    monkeypatch.setattr(module, kernel, lambda *_, **__: 1 / 0)
    assert operators._on_gpu.__wrapped__() is None
    assert "training is slower: division by zero" in caplog.text


SMALL = Architecture(
    n_answers=7, vocab_size=30, hidden_size=32, n_heads=2, intermediate_size=24, n_language_layers=1, n_vision_layers=1,
    n_cross_layers=2, feature_dim=6, max_positions=12,
)  # fmt: skip
MASK = {"lxmert.pooler.dense.weight": np.random.default_rng(0).random((32, 32)) < 0.5}
KERNELS = [
    *[(gpu_kernels, name) for name in ("_attend", "_attend_backward", "_end", "_end_backward")],
    *[(adam_kernels, name) for name in ("_squares", "_update")],
]


@pytest.mark.parametrize(("packed", "reduced"), [(False, False), (True, False), (True, True)])
def test_the_whole_network(way: Callable[[bool], None], packed: bool, reduced: bool) -> None:
    network = build_network(random_weights(SMALL), SMALL).to(DEVICE)
    data, numbers = VqaData(toy_questions(8, 4), Regions(toy_features(4), DEVICE), DEVICE), np.arange(3)
    ids, attention_mask, features, boxes, *_ = data.batch(numbers).inputs()
    n_rows = int(attention_mask.sum()) + 3 if packed else attention_mask.numel()

    def gradient(plain: bool, dtype: torch.dtype = torch.float32) -> Tensor:
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

    exact = gradient(plain=True)
    error = (gradient(plain=False, dtype=LOW if reduced else torch.float32) - exact).norm()
    allowed = 1.2 * (gradient(plain=True, dtype=LOW) - exact).norm() if reduced else 1e-5 * exact.norm()
    assert error < allowed  # no worse than autocast's own


class Devices(TorchDispatchMode):
    """Notes every operator that takes or gives a tensor outside of `device`."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.elsewhere = device, []

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        given = operator(*arguments, **(options or {}))
        tensors = [leaf for leaf in tree_leaves((arguments, options, given)) if isinstance(leaf, Tensor)]
        self.elsewhere += [str(operator) for tensor in tensors if tensor.device.type != self.device.type]
        return given


class Launches:
    """Stands where a kernel does, and notes where the tensors are that it would be launched with."""

    def __init__(self) -> None:
        self.devices: Counter[str] = Counter()

    def __getitem__(self, _: object) -> Callable[..., None]:
        return lambda *given, **named: self.devices.update(
            each.device.type for each in (*given, *named.values()) if isinstance(each, Tensor)
        )


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_stays_on_its_device_and_waits_for_none_of_its_numbers(
    monkeypatch: pytest.MonkeyPatch, way: Callable[[bool], None], fused: bool
) -> None:
    """So a CUDA graph can hold it. Here tensors are on a device that has no numbers, and refuses to give any."""
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
    batch = replace(batch, features=batch.features.to(device), boxes=batch.boxes.to(device))
    assert {tensor.device.type for tensor in batch.inputs() if isinstance(tensor, Tensor)} == {device.type}
    assert batch.n_rows < batch.input_ids.numel()  # packed
    step = Step(network, optimizer, "float32")
    step(batch, targets, 1.0)  # the first one brings masks to the device
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
    """Return what of an argument makes Triton compile a kernel anew."""
    if isinstance(value, Tensor):
        return value.dtype, argument in ANY_ALIGNMENT or value.data_ptr() % 16 == 0
    if argument.isupper():
        return value
    return isinstance(value, int) and argument not in UNSPECIALISED and (value == 1, value % 16 == 0)


class RecordedKernel:
    """Launches a kernel, and again whenever the graph does in which it was recorded; notes its variants."""

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
                recording.graph.calls.append(lambda: self.kernel[grid](*given, **named))

        return launch


def test_graphs_take_the_steps_that_plain_ones_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two shapes, with dropout; on a GPU real graphs, in bfloat16, here recorded ones."""
    n_steps, tolerance, kernels = 12, 0.01, []
    monkeypatch.setattr(optimizer_module, "GATHERED_BELOW", 200)  # some are updated by themselves, some together
    if DEVICE.type == "cpu":
        n_steps, tolerance = 6, 0.0
        let_graphs_be_recorded(monkeypatch)
        monkeypatch.setattr(steps, "FIRST_STEPS", 2)
        kernels = [RecordedKernel(getattr(module, name)) for module, name in KERNELS]
        for (module, name), kernel in zip(KERNELS, kernels, strict=True):
            monkeypatch.setattr(module, name, kernel)
        monkeypatch.setattr(steps, "lowered_for", lambda network, _: Lowered(network, torch.float32))
    found, smaller = [], changed(SMALL, n_cross_layers=1)
    for kind in (Step, GraphedStep):
        for kernel in kernels:
            kernel.launched.clear()
        torch.manual_seed(0)
        network = build_network(random_weights(smaller), smaller, hidden_dropout=0.1, attention_dropout=0.1)
        network.train().to(DEVICE)
        optimizer = BertAdam(network, RECIPE, MASK)
        optimizer._kernels = adam_kernels
        step = kind(network, optimizer, "auto")
        found.append([*losses_of_steps(step, n_steps, 2, DEVICE), *map(Tensor.clone, network.state_dict().values())])
        if isinstance(step, GraphedStep):
            assert len(step._graphs) == 2
            # Within a capture nothing may be compiled, or loaded.
            assert not any(kernel.new_when_recorded for kernel in kernels)
    for plain, graphed in zip(*found, strict=True):
        assert (plain - graphed).norm() <= tolerance * plain.norm()


def test_answers_come_from_the_weights_as_they_are(
    monkeypatch: pytest.MonkeyPatch, way: Callable[[bool], None]
) -> None:
    network = build_network(random_weights(SMALL), SMALL).to(DEVICE)
    data = VqaData(toy_questions(4, 2), Regions(toy_features(2), DEVICE), DEVICE)
    way(True)
    expected = answer_all(network, data, "float32")[1]
    way(False)
    monkeypatch.setattr(answering, "lowered_for", lambda network, _: Lowered(network, torch.float32))
    assert answer_all(network, data, "float32")[1] == pytest.approx(expected, rel=1e-4)

"""What a GPU changes is measured in every variation, within its time limit, timing nothing but steps."""

import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recorded_graphs import batch_for_gpu
from torch.autograd import DeviceType
from toys import CPU, tiny_network, toy_data, toy_features, toy_questions

from benchmarks import contenders, made_up_data, on_gpu, own_engine
from benchmarks.made_up_data import Size
from benchmarks.own_engine import Others, TimedDataOnGpu, shapes_first
from benchmarks.profile_step import printed
from lxmert_tickets.environment import VISIBLE
from lxmert_tickets.model import aside, layers, lxmert, operators
from lxmert_tickets.model.lxmert import LxmertForVqa
from lxmert_tickets.training import regions, steps
from lxmert_tickets.training.regions import Regions


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device")
def test_without_a_gpu_the_benchmark_stops_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, "0")
    monkeypatch.setattr(sys, "argv", ["on_gpu", "--output", str(tmp_path / "results")])
    with pytest.raises(SystemExit, match="no GPU that CUDA can use"):
        on_gpu.main()
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("variations", [(), ("plain", "unfused"), ("streamed", "deterministic"), ("large", "in line")])
def test_the_engine_is_timed_in_every_variation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variations: tuple[str, ...]
) -> None:
    tiny = Size("config.yaml", 6, 4, 8, first_steps=8, timed_steps=104, n_evaluated=64, threads=1)
    for module in (made_up_data, own_engine):
        monkeypatch.setattr(module, "sizes", lambda: {"scenes": tiny})
    made_up_data.prepare(str(tmp_path), "scenes")
    using = aside.using
    found = own_engine.train_some_steps(str(tmp_path), "scenes", *variations)
    assert found["rate"] == pytest.approx((256 if "large" in variations else 32) / found["step_seconds"])
    assert found["peak_bytes"] > 1e7
    assert steps.GraphedStep is not steps.Step
    assert aside.using is using
    assert operators.engine_of(torch.zeros(1, 4), (), []) is not None
    assert operators.adam_kernels.__name__ == "adam_kernels"
    assert regions.SHARE_OF_GPU > 0
    torch.use_deterministic_algorithms(False)


def test_each_variation_changes_what_it_says() -> None:
    with own_engine._varied(["in line"]):
        begun: list[object] = []
        with aside.using(SimpleNamespace(run=begun.append, join=begun.clear)):
            aside.runner()(lambda: None)
        assert begun == []
    with own_engine._varied(["plain"]):
        assert steps.GraphedStep is steps.Step
    with own_engine._varied(["unfused"]):
        assert operators.engine_of(torch.zeros(1, 4), (), 1) is None
        assert operators.adam_kernels() is None
    with own_engine._varied(["streamed"]):
        assert regions.SHARE_OF_GPU == 0


def test_timing_waits_for_the_gpu_at_both_ends_and_for_other_trainings_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append("device"))
    monkeypatch.setattr(Others, "wait", lambda others: waited.append(f"{others.n} in {others.folder.name}"))
    monkeypatch.setattr(own_engine, "TimedData", TimedDataOnGpu)
    tiny = Size("config.yaml", 6, 4, 8, first_steps=8, timed_steps=4, n_evaluated=64, threads=1)
    for module in (made_up_data, own_engine):
        monkeypatch.setattr(module, "sizes", lambda: {"scenes": tiny})
    made_up_data.prepare(str(tmp_path), "scenes")
    found = own_engine.train_some_steps(str(tmp_path), "scenes", "together-3")
    assert waited == ["device", "3 in together-3", "device"]
    assert found["ended"] - found["began"] > 0


def test_gpu_lines_are_shown_with_their_share_of_the_floor() -> None:
    lines = [
        on_gpu.Line("training, ours", 50.0, 6.4, 12.3),
        on_gpu.Line("answering, ours", 10.0),
        on_gpu.Line("training, theirs", why_not="failed: a | b"),
    ]
    text = on_gpu.report(lines, {"GPU": "a name"}, {"training": 200.0})
    assert "| training, ours | 50 | 6.40 | 25 % | 12.3 GB |" in text
    assert "| answering, ours | 10 |  |  |  |" in text
    assert "| training, theirs | failed: a   b |  |  |  |" in text


def test_a_gpu_line_that_fails_or_takes_too_long_spoils_no_other(capfd: pytest.CaptureFixture[str]) -> None:
    def line(contender: str, seconds: float) -> on_gpu.Line:
        def work(clock: on_gpu.Clock) -> dict[str, float]:
            return contenders.run("machine", contender, seconds=clock.left())

        return on_gpu.attempted("it", work, on_gpu.Clock(time.monotonic() + seconds))

    assert line("no_such", 60).why_not == "failed: KeyError: 'no_such'"
    assert "Traceback" in capfd.readouterr().err  # its whole output
    assert line("matrix_peak", 0.2).why_not == "the minutes were over"
    assert line("matrix_peak", -1).why_not == "the minutes were over"


def test_everything_a_gpu_changes_is_measured_once_by_an_existing_contender(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[object, ...]] = []

    def run(module: str, contender: str, *arguments: object, threads: int, seconds: float) -> dict[str, float]:
        assert contender in import_module(f"benchmarks.{module}").CONTENDERS
        assert threads >= 1
        assert 0 < seconds <= 60
        asked.append((module, contender, *arguments[1:]))
        return {"rate": 10.0, "began": 1.0, "ended": 2.0}

    monkeypatch.setattr(contenders, "run", run)
    clock = on_gpu.Clock(time.monotonic() + 60)
    lines = [on_gpu.attempted(what, work, clock) for what, work in on_gpu.works(tmp_path)]
    assert [line.rate for line in lines if "at once" in line.what] == [10.0, 20.0, 30.0] * 2
    assert len({line.what for line in lines}) == len(lines)
    for variations in [(), *on_gpu.VARIATIONS, ("compiled",)]:
        assert ("own_engine", "train", "base", *variations) in asked
    assert {("peer_engine", work, "base") for work in ("train", "evaluate")} <= set(asked)
    assert ("peer_engine", "train", "base", str(on_gpu.WORKERS)) in asked


def test_concurrent_trainings_are_timed_from_the_first_start_to_the_last_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    took = iter([(10.0, 14.0), (12.0, 15.0)])

    def run(*arguments: object, **_: object) -> dict[str, float]:
        assert arguments[-1] == "together-2"
        began, ended = next(took)
        return {"rate": 120 / (ended - began), "began": began, "ended": ended}

    monkeypatch.setattr(contenders, "run", run)
    assert on_gpu._at_once(2, tmp_path / "base", on_gpu.Clock(time.monotonic() + 60))["rate"] == 2 * 120 / (15 - 10)


def test_concurrent_trainings_wait_for_each_other(tmp_path: Path) -> None:
    others = Others(tmp_path / "here", 2)
    with pytest.raises(TimeoutError, match="of 2 trainings not all"):
        others.wait(0.01)
    (tmp_path / "here" / "another").touch()
    others.wait(0.01)


@given(st.lists(st.sampled_from([128, 192, 256, 320]), min_size=1))
def test_no_batch_shape_is_new_once_timing_begins(shapes: list[int]) -> None:
    order = shapes_first(shapes)
    assert sorted(order) == list(range(len(shapes)))
    frequent = max(map(shapes.count, shapes))
    n_first = steps.FIRST_STEPS + 2 * len(set(shapes))
    met = [shapes[place] for place in order]
    assert shapes.count(met[0]) == frequent
    for place, shape in enumerate(met[n_first:], n_first):
        captured = [at for at in range(steps.FIRST_STEPS, place) if met[at] == shape and shape in met[:at]]
        assert captured  # what is then replayed


def test_too_few_first_steps_for_all_shapes_are_an_error() -> None:
    meta = torch.device("meta")
    data = TimedDataOnGpu(toy_questions(64, 4), Regions(toy_features(4), CPU), meta)
    every = [np.arange(n) for n in (1, 32, 64)]
    data.waits_at = 9, 20
    assert data.shapes_of(every) == [64, 256, 448]
    data.waits_at = 8, 20
    with pytest.raises(RuntimeError, match="8 steps before the timed ones are too few for 3 graphs"):
        data.shapes_of(every)


def test_a_gpu_profile_lists_kernels_and_not_what_launches_them(capsys: pytest.CaptureFixture[str]) -> None:
    def event(key: str, device: DeviceType, cpu_us: float, device_us: float) -> SimpleNamespace:
        return SimpleNamespace(
            key=key, device_type=device, self_cpu_time_total=cpu_us, self_device_time_total=device_us, count=4
        )

    events = [event("cudaGraphLaunch", DeviceType.CPU, 9000, 0), event("a kernel", DeviceType.CUDA, 0, 3000)]
    assert printed(events, 2, 8, on_gpu=True) == {"operator_seconds": pytest.approx(1.5e-3), "calls": 2}
    said = capsys.readouterr().out
    assert "| a kernel | 100.0 % | 1.500 | 2 |" in said
    assert "cudaGraphLaunch" not in said


def test_the_network_can_be_traced_as_one_graph_and_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators.on_cpu, "takes", lambda _: False)  # as on a GPU
    network, batch = tiny_network(), batch_for_gpu(toy_data(), np.arange(8))
    expected = network(*batch)
    for place, name in (operators, "_engine"), (lxmert, "together"), (layers, "select"), (LxmertForVqa, "forward"):
        monkeypatch.setattr(place, name, getattr(place, name))  # to be restored
    own_engine._compile("eager")
    assert torch.equal(network(*batch), expected)
    assert torch.equal(network.eval()(*batch), expected)  # not compiled: validation is not timed
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()

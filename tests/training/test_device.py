"""Half precision is used in forward passes only, and a process is set up for its device."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toys import CPU, RECIPE, changed, tiny_network, toy_data

from lxmert_tickets.environment import set_environment_of_jobs
from lxmert_tickets.training import device as device_module
from lxmert_tickets.training import loop
from lxmert_tickets.training.device import autocast, best_device, is_reduced, lowered_for
from lxmert_tickets.training.loop import Trained, train
from lxmert_tickets.training.optimizer import BertAdam

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"
HUGE_PAGES = {
    name: file.read_text() if (file := Path("/sys/kernel/mm/transparent_hugepage", name)).exists() else ""
    for name in ("enabled", "defrag")
}


def run(precision: str) -> Trained:
    return train(tiny_network(), toy_data(), toy_data(12, seed=1), changed(RECIPE, precision=precision), seed=0)


@pytest.mark.parametrize(
    ("precision", "expected"), [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_on_the_cpu_matrices_are_multiplied_in_bfloat16_only_if_asked_for(
    monkeypatch: pytest.MonkeyPatch, precision: str, expected: torch.dtype
) -> None:
    monkeypatch.setattr(device_module, "_gpu_has_bfloat16", lambda: True)  # which this is not about
    with autocast(CPU, precision):
        assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == expected


@pytest.mark.parametrize(("precision", "enabled"), [("auto", True), ("bfloat16", True), ("float32", False)])
def test_on_cuda_auto_is_bfloat16(monkeypatch: pytest.MonkeyPatch, precision: str, enabled: bool) -> None:
    asked: list[tuple[str, torch.dtype, bool]] = []
    monkeypatch.setattr(device_module, "_gpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype, enabled: asked.append((kind, dtype, enabled)))
    autocast(torch.device("cuda"), precision)
    assert asked == [("cuda", torch.bfloat16, enabled)]


def test_auto_is_not_bfloat16_on_a_gpu_that_only_emulates_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr(device_module, "_gpu_has_bfloat16", lambda: False)
    assert [is_reduced(cuda, precision) for precision in ("auto", "bfloat16", "float32")] == [False, True, False]


def test_on_the_cpu_weights_are_not_lowered_in_advance() -> None:
    assert lowered_for(tiny_network(), "bfloat16") is None


def test_in_bfloat16_weights_and_moments_stay_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizers: list[BertAdam] = []
    monkeypatch.setattr(loop, "BertAdam", lambda *args: optimizers.append(BertAdam(*args)) or optimizers[-1])
    trained = run("bfloat16")
    assert {tensor.dtype for tensor in trained.weights.values()} == {torch.float32}
    assert {tensor.dtype for tensor in optimizers[0].state().values()} == {torch.float32}


def test_bfloat16_trains_nearly_as_float32_does() -> None:
    half, full = run("bfloat16"), run("float32")
    assert half.history[-1].train_loss == pytest.approx(full.history[-1].train_loss, rel=0.05)
    assert half.history[-1].train_loss != full.history[-1].train_loss


@pytest.mark.parametrize(("available", "kind"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch, available: bool, kind: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert best_device().type == kind


@pytest.mark.parametrize("keeps", [True, False])
def test_a_process_that_was_set_up_keeps_the_memory_it_frees(keeps: bool) -> None:
    program = f"""
import torch
from lxmert_tickets.training.device import set_up_process
if {keeps}:
    set_up_process(1)
    assert torch.get_num_threads() == 1
def resident_pages():
    return int(open("/proc/self/statm").read().split()[1])
tensor = torch.ones(2**22)  # 16 MiB
before = resident_pages()
del tensor
print(before - resident_pages())
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    n_pages = 2**24 // os.sysconf("SC_PAGE_SIZE")
    assert (int(done.stdout) < n_pages / 2) is keeps


@pytest.mark.skipif(
    "[madvise]" not in HUGE_PAGES["enabled"] or "madvise]" not in HUGE_PAGES["defrag"],
    reason="the kernel gives large pages to all, to none, or at its leisure",
)
def test_large_tensors_of_a_job_use_huge_pages() -> None:
    """torch asks for them only if told to before its first tensor, so no import of a script may make one."""
    program = f"""
from importlib import import_module
from pathlib import Path
from lxmert_tickets.jobs.forked import imported_by
for script in Path({str(SCRIPTS)!r}).glob("*.py"):
    for module in imported_by(script):
        import_module(module)
import torch
from lxmert_tickets.training.device import set_up_process
set_up_process(1)
tensor = torch.ones(2**24)  # 64 MiB
print(Path("/proc/self/smaps_rollup").read_text())
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    found = re.search(r"AnonHugePages: +(\d+) kB", done.stdout)
    assert found is not None
    assert int(found[1]) > 2**15


@pytest.mark.parametrize("variable", ["OMP_DYNAMIC=true", "OMP_THREAD_LIMIT=1", "OMP_MAX_ACTIVE_LEVELS=0"])
def test_a_job_multiplies_whole_matrices_where_openmp_is_told_to_give_fewer_threads(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    program = """
import torch
from lxmert_tickets.model.on_cpu import _product
from lxmert_tickets.training.device import set_up_process
set_up_process(2)
rows, weight, bias = torch.randn(1024, 256), torch.randn(256, 256), torch.randn(256)
exact = torch.addmm(bias.double(), rows.double(), weight.t().double())
assert torch.allclose(_product(rows, weight, bias).double(), exact, atol=1e-3)
"""
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv(*variable.split("="))
    set_environment_of_jobs()
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("deterministic", [True, False])
def test_on_a_gpu_sums_are_float32_cudnn_attention_is_off_and_steps_deterministic_if_asked(
    deterministic: bool,
) -> None:
    program = f"""
import torch
from lxmert_tickets.training.device import set_up_process
assert torch.backends.cuda.cudnn_sdp_enabled()
set_up_process(1, {deterministic})
assert not torch.backends.cuda.cudnn_sdp_enabled()
assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
assert torch.are_deterministic_algorithms_enabled() is {deterministic}
assert torch.utils.deterministic.fill_uninitialized_memory is not {deterministic}
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(("build", "reason"), [(None, "built without CUDA"), ("13.0", "older than CUDA 13.0")])
def test_the_log_reports_a_gpu_that_torch_cannot_use(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, build: str | None, reason: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr(device_module, "has_gpu", lambda: False)
    assert best_device() == CPU
    assert reason not in caplog.text
    monkeypatch.setattr(device_module, "has_gpu", lambda: True)
    assert best_device() == CPU
    assert reason in caplog.text


def test_the_log_names_the_device_that_the_scheduler_assigned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with caplog.at_level("INFO"):
        best_device()
    assert "SLURM_JOB_ID=17, CUDA_VISIBLE_DEVICES=3" in caplog.text


@pytest.mark.parametrize(("visible", "n_seen", "warns"), [("3", 4, True), ("3", 1, False), (None, 4, False)])
def test_the_log_warns_when_cuda_sees_more_gpus_than_the_job_was_given(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, visible: str | None, n_seen: int, warns: bool
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_seen)
    best_device()
    assert ("sees 4 GPUs in spite of CUDA_VISIBLE_DEVICES" in caplog.text) is warns

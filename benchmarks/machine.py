"""The machine: what it is, how fast it multiplies matrices, and how fast it moves memory."""

import importlib.metadata
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lxmert_tickets.environment import available_cores, has_gpu

MATRIX = 2048  # float32 on the CPU: 17 GFLOP a product, 16 MB a matrix
MATRIX_OF_GPU = 8192  # bfloat16
READ_BYTES = 1 << 28  # far more than any cache
KEPT_BYTES = 1 << 19  # target of all reads, small enough to stay in the cache
ROUNDS = 6


def describe() -> dict[str, str]:
    """Return a description of the machine: what the figures depend on."""
    described = {
        "CPU": _cpu_model(),
        "cores": str(available_cores()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        **{name: _version_of(name) for name in ("torch", "transformers")},
    }
    return described | (gpu() if has_gpu() else {})


def gpu() -> dict[str, str]:
    """Return the name of the GPU that CUDA uses; {} if there is none."""
    import torch

    return {"GPU": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    """Return the processor's name; on Linux with family and model, since virtual machines often hide the rest."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    facts = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text.partition("\n\n")[0], flags=re.MULTILINE))
    if len(facts) < 3:
        return facts.get("model name", "CPU")
    return f"{facts['model name']} (family {facts['cpu family']}, model {facts['model']})"


def matrix_peak() -> dict[str, float]:
    """Return the peak FLOP/s of one large matrix product: float32 on the CPU, bfloat16 on a GPU.

    On the CPU, by the faster of torch's two libraries.
    """
    import torch

    from lxmert_tickets.model import on_cpu
    from lxmert_tickets.training.device import best_device

    device = best_device()
    on_gpu = device.type == "cuda"
    width, dtype = (MATRIX_OF_GPU, torch.bfloat16) if on_gpu else (MATRIX, torch.float32)
    left, right = torch.randn(2, width, width, device=device).to(dtype)

    def product() -> None:
        torch.mm(left, right)
        if on_gpu:
            torch.cuda.synchronize()

    ways = [product] if on_gpu else [product, lambda: on_cpu._of_inputs(left, right)]
    return {"flops": 2 * width**3 / min(map(_quickest, ways))}


def read_bandwidth() -> dict[str, float]:
    """Return the bytes per second that one thread reads from memory; writes stay in the cache and do not count."""
    source = np.ones(READ_BYTES, np.uint8).reshape(-1, KEPT_BYTES)
    target = np.zeros(KEPT_BYTES, np.uint8)

    def read() -> None:
        for block in source:
            np.copyto(target, block)

    return {"bytes": READ_BYTES / _quickest(read)}


def _quickest(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


CONTENDERS = {"gpu": gpu, "matrix_peak": matrix_peak, "read_bandwidth": read_bandwidth}

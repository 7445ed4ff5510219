"""The machine: what it is, how fast it multiplies matrices, and how fast it moves memory."""

import importlib.metadata
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lxmert_tickets.data.feature_workers import available_cores
from lxmert_tickets.environment import has_gpu

MATRIX = 2048  # float32 on the CPU: 17 GFLOP a product, 16 MB a matrix
MATRIX_OF_GPU = 8192  # bfloat16
COPIED_BYTES = 1 << 28  # far more than any cache
ROUNDS = 6


def describe() -> dict[str, str]:
    """Return the machine's description: what figures depend on."""
    described = {
        "CPU": _cpu_model(),
        "cores": str(available_cores()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "torch": importlib.metadata.version("torch"),
        "transformers": importlib.metadata.version("transformers"),
    }
    if has_gpu():
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        described["GPU"] = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()[0]
    return described


def _cpu_model() -> str:
    """Return the processor's name; on Linux with family and model, since virtual machines often hide the rest."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    facts = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text.partition("\n\n")[0], flags=re.MULTILINE))
    if len(facts) < 3:
        return facts.get("model name", "CPU")
    return f"{facts['model name']} (family {facts['cpu family']}, model {facts['model']})"


def matrix_peak() -> dict[str, float]:
    """Return the most FLOPs a second of one large matrix product: float32 on the CPU, bfloat16 on a GPU.

    On the CPU by whichever of torch's two libraries is the faster.
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


def copy_bandwidth() -> dict[str, float]:
    """Return bytes a second of one thread that copies memory; what is read and what is written both count."""
    source = np.ones(COPIED_BYTES, np.uint8)
    target = np.zeros_like(source)
    return {"bytes": 2 * COPIED_BYTES / _quickest(lambda: np.copyto(target, source))}


def _quickest(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


CONTENDERS = {"matrix_peak": matrix_peak, "copy_bandwidth": copy_bandwidth}

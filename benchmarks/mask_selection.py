"""Mask selection at LXMERT-base size, ours against torch.nn.utils.prune: time, extra memory, and the floor.

    python benchmarks/mask_selection.py [millions of weights, default 181.7]

Each contender runs in a process of its own and prunes 10 % of the same weights. The floor is reading every weight once
from memory, at the bandwidth measured in the same run.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

SHAPE = (768, 3072)  # of a feed-forward matrix of the base network
SPARSITY_PERCENT = 10


def weights(n_millions: float) -> dict[str, np.ndarray]:
    """Return matrices of about `n_millions` million normal weights in all."""
    rng = np.random.default_rng(0)
    n_matrices = max(1, round(n_millions * 1e6 / np.prod(SHAPE)))
    return {f"{k:03d}": rng.standard_normal(SHAPE, dtype=np.float32) for k in range(n_matrices)}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def ours(tensors: dict[str, np.ndarray]) -> None:
    from lxmert_tickets.pruning.masks import keep_all, keep_largest

    keep_largest(tensors, keep_all(tensors, list(tensors)), SPARSITY_PERCENT)


def peer(tensors: dict[str, np.ndarray]) -> None:
    import torch
    from torch.nn.utils import prune

    modules = []
    for tensor in tensors.values():
        module = torch.nn.Linear(1, 1, bias=False)
        module.weight = torch.nn.Parameter(torch.from_numpy(tensor))
        modules.append((module, "weight"))
    prune.global_unstructured(modules, prune.L1Unstructured, amount=SPARSITY_PERCENT / 100)


def bandwidth(tensors: dict[str, np.ndarray]) -> float:
    """Return bytes a second of reading all tensors, best of three."""
    size = sum(tensor.nbytes for tensor in tensors.values())
    times = []
    for _ in range(3):
        started = time.perf_counter()
        for tensor in tensors.values():
            tensor.sum()
        times.append(time.perf_counter() - started)
    return float(size / min(times))


def contend(name: str, n_millions: float) -> None:
    tensors = weights(n_millions)
    {"ours": ours, "peer": peer}[name]({"0": tensors["000"]})  # imports do not count
    before, started = peak_bytes(), time.perf_counter()
    {"ours": ours, "peer": peer}[name](tensors)
    seconds = time.perf_counter() - started
    size = sum(tensor.nbytes for tensor in tensors.values())
    floor = size / bandwidth(tensors)
    print(json.dumps({"seconds": seconds, "extra_bytes": peak_bytes() - before, "floor_seconds": floor}))


def main(n_millions: float) -> None:
    measured = {}
    for name in ("ours", "peer"):
        command = [sys.executable, __file__, name, str(n_millions)]
        measured[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    mine, theirs = measured["ours"], measured["peer"]
    print(f"{n_millions} M weights | seconds | extra GB")
    for name, of in (("lxmert_tickets", mine), ("torch.nn.utils.prune", theirs)):
        print(f"{name:20s} | {of['seconds']:.2f} | {of['extra_bytes'] / 1e9:.2f}")
    print(f"ratio {theirs['seconds'] / mine['seconds']:.1f} in time, floor {mine['floor_seconds']:.2f} s "
          f"({100 * mine['floor_seconds'] / mine['seconds']:.0f} % reached)")  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] in (["ours"], ["peer"]):
        contend(sys.argv[1], float(sys.argv[2]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 181.7)

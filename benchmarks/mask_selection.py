"""Mask selection at LXMERT-base size, ours against torch.nn.utils.prune: time, extra memory, and the floor.

    python -m benchmarks.mask_selection [millions of weights, default 181.7]

Each contender runs in its own process and prunes 10 % of the same weights. The floor is reading every weight once
from memory, timed in the same run.
"""

import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import contenders
from benchmarks.contenders import largest, least
from benchmarks.figures import Figure
from benchmarks.networks import prepare

SHAPE = (768, 3072)  # of a feed-forward matrix of the base network
SPARSITY_PERCENT = 10
MILLIONS = 181.7
ROUNDS = 2


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


def reading_seconds(tensors: dict[str, np.ndarray]) -> float:
    """Return the seconds that reading all tensors takes, best of three."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        for tensor in tensors.values():
            tensor.sum()
        times.append(time.perf_counter() - started)
    return min(times)


def contend(name: str, n_millions: str) -> dict[str, float]:
    tensors = weights(float(n_millions))
    {"ours": ours, "peer": peer}[name]({"0": tensors["000"]})  # imports do not count
    before, started = peak_bytes(), time.perf_counter()
    {"ours": ours, "peer": peer}[name](tensors)
    seconds = time.perf_counter() - started
    floor = reading_seconds(tensors)
    return {"seconds": seconds, "extra_bytes": peak_bytes() - before, "floor_seconds": floor}


@dataclass(frozen=True)
class Files:
    """What a round of pruning writes."""

    mask: str
    start: str
    report: str


def prune_round(weights_file: str) -> dict[str, float]:
    """Return the peak memory of a round, from weights to mask and start weights, as a multiple of the weights."""
    from lxmert_tickets.model.checkpoints import load_weights
    from lxmert_tickets.pruning.masks import keep_all, keep_largest
    from lxmert_tickets.pruning.prunable import PAPER, prunable_names
    from lxmert_tickets.pruning.subnetworks import save_subnetwork

    tensors, _ = load_weights(weights_file)
    size_bytes = sum(tensor.nbytes for tensor in tensors.values())
    mask = keep_largest(tensors, keep_all(tensors, prunable_names(tensors, PAPER)), SPARSITY_PERCENT)
    del tensors
    folder = Path(weights_file).parent
    files = Files(*(str(folder / name) for name in ("mask.safetensors", "pruned.safetensors", "sparsity.csv")))
    save_subnetwork(files, mask, weights_file, {})
    return {"peak": peak_bytes() / size_bytes}


CONTENDERS = {
    "prune_round": prune_round,
    "ours": lambda n_millions: contend("ours", n_millions),
    "peer": lambda n_millions: contend("peer", n_millions),
}


def mask_base(folder: Path, n_millions: float = MILLIONS) -> Figure:
    """Return the seconds of both; the note has the memory."""
    found = contenders.alternate("mask_selection", ["ours", "peer"], n_millions, rounds=ROUNDS)
    memory = {name: largest(numbers, "extra_bytes") / 1e9 for name, numbers in found.items()}
    floor = least([*found["ours"], *found["peer"]], "floor_seconds")
    prepare(folder / "base", "base")
    peak = contenders.run("mask_selection", "prune_round", folder / "base" / "start.safetensors")["peak"]
    note = (
        f"{n_millions} million weights, one thread; extra memory {memory['ours']:.2f} GB against "
        f"{memory['peer']:.2f} GB of the peer's, {memory['peer'] / memory['ours']:.0f} times less; "
        f"prune_round takes {peak:.2f} times its weights at most; the floor is reading every weight once"
    )
    return Figure("mask_base", least(found["ours"], "seconds"), least(found["peer"], "seconds"), floor, note)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(mask_base(Path(scratch), float(sys.argv[1]) if len(sys.argv) > 1 else MILLIONS).as_json())

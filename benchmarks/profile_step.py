"""Where a training step's time goes, by operator, as Markdown.

    python -m benchmarks.profile_step scenes|base [operators, default 8]

Times are those of the operators themselves, without what they call; Python's own work is in none of them. The profiler
slows small operators down, so the shares count, not the seconds.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import contenders
from benchmarks.made_up_data import recipe_of, sizes
from lxmert_tickets.data.feature_workers import available_cores

STEPS = {"scenes": 40, "base": 2}


def profile(folder: str, name: str, n_operators: str) -> dict[str, float]:
    """Print the table; return seconds of all operators in a step, while profiled."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from benchmarks.own_engine import network_of
    from lxmert_tickets.training.batches import open_vqa_data
    from lxmert_tickets.training.device import best_device
    from lxmert_tickets.training.loop import train

    files, n_steps = Path(folder), STEPS[name]
    recipe = recipe_of(sizes()[name])
    features = files / "features.h5"
    data, val = (open_vqa_data(files / f"{split}.h5", features, best_device()) for split in ("train", "val"))
    profiler = profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available())
    batches = list(data.shuffled(recipe.batch_size, 0, 1))

    def some_batches(*_: object) -> Iterator[np.ndarray]:
        yield batches[0]  # the first step makes the optimiser's moments
        with profiler:
            yield from batches[1 : n_steps + 1]

    data.shuffled = some_batches
    network = network_of(files, recipe.hidden_dropout, recipe.attention_dropout)
    train(network, data, val, recipe, seed=0)
    return _printed(profiler.key_averages(), n_steps, int(n_operators))


def _printed(operators: object, n_steps: int, n_shown: int) -> dict[str, float]:
    of_cpu = sorted(operators, key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in of_cpu)
    print("| operator | share | ms a step | calls a step |\n|---|---:|---:|---:|")
    for event in of_cpu[:n_shown]:
        milliseconds = event.self_cpu_time_total / 1000 / n_steps
        share = 100 * event.self_cpu_time_total / whole
        print(f"| {event.key} | {share:.1f} % | {milliseconds:.2f} | {event.count / n_steps:.0f} |")
    print(f"| all {len(of_cpu)} | | {whole / 1000 / n_steps:.2f} | {sum(e.count for e in of_cpu) / n_steps:.0f} |")
    return {"operator_seconds": whole / 1e6 / n_steps}


CONTENDERS = {"profile": profile}


def main(name: str, n_operators: str = "8") -> None:
    threads = sizes()[name].threads or available_cores()
    with tempfile.TemporaryDirectory() as folder:
        contenders.run("made_up_data", "prepare", folder, name)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is imported, below
        profile(folder, name, n_operators)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Where a training step's time goes, by operator, as Markdown; on a GPU, by kernel.

    python -m benchmarks.profile_step scenes|base [--operators 8]

Times are self times: they exclude the operators called, and Python's own work. The profiler slows small operators down,
so the shares matter, not the seconds. Every step calls each kernel equally often: a fractional number of calls means
that the profiler has lost some. Concurrent kernels each count in full, so on a GPU their sum may exceed the time of a
step.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import contenders
from benchmarks.made_up_data import recipe_of, sizes
from lxmert_tickets.environment import available_cores

STEPS, STEPS_ON_GPU = {"scenes": 40, "base": 2}, 40
LONGEST_NAME = 90  # of a kernel: those of C++ include types


def profile(folder: str, name: str, n_operators: str) -> dict[str, float]:
    """Print the table; return the seconds of all operators in a step, while profiled, and the number of calls."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from benchmarks.own_engine import network_of, shapes_first
    from lxmert_tickets.training.batches import n_rows_on, open_vqa_data
    from lxmert_tickets.training.device import best_device
    from lxmert_tickets.training.loop import train

    files, on_gpu = Path(folder), torch.cuda.is_available()
    n_steps = STEPS_ON_GPU if on_gpu else STEPS[name]
    recipe = recipe_of(sizes()[name])
    features = files / "features.h5"
    network = network_of(files, recipe.hidden_dropout, recipe.attention_dropout)
    vocab_size, device = network.architecture.vocab_size, best_device()
    data, val = (open_vqa_data(files / f"{split}.h5", features, device, vocab_size) for split in ("train", "val"))
    profiler = profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU])
    batches = list(data.shuffled(recipe.batch_size, 0, 1))
    order = shapes_first([n_rows_on(data.device, data.questions.length[rows]) for rows in batches])
    batches = [batches[place] for place in order]
    n_first = len(batches) - n_steps if on_gpu else 1  # create the optimiser's moments and CUDA graphs

    def some_batches(*_: object) -> Iterator[np.ndarray]:
        yield from batches[:n_first]
        if on_gpu:
            torch.cuda.synchronize()
        with profiler:
            yield from batches[n_first : n_first + n_steps]
            if on_gpu:
                torch.cuda.synchronize()

    data.shuffled = some_batches
    train(network, data, val, recipe, seed=0)
    return printed(profiler.key_averages(), n_steps, int(n_operators), on_gpu)


def printed(operators: object, n_steps: int, n_shown: int, on_gpu: bool) -> dict[str, float]:
    """Print the table; return what `profile` does. On a GPU, only for what ran there, not for CPU operators."""
    from torch.autograd import DeviceType

    of_steps = [
        (event.self_device_time_total if on_gpu else event.self_cpu_time_total, event)
        for event in operators
        if not on_gpu or event.device_type == DeviceType.CUDA
    ]
    of_steps.sort(key=lambda timed: -timed[0])
    whole, calls = sum(time for time, _ in of_steps), sum(event.count for _, event in of_steps) / n_steps
    print("| operator | share | ms a step | calls a step |\n|---|---:|---:|---:|")
    for time, event in of_steps[:n_shown]:
        name = event.key[:LONGEST_NAME].replace("|", " ")
        print(f"| {name} | {100 * time / whole:.1f} % | {time / 1000 / n_steps:.3f} | {event.count / n_steps:g} |")
    print(f"| all {len(of_steps)} | | {whole / 1000 / n_steps:.2f} | {calls:.0f} |")
    return {"operator_seconds": whole / 1e6 / n_steps, "calls": calls}


CONTENDERS = {"profile": profile}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", choices=list(sizes()), help="of the network")
    parser.add_argument("--operators", default="8", help="that are shown")
    options = parser.parse_args()
    threads = sizes()[options.size].threads or available_cores()
    with tempfile.TemporaryDirectory() as folder:
        contenders.run("made_up_data", "prepare", folder, options.size)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is imported, below
        profile(folder, options.size, options.operators)


if __name__ == "__main__":
    main()

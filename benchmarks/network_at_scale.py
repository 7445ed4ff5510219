"""What one network of VQA v2 costs, measured over some steps on what vqa2_at_scale.py has made.

    python -m benchmarks.network_at_scale RESULTS FEATURES [--steps 12]

RESULTS is the folder of the experiment's results, FEATURES the file of its training images' features. Prints JSON:
FLOPs, seconds of the real training loop and the real answering pass, memory, and the resulting cost of a whole
training. Runs in its own process, so that its memory is that of a training.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path

import torch

from benchmarks.made_up_data import QUESTIONS_PER_IMAGE
from benchmarks.needed_flops import answering_flops, mean_flops, training_flops, vision_flops
from benchmarks.own_engine import TimedData, TimedDataOnGpu, first_of
from lxmert_tickets.data.features import open_features
from lxmert_tickets.data.questions import load_questions
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.checkpoints import load_weights
from lxmert_tickets.model.lxmert import LxmertForVqa
from lxmert_tickets.training.answering import answer_all
from lxmert_tickets.training.batches import VqaData
from lxmert_tickets.training.device import best_device, set_up_process
from lxmert_tickets.training.loop import train
from lxmert_tickets.training.recipe import TrainingRecipe
from lxmert_tickets.training.regions import Regions

N_TRAIN, N_MINIVAL, N_TEST = 632_117, 25_994, 447_793
N_TRAINED = 36
"""Networks of configs/vqa2.yaml: three seeds of one dense network and eleven subnetworks."""

RECIPE = TrainingRecipe(learning_rate=5e-5, epochs=1, batch_size=32, hidden_dropout=0.1, attention_dropout=0.1)
EPOCHS = 4
TIMED = {"cpu": (TimedData, 2), "cuda": (TimedDataOnGpu, 24)}
"""By device: the class of the training data, and how many slow first steps are not timed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    args = parser.parse_args()
    set_up_process(os.cpu_count() or 1)
    print(json.dumps(costs(args.results, args.features, args.steps), indent=1))


def costs(results: Path, features: Path, n_steps: int) -> dict[str, object]:
    """Return the costs of a training on VQA v2, by name."""
    questions = load_questions(results / "data/train/questions.h5")
    regions = Regions(open_features(features), best_device())
    device = best_device()
    timed, n_first = TIMED[device.type]
    data = timed(first_of(questions, RECIPE.batch_size * (n_first + n_steps)), regions, device)
    few = VqaData(first_of(questions, RECIPE.batch_size), regions, device)
    weights, architecture = load_weights(results / "seed0/initial.safetensors")
    network = build_network(weights, architecture, hidden_dropout=0.1, attention_dropout=0.1).to(device)
    lengths = data.questions.length
    train_flops, predict_flops = (
        mean_flops(of_one, architecture, lengths, regions.n_regions) for of_one in (training_flops, answering_flops)
    )
    predict_flops -= vision_flops(architecture, regions.n_regions) * (1 - 1 / QUESTIONS_PER_IMAGE)
    step_s, predict_s = seconds_a_step(network, data, few, n_first), seconds_a_question(network, data, few)
    n_steps_all, n_predicted = EPOCHS * (N_TRAIN // RECIPE.batch_size), (EPOCHS + 1) * N_MINIVAL + N_TEST
    whole = train_flops * RECIPE.batch_size * n_steps_all + predict_flops * n_predicted
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {os.cpu_count()} cores",
        "tokens_a_question": round(float(lengths.mean()), 1),
        "train_gflop_a_question": round(train_flops / 1e9, 2),
        "predict_gflop_a_question": round(predict_flops / 1e9, 2),
        "seconds_a_step_of_32": round(step_s, 3),
        "gflops_reached": round(train_flops * RECIPE.batch_size / step_s / 1e9),
        "questions_predicted_a_second": round(1 / predict_s, 1),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        "pflop_a_network": round(whole / 1e15, 1),
        "pflop_in_all": round(N_TRAINED * whole / 1e15),
        "hours_a_network_at_this_speed": round((n_steps_all * step_s + n_predicted * predict_s) / 3600, 1),
    }


def seconds_a_step(network: LxmertForVqa, data: TimedData, val: VqaData, n_first: int) -> float:
    """Train on all of `data`, and return the seconds per step after the first `n_first`."""
    n_steps = len(data) // RECIPE.batch_size
    if isinstance(data, TimedDataOnGpu):
        data.waits_at = n_first, n_steps
    train(network, data, val, RECIPE, seed=0)
    return (data.asked[-1] - data.asked[n_first]) / (n_steps - n_first)


def seconds_a_question(network: LxmertForVqa, data: VqaData, few: VqaData) -> float:
    """Return the seconds per answer, after warming up on `few`."""
    answer_all(network, few, "auto")
    started = time.perf_counter()
    answer_all(network, data, "auto")  # the answers are on the CPU when it returns
    return (time.perf_counter() - started) / len(data.questions)


if __name__ == "__main__":
    main()

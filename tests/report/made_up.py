"""Made-up results of a small experiment, for the tests of tables and figures."""

from itertools import product

import numpy as np
import pandas as pd

from lxmert_tickets.report.results import METRICS

SPLITS = ("val", "test-dev", "test-std")
KINDS = ("what color is the", "how many", "is the")
LAYERS = {"language 0": True, "cross 0 vision": True, "cross 1 vision": False, "pooler": True}
MODELS = (("dense", 0.0), ("low_magnitude", 25.0), ("low_magnitude", 50.0), ("high_magnitude", 50.0), ("random", 50.0))
LEVEL = {"dense": 90.0, "low_magnitude": 89.0, "high_magnitude": 40.0, "random": 60.0}
LONGER = ("low_magnitude_one_shot", "low_magnitude_per_tensor", "random_per_tensor")
WITH_LONGER_NAMES = (*MODELS, *((name, 50.0) for name in LONGER))
LEVEL |= dict.fromkeys(LONGER, 70.0)

Models = tuple[tuple[str, float], ...]


def results(n_seeds: int = 3, models: Models = MODELS) -> pd.DataFrame:
    """Return accuracies that differ in every cell; seeds vary around the level of their subnetwork."""
    rng = np.random.default_rng(0)
    rows = []
    for seed, (name, sparsity), split in product(range(n_seeds), models, SPLITS):
        accuracies = (LEVEL[name] + rng.normal(0, 1, len(METRICS))).round(2)
        rows.append((name, sparsity, seed, split, "official", *accuracies))
    return pd.DataFrame(rows, columns=["subnetwork", "sparsity", "seed", "split", "measure", *METRICS])


def question_types(n_seeds: int = 3, models: Models = MODELS) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    columns = ["seed", "subnetwork", "sparsity", "split", "question_type", "accuracy"]
    rows = [
        (seed, name, sparsity, split, kind, LEVEL[name] - 10 * KINDS.index(kind) + rng.normal())
        for seed, (name, sparsity), split, kind in product(range(n_seeds), models, SPLITS, KINDS)
    ]
    return pd.DataFrame(rows, columns=columns)


def histories(n_seeds: int = 3, models: Models = MODELS) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    columns = ["seed", "subnetwork", "sparsity", "epoch", "train_loss", "val_accuracy_percent"]
    rows = [
        (seed, name, sparsity, epoch, 3 / epoch + rng.normal() / 10, LEVEL[name] - 9 / epoch + rng.normal())
        for seed, (name, sparsity), epoch in product(range(n_seeds), models, (1, 2, 3))
    ]
    return pd.DataFrame(rows, columns=columns)


def sparsities(n_seeds: int = 3, models: Models = MODELS) -> pd.DataFrame:
    """Return reports as the workflow gathers them; the layers lie 3 points apart around the whole's sparsity."""
    columns = ["seed", "subnetwork", "sparsity", "part", "name", "stream", "sparsity_percent", "reaches_answer"]
    rows = [
        (seed, name, sparsity, part, layer + suffix, layer.split()[0], sparsity + 3 * position - 4.5, reaches)
        for seed, (name, sparsity), (part, suffix), (position, (layer, reaches)) in product(
            range(n_seeds), models[1:], (("tensor", " weight"), ("layer", "")), enumerate(LAYERS.items())
        )
    ]
    return pd.DataFrame(rows, columns=columns)

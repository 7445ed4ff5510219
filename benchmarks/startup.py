"""From the start of a training job's process to the end of its first step, at scenes size."""

import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import contenders
from benchmarks.contenders import least, seconds_since_start
from benchmarks.figures import Figure

ROUNDS = 4


class FirstStepDoneError(BaseException):
    """Ends the job; no job catches it."""


def ours(folder: str) -> dict[str, float]:
    """Run the script of the rule as Snakemake does, until its loop requests the second batch."""
    importlib.import_module("snakemake.script")  # how every script that Snakemake runs begins
    from script_runs import run_here

    from lxmert_tickets.training.batches import VqaData

    shuffled = VqaData.shuffled

    def first_batch_only(data: VqaData, batch_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
        yield next(shuffled(data, batch_size, seed, epoch))
        raise FirstStepDoneError

    VqaData.shuffled = first_batch_only
    try:
        _run_training_script(Path(folder), run_here)
    except FirstStepDoneError:
        return {"seconds": seconds_since_start()}
    raise ValueError("startup: the training script ended without a second step")


def _run_training_script(files: Path, run_here: object) -> None:
    import msgspec

    from benchmarks.made_up_data import recipe_of, sizes

    features = [str(files / "features.h5")]
    run_here(
        "train",
        str(files / "train.log"),
        input={
            "start": files / "start.safetensors",
            "train_questions": [files / "train.h5"],
            "train_features": features,
            "val_questions": [files / "val.h5"],
            "val_features": features,
        },
        output={"weights": files / "trained.safetensors", "history": files / "history.csv"},
        params={
            "recipe": msgspec.json.encode(recipe_of(sizes()["scenes"])).decode(),
            "checkpoint_minutes": 10,
            "jobs_per_gpu": 1,
            "cuda_graphs": True,
            "metrics": files / "metrics.csv",
            "event_files": "",
        },
        wildcards={"seed": "0"},
    )


def peer(folder: str) -> dict[str, float]:
    """Import transformers, build its model and take one step of its Trainer."""
    from benchmarks.peer_engine import Clock, trainer_of

    with tempfile.TemporaryDirectory() as output:
        trainer_of(Path(folder), "scenes", 1, output, Clock()).train()
    return {"seconds": seconds_since_start()}


def floor(folder: str) -> dict[str, float]:
    """Import torch."""
    importlib.import_module("torch")
    return {"seconds": seconds_since_start()}


def startup(folder: Path) -> Figure:
    from benchmarks.networks import prepare

    prepare(folder / "scenes", "scenes")
    found = contenders.alternate("startup", ["ours", "peer", "floor"], folder / "scenes", rounds=ROUNDS)
    seconds = {contender: least(numbers, "seconds") for contender, numbers in found.items()}
    note = "to the end of the first step, files in the page cache; the floor is importing torch alone"
    return Figure("startup", seconds["ours"], seconds["peer"], seconds["floor"], note)


CONTENDERS = {"ours": ours, "peer": peer, "floor": floor}

"""A tiny training run that can be interrupted at any point."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from test_loop import DROPOUTS, half_mask
from toys import RECIPE, changed, tiny_network, toy_data

from lxmert_tickets.pruning.masks import Mask
from lxmert_tickets.training.loop import Trained, TrainingState, train
from lxmert_tickets.training.resume import Checkpoints, Interrupted, Resumable

IDENTITY: dict[str, Any] = {"rule": "retrain", "seed": 0, "settings": {"learning_rate": 0.01, "keep": "best"}}
N_EPOCHS, N_STEPS, N_VALIDATING = 2, 3, 2  # steps and validation batches per epoch
N_KEPT = N_EPOCHS * (N_STEPS + N_VALIDATING)  # the occasions on which a run may write a checkpoint
ONE_RUN = changed(RECIPE, epochs=N_EPOCHS)
MASKS = {"dense": None, "masked": half_mask()}


@dataclass
class BreaksOff(Checkpoints):
    """Writes a checkpoint each time it is asked to keep something, and interrupts the run at the `at`-th.

    With `late` it writes only that last one, like a run that is told to stop long before a checkpoint is due.
    """

    folder: Path
    at: int = 10**9
    interval: float = 0.0
    late: bool = False
    identity: dict[str, Any] = field(default_factory=lambda: IDENTITY)
    n: int = 0

    def __post_init__(self) -> None:
        super().__init__(self.folder, self.identity, self.interval)

    def keep(self, state: Resumable) -> None:
        self.n += 1
        self._next = math.inf if self.late and self.n != self.at else 0
        super().keep(state)
        if self.n == self.at:
            raise Interrupted


def run(
    checkpoints: Checkpoints | None = None,
    mask: Mask | None = None,
    device: str = "cpu",
    watch: Callable[[TrainingState], None] = lambda state: None,
    **fields: object,
) -> Trained:
    place = torch.device(device)
    data, val = toy_data(8 * N_STEPS, device=place), toy_data(20, seed=1, device=place)
    recipe = changed(ONE_RUN, **fields)
    torch.rand(3)  # other draws in the process do not matter
    return train(tiny_network(**DROPOUTS).to(place), data, val, recipe, 5, mask, "retraining", checkpoints, watch)


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step").partition(".")[0]) for path in folder.glob("step*"))

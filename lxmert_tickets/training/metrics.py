"""The curve of a training run: a line of loss and learning rate every few steps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lxmert_tickets.training.recipe import TrainingRecipe
from lxmert_tickets.training.schedule import learning_rate

INTERVAL_STEPS = 25
STEPS = "steps"  # the curve with a line every few steps

Curves = Mapping[str, Sequence[Any]]
"""The lines of a run so far, by name of the curve: dataclass instances of numbers, `step` among them."""


@dataclass(frozen=True)
class Interval:
    """One line of metrics: the mean loss of the steps since the previous line, and the learning rate of the last."""

    step: int
    train_loss: float
    learning_rate: float


def intervals(losses: Sequence[float], recipe: TrainingRecipe, n_steps: int) -> list[Interval]:
    """Return the metrics of a run of `n_steps`, given the `losses` of its first steps.

    They depend on the losses alone, not on when these were read or on interruptions. Steps count from 1, as in the
    history; the last interval may be shorter, and appears once the run has ended.
    """
    ends = list(range(INTERVAL_STEPS, len(losses) + 1, INTERVAL_STEPS))
    if len(losses) == n_steps and n_steps % INTERVAL_STEPS:
        ends.append(n_steps)
    starts = [0, *ends[:-1]]
    return [
        Interval(end, math.fsum(losses[start:end]) / (end - start), learning_rate(recipe, end - 1, n_steps))
        for start, end in zip(starts, ends, strict=False)
    ]

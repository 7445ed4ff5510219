"""The training loop, for fine-tuning the dense network and retraining every subnetwork alike."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from lxmert_tickets.errors import TrainingError
from lxmert_tickets.model.lxmert import LxmertForVqa
from lxmert_tickets.progress import Progress
from lxmert_tickets.seeds import derive_seed
from lxmert_tickets.training.answering import answers
from lxmert_tickets.training.batches import VqaData
from lxmert_tickets.training.metrics import STEPS, Curves, Interval, intervals
from lxmert_tickets.training.optimizer import BertAdam
from lxmert_tickets.training.recipe import TrainingRecipe
from lxmert_tickets.training.resume import Checkpoint, Checkpoints, network_tensors, restore_network
from lxmert_tickets.training.schedule import learning_rate
from lxmert_tickets.training.steps import step_of

LOWER = "Lower training.learning_rate or training.clip_norm, or set training.precision: float32."
CHECK_EVERY_STEPS = 25  # how often losses leave the device, to be logged and checked

log = logging.getLogger("lxmert_tickets")


@dataclass(frozen=True)
class Epoch:
    """One line of history: means over the epoch, and the soft accuracy on the selection split after it."""

    epoch: int
    step: int
    train_loss: float
    learning_rate: float
    val_accuracy_percent: float


@dataclass(frozen=True)
class Trained:
    """The kept weights by name, and the history of the training."""

    weights: dict[str, Tensor]
    history: list[Epoch]
    kept_epoch: int


def train(
    network: LxmertForVqa,
    data: VqaData,
    val: VqaData,
    recipe: TrainingRecipe,
    seed: int,
    mask: Mapping[str, np.ndarray] | None = None,
    name: str = "training",
    checkpoints: Checkpoints | None = None,
    watch: Callable[["TrainingState"], None] = lambda state: None,
    cuda_graphs: bool = True,
) -> Trained:
    """Train `network` in place from its present weights; return the weights of the best or last epoch.

    Args:
        network: on the device of the batches of `data` and `val`. Dropout is as it was built.
        recipe: of which dropout is not used here, nor `deterministic`, which `set_up_process` sets.
        mask: bool per prunable weight, True = kept; None trains a dense network. Pruned weights are 0 after every step.
        seed: of the run; the data order and dropout are derived from it.
        name: what the progress bar and the log call this run.
        checkpoints: where to resume from and write to; a resumed run ends in the same bytes as an uninterrupted one.
        watch: called with the state of the run, at its start and after every step and validation batch, to report
            progress.
        cuda_graphs: whether steps on a GPU run as CUDA graphs; their results are the same.

    Raises:
        TrainingError: the loss, a score or a weight is not finite, there are fewer questions than one batch or no
            labelled ones to validate on, the network has other answers, or the CUDA graph of a step cannot be captured.
        Interrupted: the process was asked to end; a checkpoint is written if possible.
    """
    torch.manual_seed(derive_seed(seed, "dropout"))
    optimizer = BertAdam(network, recipe, mask)
    step = step_of(network, optimizer, recipe.precision, cuda_graphs)
    steps_per_epoch = len(data) // recipe.batch_size
    n_steps = recipe.epochs * steps_per_epoch
    _check_data(name, data, val, recipe.batch_size, network.architecture.n_answers)

    found = checkpoints.newest() if checkpoints else None
    with Progress(name, n_steps, initial=found.step if found else 0) as progress:
        losses = LossWatch(name, recipe, n_steps, progress)
        now = TrainingState(network, optimizer, losses)
        if found:
            now.restore(found)
        watch(now)

        def after_batch() -> None:
            watch(now)
            if checkpoints:
                checkpoints.keep(now)

        for epoch in range(len(now.history) + 1, recipe.epochs + 1):
            network.train()
            n_done = now.step - (epoch - 1) * steps_per_epoch
            for rows in islice(data.shuffled(recipe.batch_size, seed, epoch), n_done, None):
                loss = step(data.batch(rows), data.targets(rows), learning_rate(recipe, now.step, n_steps))
                now.step += 1
                losses.add(loss)
                after_batch()
            mean_loss = losses.mean_of_last(steps_per_epoch)
            last_rate = learning_rate(recipe, now.step - 1, n_steps)
            place = f"{name}, step {now.step} of {n_steps}"
            check_finite(network, place, recipe.learning_rate, LOWER)
            accuracy = soft_accuracy_percent(network, val, recipe, after_batch, place)
            now.history.append(Epoch(epoch, now.step, mean_loss, last_rate, accuracy))
            log.info("%s: epoch %d, loss %.4f, val %.2f %%", name, epoch, mean_loss, accuracy)
            if recipe.keep == "last" or not now.best or accuracy > now.history[now.best_epoch - 1].val_accuracy_percent:
                now.best, now.best_epoch = copy_weights(network), epoch
    return Trained(now.best, now.history, now.best_epoch)


def _check_data(name: str, data: VqaData, val: VqaData, batch_size: int, n_answers: int) -> None:
    """Raise TrainingError for what would otherwise fail only in mid-training."""
    if len(data) < batch_size:
        raise TrainingError(
            name, f"{len(data)} questions", f"at least one batch of {batch_size}", "Lower training.batch_size."
        )
    if len(val) == 0 or not val.questions.labelled:
        lacking = "no labels" if len(val) else "no questions"
        found = f"the split to validate on has {lacking}"
        raise TrainingError(name, found, "questions with labels", "Name another split in splits.validate.")
    for asked in (data.questions, val.questions):
        if asked.n_answers != n_answers:
            found, expected = f"{asked.n_answers} answers of questions", f"the {n_answers} of the network"
            raise TrainingError(name, found, expected, "Take questions and initial weights made for the same answers.")


class LossWatch:
    """Collects losses on the device and reads them every few steps, so that a GPU is not synchronised at each."""

    def __init__(self, name: str, recipe: TrainingRecipe, n_steps: int, progress: Progress) -> None:
        self.n_steps = n_steps
        self._name, self._recipe, self._progress = name, recipe, progress
        self._unread: list[Tensor] = []
        self._read: list[float] = []

    def add(self, loss: Tensor) -> None:
        self._unread.append(loss)
        if len(self._unread) == CHECK_EVERY_STEPS:
            self._look()

    def of_steps(self) -> list[float]:
        """Return the losses of all steps so far."""
        self._look()
        return list(self._read)

    def go_on(self, of_steps: list[float]) -> None:
        """Resume with the losses of the steps that an earlier process took."""
        self._read = of_steps

    def mean_of_last(self, n: int) -> float:
        """Return the mean loss of the last `n` steps."""
        self._look()
        return math.fsum(self._read[-n:]) / n

    def intervals(self) -> list[Interval]:
        """Return the metrics of the steps whose losses have left the device."""
        return intervals(self._read, self._recipe, self.n_steps)

    def _look(self) -> None:
        if not self._unread:
            return
        values = torch.stack(self._unread).tolist()
        for value in values:
            if not math.isfinite(value):
                self._stop(value)
            self._read.append(value)
        self._unread = []
        self._progress.advance(len(values), f"loss {values[-1]:.4f}")

    def _stop(self, value: float) -> None:
        step = len(self._read)
        rate = learning_rate(self._recipe, step, self.n_steps)
        remedy = (
            LOWER
            if step
            else "No step has been taken yet: check the initial weights and the features for NaN and infinity."
        )
        found = f"the loss is {value} at learning rate {rate:.3g}"
        raise TrainingError(f"{self._name}, step {step} of {self.n_steps}", found, "a finite loss", remedy)


@dataclass
class TrainingState:
    """The state of a training run: all that its next step depends on, and what is kept of earlier epochs.

    The epoch and the position in the data are not stored: they follow from `step`.
    """

    network: nn.Module
    optimizer: BertAdam
    losses: LossWatch
    step: int = 0
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""
        return self.losses.n_steps

    def curves(self) -> Curves:
        """Return the curves so far."""
        return {STEPS: self.losses.intervals(), "epochs": self.history}

    def checkpoint(self) -> Checkpoint:
        """Return this state as a checkpoint, on the CPU."""
        tensors = network_tensors(self.network, self.optimizer)
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        tensors["losses"] = torch.tensor(self.losses.of_steps(), dtype=torch.float64)
        history = [asdict(line) for line in self.history]
        return Checkpoint(self.step, tensors, {"history": history, "best_epoch": self.best_epoch})

    def restore(self, found: Checkpoint) -> None:
        """Restore the state in `found`, taking its tensors out of it."""
        facts, tensors = found.facts, found.tensors
        restore_network(self.network, self.optimizer, tensors)
        self.best = {
            name.removeprefix("best/"): tensors.pop(name) for name in list(tensors) if name.startswith("best/")
        }
        self.step, self.best_epoch = found.step, facts["best_epoch"]
        self.history = [Epoch(**line) for line in facts["history"]]
        self.losses.go_on(tensors.pop("losses").tolist())


def check_finite(network: nn.Module, place: str, largest_rate: float, remedy: str) -> None:
    """Raise TrainingError when a weight is not finite: no loss follows the last step to reveal it."""
    broken = [name for name, tensor in network.state_dict().items() if not bool(tensor.isfinite().all())]
    if broken:
        found = f"{len(broken)} tensors are not finite, such as {broken[0]}, at rates up to {largest_rate:.3g}"
        raise TrainingError(place, found, "finite weights", remedy)


@torch.inference_mode()
def soft_accuracy_percent(
    network: LxmertForVqa,
    data: VqaData,
    recipe: TrainingRecipe,
    after_batch: Callable[[], None] = lambda: None,
    place: str = "training",
) -> float:
    """Return the mean soft label of the network's answers, in percent: LXMERT's own validation score.

    Raises TrainingError, naming `place`, when an answer's score is not finite.
    """
    total = 0.0
    for rows, chosen, scores in answers(network, data, recipe.precision):
        if not bool(scores.isfinite().all()):
            raise TrainingError(place, "in validation, an answer's score is not finite", "finite scores", LOWER)
        total += float(data.targets(rows).gather(1, chosen[:, None]).double().sum())
        after_batch()
    return 100 * total / len(data)


@torch.inference_mode()
def copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of all parameters on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}

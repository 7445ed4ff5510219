"""Pretraining in the manner of LXMERT: masked words and image-text matching on captions, answers on questions."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lxmert_tickets.data.tokens import MASK, SPECIAL_TOKENS
from lxmert_tickets.errors import TrainingError
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.lxmert import initialise, vqa_loss
from lxmert_tickets.model.pretraining_heads import LxmertForPretraining
from lxmert_tickets.progress import Progress
from lxmert_tickets.seeds import derive_seed
from lxmert_tickets.training.batches import VqaData, padded
from lxmert_tickets.training.loop import check_finite, copy_weights
from lxmert_tickets.training.metrics import STEPS, Curves
from lxmert_tickets.training.optimizer import BertAdam
from lxmert_tickets.training.recipe import PretrainingRecipe
from lxmert_tickets.training.resume import Checkpoint, Checkpoints, network_tensors, restore_network
from lxmert_tickets.training.schedule import learning_rate

MASK_TOKEN, N_SPECIAL_TOKENS = SPECIAL_TOKENS.index(MASK), len(SPECIAL_TOKENS)  # first in our vocabularies
LOG_EVERY_STEPS = 20
LOWER = "Lower pretraining.learning_rate."


@dataclass(frozen=True)
class Captions:
    """Encoded sentences and the image each is about."""

    input_ids: np.ndarray  # int32 (n, longest), padded with 0
    length: np.ndarray  # int32 (n)
    image_row: np.ndarray  # int64 (n)


@dataclass(frozen=True)
class PretrainingBatch:
    """Captions, then questions: inputs, and what is to be predicted."""

    input_ids: np.ndarray  # (B, longest)
    length: np.ndarray  # (B)
    image_row: np.ndarray  # (B)
    masked: np.ndarray  # bool (B, longest), True = a word hidden behind [MASK]
    words: np.ndarray  # (n masked), the hidden words
    matched: np.ndarray  # int64 (captions): does the caption belong to the image?
    question_rows: np.ndarray  # (questions)


@dataclass(frozen=True)
class PretrainingLine:
    """One line of history: mean losses since the previous one."""

    step: int
    words: float
    matching: float
    answers: float


def pretrain(
    arch: Architecture,
    captions: Captions,
    questions: VqaData,
    recipe: PretrainingRecipe,
    checkpoints: Checkpoints | None = None,
    watch: Callable[["PretrainingState"], None] = lambda state: None,
) -> tuple[dict[str, Tensor], list[PretrainingLine]]:
    """Return pretrained weights of the whole VQA network, and the history of the losses.

    `checkpoints` is where to resume from and write to; `watch` is called with the state of the run at its start and
    after every step. Raises TrainingError when a loss or a weight is not finite, Interrupted when the process was asked
    to end.
    """
    network = LxmertForPretraining(arch)
    generator = torch.Generator().manual_seed(derive_seed(recipe.seed, "pretraining_weights"))
    initialise(network, generator, recipe.initial_std)
    network.to(questions.device).train()
    optimizer = BertAdam(network, recipe)
    rng = np.random.default_rng(derive_seed(recipe.seed, "pretraining_batches"))
    now = PretrainingState(network, optimizer, rng, recipe.steps)
    found = checkpoints.newest() if checkpoints else None
    if found:
        now.restore(found)
    watch(now)
    with Progress("pretraining", recipe.steps, initial=now.step) as progress:
        for step in range(now.step, recipe.steps):
            losses = _losses(network, draw_batch(captions, questions, recipe, rng), questions)
            rate = learning_rate(recipe, step, recipe.steps)
            losses.sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step(rate)
            now.unread.append(losses.detach())
            now.step = step + 1
            if len(now.unread) == LOG_EVERY_STEPS or now.step == recipe.steps:
                now.history.append(_line(now.step, now.unread, rate))
                note = "words {0.words:.3f} matching {0.matching:.3f} answers {0.answers:.3f}".format(now.history[-1])
                progress.advance(len(now.unread), note)
                now.unread = []
            watch(now)
            if checkpoints:
                checkpoints.keep(now)
    check_finite(network, f"pretraining, step {now.step}", recipe.learning_rate, LOWER)
    return copy_weights(network.vqa), now.history


@dataclass
class PretrainingState:
    """The state of a pretraining run: all that its next step depends on, and the losses so far."""

    network: nn.Module
    optimizer: BertAdam
    rng: np.random.Generator  # draws the batches
    n_steps: int
    step: int = 0
    history: list[PretrainingLine] = field(default_factory=list)
    unread: list[Tensor] = field(default_factory=list)  # losses since the last line

    def curves(self) -> Curves:
        """Return the curves so far."""
        return {STEPS: self.history}

    def checkpoint(self) -> Checkpoint:
        """Return this state as a checkpoint, on the CPU."""
        tensors = network_tensors(self.network, self.optimizer)
        if self.unread:
            tensors["unread"] = torch.stack(self.unread).cpu()
        history = [asdict(line) for line in self.history]
        facts = {"history": history, "rng": self.rng.bit_generator.state}
        return Checkpoint(self.step, tensors, facts)

    def restore(self, found: Checkpoint) -> None:
        """Restore the state in `found`, taking tensors out of it."""
        restore_network(self.network, self.optimizer, found.tensors)
        device = next(self.network.parameters()).device
        self.unread = list(found.tensors["unread"].to(device)) if "unread" in found.tensors else []
        self.rng.bit_generator.state = found.facts["rng"]
        self.step = found.step
        self.history = [PretrainingLine(**line) for line in found.facts["history"]]


def draw_batch(
    captions: Captions, questions: VqaData, recipe: PretrainingRecipe, rng: np.random.Generator
) -> PretrainingBatch:
    """Return a random batch; with probability 1/2, a caption comes with the image of another."""
    n_captions = round(recipe.caption_share * recipe.batch_size)
    caption_rows = rng.integers(len(captions.length), size=n_captions)
    question_rows = rng.integers(len(questions), size=recipe.batch_size - n_captions)
    asked = questions.questions
    ids = np.zeros((recipe.batch_size, max(captions.input_ids.shape[1], asked.input_ids.shape[1])), dtype=np.int32)
    ids[:n_captions, : captions.input_ids.shape[1]] = captions.input_ids[caption_rows]
    ids[n_captions:, : asked.input_ids.shape[1]] = asked.input_ids[question_rows]

    caption_images = captions.image_row[caption_rows]
    wrong = rng.random(n_captions) < 0.5
    shown = np.where(wrong, np.roll(caption_images, 1), caption_images)
    # Words of a caption cannot be inferred from the wrong image, so they are not masked.
    masked = np.zeros(ids.shape, dtype=bool)
    hide = rng.random((n_captions, ids.shape[1])) < recipe.mask_fraction
    masked[:n_captions] = hide & (ids[:n_captions] >= N_SPECIAL_TOKENS) & ~wrong[:, None]
    words = ids[masked]
    ids[masked] = MASK_TOKEN
    return PretrainingBatch(
        input_ids=ids,
        length=np.concatenate([captions.length[caption_rows], asked.length[question_rows]]),
        image_row=np.concatenate([shown, asked.image_row[question_rows]]),
        masked=masked,
        words=words,
        matched=(shown == caption_images).astype(np.int64),
        question_rows=question_rows,
    )


def _losses(network: LxmertForPretraining, batch: PretrainingBatch, questions: VqaData) -> Tensor:
    """Return the losses (3) of masked words, matching and answers."""
    device = questions.device
    ids, attention_mask = padded(batch.input_ids, batch.length, device)
    hidden = torch.from_numpy(batch.masked[:, : ids.shape[1]]).to(device)
    regions = questions.regions.gather(batch.image_row)
    word_logits, matching, answers = network(ids, attention_mask, *regions, hidden)
    n_captions = len(batch.matched)
    words = torch.from_numpy(batch.words.astype(np.int64)).to(device)
    of_words = F.cross_entropy(word_logits, words, reduction="sum")
    matched = torch.from_numpy(batch.matched).to(device)
    of_captions = F.cross_entropy(matching[:n_captions], matched, reduction="sum")
    # A small batch may hide no word at all, or have no captions.
    return torch.stack(
        [
            of_words / max(len(words), 1),
            of_captions / max(n_captions, 1),
            vqa_loss(answers[n_captions:], questions.targets(batch.question_rows)),
        ]
    )


def _line(step: int, losses: list[Tensor], rate: float) -> PretrainingLine:
    words, matching, answers = torch.stack(losses).mean(dim=0).tolist()
    if not np.isfinite([words, matching, answers]).all():
        raise TrainingError(
            f"pretraining, up to step {step}",
            f"losses of words {words}, matching {matching}, answers {answers} at learning rate {rate:.3g}",
            "finite losses",
            LOWER,
        )
    return PretrainingLine(step, words, matching, answers)

"""The peer in training and evaluation: what a user would write with transformers' model, Trainer and DataLoader.

Everything is padded to 20 tokens and features are read from HDF5 one item at a time, as a Dataset does. The recipe is
ours where both support it: batch size, learning rate, warm-up, weight decay, clipping, dropout. On a GPU, it uses
bfloat16 as ours does, and answers in larger batches.
"""

import tempfile
import time
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from transformers import LxmertConfig, LxmertForQuestionAnswering, Trainer, TrainerCallback, TrainingArguments

from benchmarks.contenders import typical_step
from benchmarks.made_up_data import MAX_LENGTH, recipe_of, sizes
from lxmert_tickets.data.questions import load_questions
from lxmert_tickets.model.checkpoints import load_weights

EVALUATION_BATCH, EVALUATION_BATCH_ON_GPU = 32, 256


class Questions(Dataset):
    """Questions as the model's input tensors, one at a time."""

    def __init__(self, files: Path, split: str) -> None:
        self.questions, self.path = load_questions(files / f"{split}.h5"), files / "features.h5"
        with h5py.File(self.path) as file:
            self.boxes = file["boxes"][()]

    @cached_property
    def file(self) -> h5py.File:
        """Return the features file, which each worker opens for itself."""
        return h5py.File(self.path)

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        asked = self.questions
        row, length = int(asked.image_row[index]), int(asked.length[index])
        ids = np.zeros(MAX_LENGTH, np.int64)
        ids[:length] = asked.input_ids[index, :length]
        labels = np.zeros(asked.n_answers, np.float32)
        given = slice(asked.label_start[index], asked.label_start[index + 1])
        labels[asked.label_answer[given]] = asked.label_score[given]
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy((np.arange(MAX_LENGTH) < length).astype(np.int64)),
            "visual_feats": torch.from_numpy(self.file["features"][row].astype(np.float32)),
            "visual_pos": torch.from_numpy(self.boxes[row]),
            "labels": torch.from_numpy(labels),
        }


class Clock(TrainerCallback):
    """Records when each step ends; synchronises a GPU after the steps `waits_after`, counted from 0."""

    def __init__(self, *waits_after: int) -> None:
        self.ended: list[float] = []
        self.waits_after = waits_after

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available() and len(self.ended) in self.waits_after:
            torch.cuda.synchronize()
        self.ended.append(time.perf_counter())


def loss_of(outputs: Any, labels: Tensor, num_items_in_batch: object = None) -> Tensor:
    """Return LXMERT's loss: binary cross-entropy, summed over answers and averaged over the batch."""
    return F.binary_cross_entropy_with_logits(outputs.question_answering_score, labels) * labels.shape[1]


def train_some_steps(folder: str, name: str, n_workers: str = "0") -> dict[str, float]:
    """Return the Trainer's samples per second, with `n_workers` processes loading data; 0 = it loads its own."""
    size = sizes()[name]
    n_steps = size.first_steps + size.timed_steps
    clock = Clock(size.first_steps - 1, n_steps - 1)
    with tempfile.TemporaryDirectory() as output:
        trainer_of(Path(folder), name, n_steps, output, clock, int(n_workers)).train()
    timed = clock.ended[size.first_steps - 1 :]
    step = (timed[-1] - timed[0]) / size.timed_steps if torch.cuda.is_available() else typical_step(timed)
    return {"rate": recipe_of(size).batch_size / step, "step_seconds": step}


def trainer_of(files: Path, name: str, n_steps: int, output: str, clock: Clock, n_workers: int = 0) -> Trainer:
    """Return a Trainer for the size's network and data, set to take `n_steps`."""
    recipe, on_gpu = recipe_of(sizes()[name]), torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=output,
        max_steps=n_steps,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=round(recipe.warmup_fraction * n_steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.clip_norm,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        dataloader_num_workers=n_workers,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    network = _network(files, recipe.hidden_dropout, recipe.attention_dropout)
    data = Questions(files, "train")
    return Trainer(network, arguments, train_dataset=data, compute_loss_func=loss_of, callbacks=[clock])


def answer_questions(folder: str, name: str) -> dict[str, float]:
    """Return questions per second of the model in inference mode."""
    files, on_gpu = Path(folder), torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    data, network = Questions(files, "evaluate"), _network(files).eval().to(device)

    @torch.inference_mode()
    def answer(batch: dict[str, Tensor]) -> Tensor:
        inputs = {key: value.to(device) for key, value in batch.items() if key != "labels"}
        with torch.autocast("cuda", dtype=torch.bfloat16) if on_gpu else nullcontext():
            return network(**inputs).question_answering_score.float().sigmoid().max(dim=1).indices.cpu()

    loader = DataLoader(data, batch_size=EVALUATION_BATCH_ON_GPU if on_gpu else EVALUATION_BATCH)
    for batch in loader if on_gpu else [next(iter(loader))]:  # a GPU loads kernels for each shape
        answer(batch)
    started = time.perf_counter()
    torch.cat([answer(batch) for batch in loader])
    return {"rate": len(data) / (time.perf_counter() - started)}


def _network(files: Path, hidden_dropout: float = 0.0, attention_dropout: float = 0.0) -> LxmertForQuestionAnswering:
    weights, architecture = load_weights(files / "start.safetensors")
    network = LxmertForQuestionAnswering(
        LxmertConfig(
            **architecture.transformers_config(),
            hidden_dropout_prob=hidden_dropout,
            attention_probs_dropout_prob=attention_dropout,
        )
    )
    network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return network


CONTENDERS = {"train": train_some_steps, "evaluate": answer_questions}

"""Synthetic inputs of a training job, at both sizes: realistic questions and answers, random features and weights.

`scenes` uses the embedded data set's questions. `base` uses VQA v2's, of the real sample if available, so that their
lengths are real; every word is a whole token, which makes them a little shorter than with BERT's vocabulary.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import yaml
from tokenizers import Tokenizer

from lxmert_tickets.data import hdf5
from lxmert_tickets.data.asked import AskedQuestion
from lxmert_tickets.data.encoding import encode_questions
from lxmert_tickets.data.features import KIND, open_features
from lxmert_tickets.data.questions import save_questions
from lxmert_tickets.data.vqa_json import HumanAnswer
from lxmert_tickets.environment import has_gpu
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.training.recipe import TrainingRecipe

PROJECT = Path(__file__).resolve().parents[1]
QUESTIONS_PER_IMAGE = 5.2  # in VQA v2's minival
N_REGIONS, FEATURE_DIM = 36, 2048
VQA2_ANSWERS, BERT_TOKENS = 3129, 30522
MAX_LENGTH = 20
BLOCK_IMAGES = 64  # drawn at random, then repeated


@dataclass(frozen=True)
class Size:
    """How large the network and its data are, and how many steps are timed after the first few."""

    config: str
    n_regions: int
    feature_dim: int
    n_images: int
    first_steps: int
    timed_steps: int
    n_evaluated: int
    threads: int | None  # None = all cores

    @property
    def n_trained(self) -> int:
        return 32 * (self.first_steps + self.timed_steps)


def sizes() -> dict[str, Size]:
    """Return both sizes; on a GPU there is time for more steps of the large one."""
    steps, evaluated = ((24, 200), 5200) if has_gpu() else ((1, 3), 260)
    return {
        "scenes": Size("config.yaml", 12, 16, 1250, 16, 140, 2000, threads=1),
        "base": Size("configs/vqa2.yaml", N_REGIONS, FEATURE_DIM, 1000 if has_gpu() else 250, *steps, evaluated, None),
    }


def recipe_of(size: Size) -> TrainingRecipe:
    """Return the recipe of the size's configuration, for one epoch."""
    training = yaml.safe_load((PROJECT / size.config).read_text())["training"]
    return msgspec.convert({**training, "epochs": 1}, TrainingRecipe)


def write_inputs(folder: Path, name: str) -> None:
    """Write train.h5, val.h5 (two questions), evaluate.h5, features.h5 and start.safetensors of size `name`."""
    size = sizes()[name]
    folder.mkdir(parents=True, exist_ok=True)
    write_features(folder / "features.h5", size.n_images, size.n_regions, size.feature_dim)
    texts, answers, tokenizer = _scenes() if name == "scenes" else _vqa2(folder)
    features = open_features(folder / "features.h5")
    order = np.random.default_rng(0).permutation(len(texts))

    def write(split: str, n: int, per_image: float) -> None:
        asked = [
            AskedQuestion(number, features.image_ids[int(number / per_image) % size.n_images], *texts[chosen])
            for number, chosen in enumerate(np.resize(order, n))
        ]
        encoded = encode_questions(asked, features, tokenizer, answers, MAX_LENGTH)
        save_questions(folder / f"{split}.h5", encoded, {})

    write("train", size.n_trained, per_image=1)
    write("val", 2, per_image=1)
    write("evaluate", size.n_evaluated, QUESTIONS_PER_IMAGE)
    _write_weights(folder / "start.safetensors", size, len(answers), tokenizer.get_vocab_size())


def write_features(path: Path, n_images: int, n_regions: int, feature_dim: int) -> None:
    """Write random features in the range of Faster R-CNN's, a third of them 0; images repeat."""
    rng = np.random.default_rng(0)
    shape = (min(BLOCK_IMAGES, n_images), n_regions, feature_dim)
    block = np.maximum(rng.standard_exponential(shape, dtype=np.float32) * 1.2 - 0.45, 0).astype(np.float16)
    with hdf5.writing(path, KIND, {}) as file:
        stored = file.create_dataset("features", (n_images, n_regions, feature_dim), "<f2", fill_time="never")
        for first in range(0, n_images, len(block)):
            stored[first : first + len(block)] = block[: n_images - first]
        file["boxes"] = np.sort(rng.random((n_images, n_regions, 2, 2), dtype="<f4"), axis=2).reshape(
            n_images, n_regions, 4
        )
        file["size"] = np.full((n_images, 2), 480, "<i4")
        file["image_id"] = np.array([f"COCO_{number:012d}" for number in range(n_images)], "S")


Texts = Sequence[tuple[str, str, str, tuple[tuple[str, float], ...]]]
"""Text, question type, answer type and soft labels, as the last fields of AskedQuestion."""


def _scenes() -> tuple[Texts, Sequence[str], Tokenizer]:
    from lxmert_tickets.data.answers import build_vocabulary, soft_labels
    from lxmert_tickets.data.scenes.dataset import draw_image_set
    from lxmert_tickets.data.tokens import train_tokenizer

    drawn = draw_image_set("train", n_images=1250, n_questions=5000, captions_per_image=0, n_regions=12, seed=2026)
    texts = [
        (question.question, answer.question_type, answer.answer_type, soft_labels(answer))
        for question, answer in zip(drawn.questions, drawn.annotations, strict=True)
    ]
    tokenizer = train_tokenizer([question.question for question in drawn.questions], 256)
    return texts, build_vocabulary(drawn.annotations, min_count=9), tokenizer


def _vqa2(folder: Path) -> tuple[Texts, Sequence[str], Tokenizer]:
    from made_up_vqa2 import made_up_texts, real_texts, write_vocabulary

    from lxmert_tickets.data.answers import soft_labels
    from lxmert_tickets.data.tokens import load_tokenizer
    from lxmert_tickets.data.vqa_json import Annotation

    known = real_texts() or made_up_texts()
    write_vocabulary(folder / "vocab.txt", known, BERT_TOKENS)
    counts = Counter(answer for text in known for answer in text.answers)
    answers = [answer for answer, _ in counts.most_common(VQA2_ANSWERS)]
    answers += [f"answer {number}" for number in range(VQA2_ANSWERS - len(answers))]
    texts = []
    for text in known:
        people = tuple(HumanAnswer(answer, number) for number, answer in enumerate(text.answers))
        labels = soft_labels(Annotation(0, 0, text.question_type, text.answer_type, "", people))
        texts.append((text.question, text.question_type, text.answer_type, labels))
    return texts, answers, load_tokenizer(folder / "vocab.txt")


def architecture_of(size: Size, n_answers: int, vocab_size: int) -> Architecture:
    """Return the network of the size's configuration for these answers and tokens."""
    model = yaml.safe_load((PROJECT / size.config).read_text())["model"]
    return Architecture(**model, n_answers=n_answers, vocab_size=vocab_size, feature_dim=size.feature_dim)


def _write_weights(path: Path, size: Size, n_answers: int, vocab_size: int) -> None:
    import torch

    from lxmert_tickets.model.checkpoints import save_weights
    from lxmert_tickets.model.lxmert import LxmertForVqa, initialise

    architecture = architecture_of(size, n_answers, vocab_size)
    network = LxmertForVqa(architecture)
    initialise(network, torch.Generator().manual_seed(0))
    save_weights(path, {key: tensor.numpy() for key, tensor in network.state_dict().items()}, architecture, {})


def prepare(folder: str, name: str) -> dict[str, float]:
    write_inputs(Path(folder), name)
    lengths = _lengths(Path(folder) / "train.h5")
    return {"mean_tokens": float(lengths.mean()), "longest": float(lengths.max()), "real": float(_are_real(name))}


def _are_real(name: str) -> bool:
    from made_up_vqa2 import real_texts

    return name == "base" and bool(real_texts())


def _lengths(path: Path) -> np.ndarray:
    from lxmert_tickets.data.questions import load_questions

    return load_questions(path).length


CONTENDERS = {"prepare": prepare}

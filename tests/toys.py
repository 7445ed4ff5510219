"""Small networks and small data, for the tests of several folders."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from lxmert_tickets.data import hdf5
from lxmert_tickets.data.features import KIND, Features
from lxmert_tickets.data.questions import EncodedQuestions
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.lxmert import LxmertForVqa
from lxmert_tickets.training.batches import VqaData
from lxmert_tickets.training.recipe import TrainingRecipe
from lxmert_tickets.training.regions import Regions

torch.backends.cuda.enable_cudnn_sdp(False)  # as set_up_process does
CPU = torch.device("cpu")
START, END = 2, 3  # [CLS] and [SEP]
N_REGIONS = 4

TINY = Architecture(
    n_answers=7,
    vocab_size=30,
    hidden_size=32,  # two heads of 16, which the GPU kernels accept
    n_heads=2,
    intermediate_size=24,
    n_language_layers=2,
    n_vision_layers=1,
    n_cross_layers=2,
    feature_dim=6,
    max_positions=12,
)

RECIPE = TrainingRecipe(
    learning_rate=1e-2, epochs=2, batch_size=8, hidden_dropout=0.0, attention_dropout=0.0, bias_correction=True
)


def changed(value: Any, **fields: object) -> Any:
    """Return a recipe or an architecture with some fields set to others."""
    return msgspec.structs.replace(value, **fields)


def random_weights(architecture: Architecture = TINY, seed: int = 0, std: float = 0.2) -> dict[str, np.ndarray]:
    """Return weights with no two alike, biases and padding rows included; LayerNorms around 1."""
    rng = np.random.default_rng(seed)
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in LxmertForVqa(architecture).state_dict().items()}
    return {
        name: np.float32(std) * rng.standard_normal(shape, dtype=np.float32) + np.float32(is_scale(name))
        for name, shape in shapes.items()
    }


def is_scale(name: str) -> bool:
    """Return whether a parameter multiplies normalised values."""
    return name.endswith((".LayerNorm.weight", "_layer_norm.weight", ".logit_fc.2.weight"))


def tiny_network(seed: int = 0, **dropouts: float) -> LxmertForVqa:
    return build_network(random_weights(TINY, seed), TINY, **dropouts)


def random_inputs(
    architecture: Architecture, lengths: tuple[int, ...], n_regions: int = N_REGIONS, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return token ids, attention mask, features and boxes of questions of these lengths, float64."""
    generator = torch.Generator().manual_seed(seed)
    n, longest = len(lengths), max(lengths)
    attention_mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, architecture.vocab_size, (n, longest), generator=generator) * attention_mask
    features = torch.randn(n, n_regions, architecture.feature_dim, generator=generator, dtype=torch.float64)
    boxes = torch.rand(n, n_regions, 4, generator=generator, dtype=torch.float64)
    return ids, attention_mask, features, boxes


def toy_features(n_images: int, seed: int = 0) -> Features:
    rng = np.random.default_rng(seed)
    names = tuple(f"IMAGE_{row}" for row in range(n_images))
    return Features(
        path=Path("features.h5"),
        features=rng.standard_normal((n_images, N_REGIONS, TINY.feature_dim)).astype(np.float16),
        boxes=rng.random((n_images, N_REGIONS, 4), dtype=np.float32),
        sizes=np.full((n_images, 2), 100, dtype=np.int32),
        image_ids=names,
        row_of={name: row for row, name in enumerate(names)},
    )


def toy_questions(n: int, n_images: int, seed: int = 0) -> EncodedQuestions:
    """Return questions of random words about random images; each has one right answer, drawn at random."""
    rng = np.random.default_rng(seed)
    length = rng.integers(4, 9, n, dtype=np.int32)
    ids = rng.integers(5, TINY.vocab_size, (n, 8), dtype=np.int32) * (np.arange(8) < length[:, None])
    ids[:, 0] = START
    ids[np.arange(n), length - 1] = END
    return EncodedQuestions(
        question_id=np.arange(n),
        image_row=rng.integers(n_images, size=n),
        input_ids=ids.astype(np.int32),
        length=length,
        label_start=np.arange(n + 1),
        label_answer=rng.integers(TINY.n_answers, size=n, dtype=np.int32),
        label_score=np.ones(n, dtype=np.float32),
        n_answers=TINY.n_answers,
    )


def save_toy_features(path: Path, n_images: int, image_name: str = "IMAGE_{}") -> None:
    toy = toy_features(n_images)
    with hdf5.writing(path, KIND, {}) as file:
        file["features"], file["boxes"], file["size"] = toy.features, toy.boxes, toy.sizes
        file["image_id"] = np.array([image_name.format(row) for row in range(n_images)], dtype="S")


def toy_data(n: int = 32, n_images: int = 16, seed: int = 0, device: torch.device = CPU) -> VqaData:
    return VqaData(toy_questions(n, n_images, seed), Regions(toy_features(n_images, seed), device), device)

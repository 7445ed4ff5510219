"""The initial weights of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.seeds import derive_seed

HEAD = "answer_head.logit_fc"
STD = 0.02  # of the classifier's matrices, as BERT and LXMERT draw them


def initial_weights(
    pretrained: Mapping[str, np.ndarray],
    architecture: Architecture,
    seed: int,
    answer_head: Literal["random", "pretrained"],
    place: str | Path = "pretrained weights",
) -> dict[str, np.ndarray]:
    """Return the initial weights of run `seed`: the pretrained encoder with an answer head.

    The head is drawn for the run ("random", as the paper says), whatever head `pretrained` has, or is that of
    `pretrained` ("pretrained", as its code does; all seeds then start from equal weights).

    Raises ArtifactError, naming `place`, when `pretrained` has no head for `architecture`.
    """
    drawn = random_classifier(architecture, seed)
    if answer_head == "random":
        return {name: tensor for name, tensor in pretrained.items() if not name.startswith("answer_head.")} | drawn
    wanted = {name: tensor.shape for name, tensor in drawn.items()}
    found = {name: tensor.shape for name, tensor in pretrained.items() if name.startswith("answer_head.")}
    if found != wanted:
        raise ArtifactError(
            place, "no answer head" if not found else "another answer head",
            f"the pretrained one for {architecture.n_answers} answers",
            'Import the weights with answer_head "pretrained": delete this file and run snakemake again.',
        )  # fmt: skip
    return dict(pretrained)


def random_classifier(architecture: Architecture, seed: int) -> dict[str, np.ndarray]:
    """Return an answer head (Linear, GELU, LayerNorm, Linear) for run `seed`, float32.

    Matrices are N(0, 0.02), biases 0, the LayerNorm 1 and 0.
    """
    rng = np.random.default_rng(derive_seed(seed, "classifier"))
    inputs, width, answers = architecture.hidden_size, 2 * architecture.hidden_size, architecture.n_answers

    def matrix(*shape: int) -> np.ndarray:
        return np.float32(STD) * rng.standard_normal(shape, dtype=np.float32)

    return {
        f"{HEAD}.0.weight": matrix(width, inputs),
        f"{HEAD}.0.bias": np.zeros(width, dtype=np.float32),
        f"{HEAD}.2.weight": np.ones(width, dtype=np.float32),
        f"{HEAD}.2.bias": np.zeros(width, dtype=np.float32),
        f"{HEAD}.3.weight": matrix(answers, width),
        f"{HEAD}.3.bias": np.zeros(answers, dtype=np.float32),
    }

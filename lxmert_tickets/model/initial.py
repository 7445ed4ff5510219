"""The initial weights of a run."""

from collections.abc import Mapping

import numpy as np

from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.seeds import derive_seed

HEAD = "answer_head.logit_fc"
STD = 0.02  # of the classifier's matrices, as BERT and LXMERT draw them


def with_random_classifier(
    pretrained: Mapping[str, np.ndarray], architecture: Architecture, seed: int
) -> dict[str, np.ndarray]:
    """Return the initial weights of run `seed`: the pretrained encoder, and an answer head drawn for this run.

    Matrices are N(0, 0.02), biases 0, the LayerNorm 1 and 0. Whatever answer head `pretrained` has is left out.
    """
    encoder = {name: tensor for name, tensor in pretrained.items() if not name.startswith("answer_head.")}
    return encoder | random_classifier(architecture, seed)


def random_classifier(architecture: Architecture, seed: int) -> dict[str, np.ndarray]:
    """Return an answer head (Linear, GELU, LayerNorm, Linear) for run `seed`, float32."""
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

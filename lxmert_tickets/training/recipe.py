"""How a network is trained, as values."""

from typing import Annotated, Literal

import msgspec

# Networks are retrained when this number rises, and only then: raise it with any change to the training code that
# changes weights, and say so in CHANGELOG.md. A refactoring must not cost weeks of GPU time; tests/test_version.py
# notices edits and asks which of the two they are.
TRAINING_VERSION = 5

Positive = Annotated[int, msgspec.Meta(gt=0)]
# Recipes are computed in float32, in which smaller numbers are 0 and larger ones infinite.
PositiveFloat = Annotated[float, msgspec.Meta(gt=1.2e-38, lt=3.4e38)]
NonNegative = Annotated[float, msgspec.Meta(ge=0, lt=3.4e38)]
Fraction = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class OptimizerRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Adam with decoupled weight decay, on every parameter, under warm-up and linear decay."""

    learning_rate: PositiveFloat
    warmup_fraction: Fraction = 0.1  # of all steps
    weight_decay: NonNegative = 0.01
    bias_correction: bool = False
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: PositiveFloat = 1e-6
    clip_norm: PositiveFloat = 5.0


class TrainingRecipe(OptimizerRecipe, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Fine-tuning and retraining: the same for dense and masked networks."""

    epochs: Positive
    batch_size: Positive
    hidden_dropout: Fraction
    attention_dropout: Fraction
    keep: Literal["best", "last"] = "best"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    deterministic: bool = False  # on a GPU; a CPU always is


class PretrainingRecipe(OptimizerRecipe, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Pretraining of the embedded data set's network: captions and questions in every batch."""

    seed: int
    steps: Positive
    batch_size: Positive
    caption_share: Fraction  # of a batch; the rest is questions
    mask_fraction: Fraction  # of a caption's words
    initial_std: PositiveFloat  # of the weights before the first step
    threads: Positive

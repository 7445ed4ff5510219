"""A recipe, captions and questions for a very short pretraining."""

import numpy as np
from toys import END, START, toy_data

from lxmert_tickets.training.pretraining import Captions
from lxmert_tickets.training.recipe import PretrainingRecipe

UNKNOWN, MASK, FIRST_WORD = 1, 4, 5
N_IMAGES = 8
RECIPE = PretrainingRecipe(
    seed=3,
    steps=3,
    batch_size=16,
    caption_share=0.5,
    mask_fraction=0.3,
    initial_std=0.1,
    learning_rate=1e-2,
    bias_correction=True,
    threads=1,
)


def toy_captions(n: int = 20, longest: int = 10) -> Captions:
    """Return captions whose words occur in no other, so that any word identifies its caption."""
    rng = np.random.default_rng(0)
    length = rng.integers(5, longest + 1, n, dtype=np.int32)
    ids = (FIRST_WORD + np.arange(n, dtype=np.int32)[:, None]) * (np.arange(longest) < length[:, None])
    ids[:, 2] = UNKNOWN
    ids[:, 0] = START
    ids[np.arange(n), length - 1] = END
    return Captions(ids.astype(np.int32), length, rng.integers(N_IMAGES, size=n))


CAPTIONS, QUESTIONS = toy_captions(), toy_data(24, n_images=N_IMAGES)

"""The learning-rate schedule."""

from lxmert_tickets.training.recipe import OptimizerRecipe


def learning_rate(recipe: OptimizerRecipe, step: int, n_steps: int) -> float:
    """Return the learning rate of `step` (0-based)."""
    return recipe.learning_rate * warmup_linear(step, n_steps, recipe.warmup_fraction)


def warmup_linear(step: int, n_steps: int, warmup_fraction: float) -> float:
    """Return the factor on the learning rate at `step` (0-based): up from 0 to 1, then down to 0, both linearly.

    The first step has factor 0, as in BERT's and LXMERT's code, whose step counter starts at 0.
    """
    progress = step / n_steps
    if progress < warmup_fraction:
        return progress / warmup_fraction
    return (1.0 - progress) / (1.0 - warmup_fraction)

"""BERT's Adam: decoupled weight decay, and bias correction that can be left out as LXMERT's code does."""

from collections.abc import Iterable

import torch
from torch import Tensor

from lxmert_tickets.training.recipe import OptimizerRecipe


class BertAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019).

    Without bias correction the update is lr * (m / (sqrt(v) + eps) + weight_decay * p), as in the BertAdam that
    LXMERT was fine-tuned with; with it, `torch.optim.AdamW`'s. A parameter without a gradient is skipped.
    """

    def __init__(self, parameters: Iterable[Tensor], recipe: OptimizerRecipe) -> None:
        super().__init__(parameters, {"lr": recipe.learning_rate})
        self.recipe = recipe

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient, at the groups' current `lr`."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            self._update(parameters, group["lr"])

    def _update(self, parameters: list[Tensor], learning_rate: float) -> None:
        recipe = self.recipe
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": 0,
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
            self.state[parameter]["step"] += 1
        if not parameters:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        first = [self.state[p]["exp_avg"] for p in parameters]
        second = [self.state[p]["exp_avg_sq"] for p in parameters]
        torch._foreach_lerp_(first, gradients, 1 - recipe.beta1)
        torch._foreach_mul_(second, recipe.beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - recipe.beta2)

        step_size, second_scale = learning_rate, 1.0
        if recipe.bias_correction:
            # All parameters with gradients are updated at every step, so one count serves them all.
            count = self.state[parameters[0]]["step"]
            step_size = learning_rate / (1 - recipe.beta1**count)
            second_scale = (1 - recipe.beta2**count) ** -0.5
        denominator = torch._foreach_sqrt(second)
        torch._foreach_mul_(denominator, second_scale)
        torch._foreach_add_(denominator, recipe.eps)
        torch._foreach_mul_(parameters, 1 - learning_rate * recipe.weight_decay)
        torch._foreach_addcdiv_(parameters, first, denominator, -step_size)

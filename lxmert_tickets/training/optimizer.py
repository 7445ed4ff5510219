"""BERT's Adam: decoupled weight decay, optional bias correction, clipping, and weights that stay pruned."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from lxmert_tickets.model import operators
from lxmert_tickets.model.aside import beside
from lxmert_tickets.model.lowered import Lowered
from lxmert_tickets.model.sublayers import joined
from lxmert_tickets.training.recipe import OptimizerRecipe

ALIGNED_NUMBERS = 8
"""After a multiple of this many numbers, the next parameter's address is a multiple of 16 bytes, in bfloat16 too: on a
GPU, cuBLAS may choose a bias algorithm that fails at other addresses (PyTorch pull request 194497)."""
GATHERED_BELOW = 2**16  # numbers; smaller parameters are updated as one tensor, since each call costs microseconds
MOMENTS = ("exp_avg", "exp_avg_sq")


class BertAdam:
    """Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019), for a network that may be pruned.

    Without bias correction the update is lr * (m / (sqrt(v) + eps) + weight_decay * p), as in the BertAdam that
    LXMERT was fine-tuned with; with it, `torch.optim.AdamW`'s. A parameter without a gradient is skipped.

    A pruned weight is not trained: it is 0, its gradient counts in no norm, and its moments are 0; so it stays 0,
    whatever the step. (The paper's public code masks once, before retraining, and lets pruned weights grow back.)
    """

    def __init__(
        self, network: nn.Module, recipe: OptimizerRecipe, mask: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """`mask`: bool per prunable weight, True = kept; the others are set to 0 at once."""
        self.recipe = recipe
        self._parameters = dict(network.named_parameters())
        self._kept = {name: torch.from_numpy(kept) for name, kept in (mask or {}).items()}
        for name, kept in self._kept.items():
            self._parameters[name].data.masked_fill_(~kept.to(self._parameters[name].device), 0)
        self._parts: list[_Part] = []
        device = next(iter(self._parameters.values())).device
        # On the device, so that a CUDA graph finds the numbers of every step at the same addresses.
        self._rate = torch.zeros((), device=device)
        self._steps = torch.zeros(1, device=device)
        self._betas = torch.tensor([recipe.beta1, recipe.beta2], dtype=torch.float64, device=device)
        self._kernels = operators.adam_kernels() if device.type == "cuda" else None
        self._lowered: Lowered | None = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Update every parameter that has a gradient, then drop all gradients."""
        self.set_learning_rate(learning_rate)
        self.update()
        self.drop_gradients()

    def drop_gradients(self) -> None:
        """Set every parameter's gradient to None."""
        for parameter in self._parameters.values():
            parameter.grad = None

    @property
    def can_keep(self) -> bool:
        """Whether updates can `keep` lowered weights: only kernels do, once weights are at their final addresses."""
        return self._kernels is not None and bool(self._parts)

    def keep(self, lowered: Lowered) -> None:
        """Make updates write the weights to `lowered` too."""
        self._lowered = lowered

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate of the next updates."""
        self._rate.fill_(learning_rate)

    @torch.no_grad()
    def update(self) -> None:
        """Mask and clip the gradients and update the weights, without waiting for a GPU."""
        if not self._parts:
            self._parts = self._gathered([name for name, p in self._parameters.items() if p.grad is not None])
        if not self._parts:
            return
        self._steps += 1
        gradients = [part.gradient() for part in self._parts]
        if self._kernels is None:
            self._update_by_torch(gradients)
        else:
            self._update_by_kernels(self._kernels, gradients)

    def _update_by_kernels(self, kernels: ModuleType, gradients: Sequence[Tensor]) -> None:
        recipe, lowered = self.recipe, self._lowered
        norm = kernels.norm_of(gradients, [part.kept for part in self._parts])
        corrections = 1 - self._betas**self._steps if recipe.bias_correction else torch.ones_like(self._betas)
        corrections = corrections.float()
        beside(
            partial(
                kernels.update, part.weights, gradient, part.exp_avg, part.exp_avg_sq, part.kept,
                None if lowered is None else lowered(part.weights), self._rate, norm, corrections,
                betas=(recipe.beta1, recipe.beta2), eps=recipe.eps,
                weight_decay=recipe.weight_decay, clip_norm=recipe.clip_norm,
            )
            for part, gradient in zip(self._parts, gradients, strict=True)
        )  # fmt: skip

    def _update_by_torch(self, gradients: list[Tensor]) -> None:
        recipe = self.recipe
        masked = [(gradient, part.kept) for gradient, part in zip(gradients, self._parts, strict=True)]
        if pruned := [both for both in masked if both[1] is not None]:
            torch._foreach_mul_(*map(list, zip(*pruned, strict=True)))
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        # After infinitely many steps, bias correction has no effect.
        steps = self._steps if recipe.bias_correction else torch.full_like(self._steps, math.inf)
        torch._fused_adamw_(
            [part.weights for part in self._parts],
            gradients,
            [part.exp_avg for part in self._parts],
            [part.exp_avg_sq for part in self._parts],
            [],
            [steps] * len(gradients),
            lr=self._rate,
            beta1=recipe.beta1,
            beta2=recipe.beta2,
            weight_decay=recipe.weight_decay,
            eps=recipe.eps,
            amsgrad=False,
            maximize=False,
            grad_scale=(norm / recipe.clip_norm).clamp_(min=1).float(),  # gradients are divided by it
        )

    def state(self) -> dict[str, Tensor]:
        """Return the number of steps, and moments by names such as "exp_avg/lxmert.pooler.dense.bias"; not copies."""
        return {"steps": self._steps} | {
            f"{moment}/{name}": tensor
            for part in self._parts
            for moment in MOMENTS
            for name, tensor in part.views(getattr(part, moment)).items()
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore the `state` of an optimiser of a network like this one, popping each tensor once it is copied."""
        self._parts = self._gathered([name for name in self._parameters if f"{MOMENTS[0]}/{name}" in state])
        for name, tensor in self.state().items():
            tensor.copy_(state.pop(name))

    def _gathered(self, names: list[str]) -> list["_Part"]:
        small = _small({name: self._parameters[name] for name in names}, aligned=self._rate.device.type != "cpu")
        large = {name: self._parameters[name] for name in names if name not in set(small)}
        # Projections of attention share a storage, and mostly their gradients do: one kernel can update all three.
        groups = [[name] for name in large] if self._kernels is None else _by_storage(large)
        groups += [small] if small else []
        return [self._part({name: self._parameters[name] for name in group}) for group in groups]

    def _part(self, parameters: dict[str, nn.Parameter]) -> "_Part":
        weights = _one_after_the_other([parameter.data for parameter in parameters.values()])
        kept = None
        if parameters.keys() & self._kept.keys():
            every = {name: torch.ones(p.shape, dtype=torch.bool) for name, p in parameters.items()} | self._kept
            kept = _one_after_the_other([every[name] for name in parameters]).to(weights.device)
        part = _Part(parameters, weights, torch.zeros_like(weights), torch.zeros_like(weights), kept)
        for name, view in part.views(weights).items():
            parameters[name].data = view
        return part


def _small(parameters: Mapping[str, nn.Parameter], aligned: bool) -> list[str]:
    """Return the names of the parameters to be updated as one tensor: those that share a storage as they lie there.

    Where `aligned`, only those of a multiple of ALIGNED_NUMBERS, so that each starts at one; the others stay where they
    were allocated.
    """
    small = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.numel() < GATHERED_BELOW and not (aligned and parameter.numel() % ALIGNED_NUMBERS)
    }
    return [name for names in _by_storage(small) for name in names]


def _by_storage(parameters: Mapping[str, nn.Parameter]) -> list[list[str]]:
    """Return the names of the parameters in groups that share a storage, each group as it lies there."""
    stored: dict[int, list[str]] = {}
    for name, parameter in parameters.items():
        stored.setdefault(parameter.untyped_storage().data_ptr(), []).append(name)
    return [sorted(names, key=lambda name: parameters[name].storage_offset()) for names in stored.values()]


def _one_after_the_other(tensors: list[Tensor]) -> Tensor:
    """Return `tensors`, of any shapes, flattened and concatenated, without a copy if they are adjacent in memory."""
    return joined([tensor.flatten() for tensor in tensors])


@dataclass(frozen=True)
class _Part:
    """Parameters that are updated at once, flattened and concatenated in each of the tensors."""

    parameters: dict[str, nn.Parameter]
    weights: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    kept: Tensor | None  # bool; None = all are

    def gradient(self) -> Tensor:
        """Return the gradients, concatenated alike."""
        return _one_after_the_other([p.grad for p in self.parameters.values()]).contiguous()  # type: ignore[misc]

    def views(self, tensor: Tensor) -> dict[str, Tensor]:
        """Return views of one of the tensors, by parameter name and in the parameters' shapes."""
        parts = torch.split(tensor, [parameter.numel() for parameter in self.parameters.values()])
        return {
            name: part.view(parameter.shape)
            for (name, parameter), part in zip(self.parameters.items(), parts, strict=True)
        }

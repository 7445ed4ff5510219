"""Keeps a network pruned while it trains."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn


class PrunedWeights:
    """The pruned weights of a network, held at exactly 0.

    A pruned weight is no parameter: its gradient neither counts in the gradient norm nor enters the optimiser's
    moments, and whatever a step does, it is 0 afterwards. (The paper's public code masks once, before retraining,
    and lets pruned weights grow back.)
    """

    def __init__(self, network: nn.Module, mask: Mapping[str, np.ndarray] | None) -> None:
        parameters = dict(network.named_parameters())
        self._masked: list[tuple[nn.Parameter, Tensor]] = []
        for name, kept in (mask or {}).items():
            parameter = parameters[name]
            self._masked.append((parameter, torch.from_numpy(kept).to(parameter)))
        self.enforce()

    @torch.no_grad()
    def drop_gradients(self) -> None:
        """Set the gradients of pruned weights to 0."""
        pairs = [(p.grad, kept) for p, kept in self._masked if p.grad is not None]
        if pairs:
            torch._foreach_mul_([gradient for gradient, _ in pairs], [kept for _, kept in pairs])

    @torch.no_grad()
    def enforce(self) -> None:
        """Set pruned weights to 0."""
        if self._masked:
            torch._foreach_mul_([p for p, _ in self._masked], [kept for _, kept in self._masked])

"""Adam in kernels matches torch's, and masks, clips and casts in the same pass (see `kernels_here`)."""

import numpy as np
import pytest
import torch
from kernels_here import DEVICE, MARKS
from torch import nn
from toys import RECIPE, changed

from lxmert_tickets.model import adam_kernels
from lxmert_tickets.model.lowered import Lowered
from lxmert_tickets.training import optimizer as module
from lxmert_tickets.training.optimizer import BertAdam
from lxmert_tickets.training.recipe import OptimizerRecipe

pytestmark = MARKS
SHAPES = {"large": (70, 60), "small": (5,), "one": (1,), "masked": (40, 31), "also": (3, 7)}
NEIGHBOURS = {"query": (20, 60), "key": (20, 60), "value": (20, 60)}
"""Weights in one storage, as those of attention's projections; one of them is masked."""
N = adam_kernels.BLOCK_OF_SQUARES
RATES = [0.0, 0.01, 0.03, 0.02]


def mask() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {name: rng.random((SHAPES | NEIGHBOURS)[name]) < 0.5 for name in ("masked", "also", "key")}


def network() -> nn.ParameterDict:
    generator = torch.Generator().manual_seed(0)
    made = {name: torch.randn(shape, generator=generator).to(DEVICE) for name, shape in SHAPES.items()}
    together = torch.randn(60, 60, generator=generator).to(DEVICE)
    return nn.ParameterDict(made | dict(zip(NEIGHBOURS, together.chunk(3), strict=True)))


def trained(recipe: OptimizerRecipe, *, by_kernels: bool) -> tuple[nn.ParameterDict, BertAdam, Lowered]:
    """Return a network after a few steps, its optimiser, and its weights in half precision."""
    weights = network()
    optimizer = BertAdam(weights, recipe, mask())
    optimizer._kernels = adam_kernels if by_kernels else None
    lowered = None
    for step, rate in enumerate(RATES):
        for parameter in weights.values():
            parameter.grad = torch.cos(parameter.detach() * (step + 1)) * (step + 1)
        optimizer.step(rate)
        if lowered is None:  # from here on the weights keep their addresses
            lowered = Lowered(weights, torch.float16)
            lowered.refresh()
            assert optimizer.can_keep is by_kernels
            if by_kernels:
                optimizer.keep(lowered)
    assert lowered is not None
    return weights, optimizer, lowered


@pytest.mark.parametrize("gathered_below", [0, 100, 2**16])
@pytest.mark.parametrize(
    "recipe",
    [
        changed(RECIPE, bias_correction=True, weight_decay=0.05, beta1=0.8, beta2=0.999, eps=1e-3, clip_norm=1e9),
        changed(RECIPE, bias_correction=False, weight_decay=0.0, clip_norm=0.7),
    ],
    ids=["AdamW", "BertAdam, clipped"],
)
def test_updates_match_torch(monkeypatch: pytest.MonkeyPatch, recipe: OptimizerRecipe, gathered_below: int) -> None:
    monkeypatch.setattr(module, "GATHERED_BELOW", gathered_below)
    (found, ours, lowered), (expected, theirs, _) = (trained(recipe, by_kernels=way) for way in (True, False))
    for name, weights in expected.items():
        assert torch.allclose(found[name], weights, rtol=1e-5, atol=1e-6), name
        assert torch.equal(lowered(found[name]), found[name].half()), name
    for name, kept in mask().items():
        assert not found[name][~torch.from_numpy(kept).to(DEVICE)].any()
    assert ours.state().keys() == theirs.state().keys()
    for name, moment in theirs.state().items():
        assert torch.allclose(ours.state()[name], moment, rtol=1e-5, atol=1e-5), name


def test_weights_that_share_a_storage_are_updated_by_one_kernel_without_a_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "GATHERED_BELOW", 0)
    weights = network()
    optimizer = BertAdam(weights, RECIPE, mask())
    optimizer._kernels = adam_kernels
    gradient = torch.ones(60, 60, device=DEVICE)
    addresses = {name: weights[name].data_ptr() for name in NEIGHBOURS}
    for name, part in zip(NEIGHBOURS, gradient.chunk(3), strict=True):
        weights[name].grad = part
    optimizer.update()
    [part] = optimizer._parts
    assert list(part.parameters) == list(NEIGHBOURS)
    assert {name: weights[name].data_ptr() for name in NEIGHBOURS} == addresses
    assert part.gradient().data_ptr() == gradient.data_ptr()


def test_without_kernels_the_update_does_not_cast_weights() -> None:
    weights, _, lowered = trained(RECIPE, by_kernels=False)
    assert not torch.equal(lowered(weights["large"]), weights["large"].half())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # from NumPy, which the interpreter uses
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_nan_or_inf_gradient_reaches_the_weights_unless_its_own_weight_is_pruned(number: float) -> None:
    weights = network()
    optimizer = BertAdam(weights, RECIPE, mask())
    optimizer._kernels = adam_kernels
    pruned = np.argwhere(~mask()["masked"])[0]

    def step(name: str, place: tuple[int, ...]) -> bool:
        for parameter in weights.values():
            parameter.grad = torch.ones_like(parameter)
        weights[name].grad[place] = number
        optimizer.step(0.1)
        return all(bool(parameter.isfinite().all()) for parameter in weights.values())

    assert step("masked", tuple(pruned))
    assert not step("large", (0, 0))
    if np.isnan(number):
        assert weights["small"].isnan().all()


@pytest.mark.parametrize("sizes", [(1,), (N,), (N + 1, 3), (2 * N - 1, N, 5)])
def test_the_norm_is_over_the_gradients_of_all_kept_weights(sizes: tuple[int, ...]) -> None:
    gradients = [torch.randn(n, generator=torch.Generator().manual_seed(n)).to(DEVICE) for n in sizes]
    every_kept = [gradient > 0.3 if place % 2 == 0 else None for place, gradient in enumerate(gradients)]
    masked = [g if kept is None else g * kept for g, kept in zip(gradients, every_kept, strict=True)]
    assert torch.allclose(adam_kernels.norm_of(gradients, every_kept), torch.cat(masked).norm(), rtol=1e-6)

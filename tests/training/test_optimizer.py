"""The optimiser is AdamW with bias correction, and LXMERT's BertAdam without."""

import math

import pytest
import torch
from toys import RECIPE, changed

from lxmert_tickets.training.optimizer import BertAdam

RATES = [0.0, 0.01, 0.03, 0.02, 0.005, 0.04]
ADAM_W = changed(RECIPE, bias_correction=True, weight_decay=0.05, beta1=0.8, beta2=0.95, eps=1e-3)
BERT_ADAM = changed(ADAM_W, bias_correction=False)


def parameters(dtype: torch.dtype = torch.float64) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in [(3, 4), (5,), (2,)]]


def run(optimizer: torch.optim.Optimizer, trained: list[torch.nn.Parameter]) -> None:
    """Take a step at each of RATES, with gradients that differ from step to step."""
    for step, rate in enumerate(RATES):
        for parameter in trained:
            parameter.grad = torch.cos(parameter.detach() * (step + 1)) * (step + 1)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()


def test_with_bias_correction_it_is_torchs_adamw() -> None:
    ours, theirs = parameters(), parameters()
    run(BertAdam(ours, ADAM_W), ours)
    recipe = ADAM_W
    run(
        torch.optim.AdamW(theirs, betas=(recipe.beta1, recipe.beta2), eps=recipe.eps, weight_decay=recipe.weight_decay),
        theirs,
    )
    for found, expected in zip(ours, theirs, strict=True):
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_without_bias_correction_it_is_the_formula_of_lxmerts_code() -> None:
    trained = parameters()
    numbers = [parameter.flatten().tolist() for parameter in trained]
    run(BertAdam(trained, BERT_ADAM), trained)
    for parameter, start in zip(trained, numbers, strict=True):
        for p, found in zip(start, parameter.flatten().tolist(), strict=True):
            assert found == pytest.approx(by_the_book(p), rel=1e-12)


def by_the_book(p: float) -> float:
    m = v = 0.0
    for step, rate in enumerate(RATES):
        g = math.cos(p * (step + 1)) * (step + 1)
        m = 0.8 * m + 0.2 * g
        v = 0.95 * v + 0.05 * g * g
        p -= rate * (m / (math.sqrt(v) + 1e-3) + 0.05 * p)
    return p


def test_the_default_numbers_are_lxmerts() -> None:
    recipe = RECIPE
    assert (recipe.beta1, recipe.beta2, recipe.eps) == (0.9, 0.999, 1e-6)
    assert (recipe.weight_decay, recipe.clip_norm, recipe.warmup_fraction) == (0.01, 5.0, 0.1)
    assert type(recipe)(learning_rate=1, epochs=1, batch_size=1, hidden_dropout=0, attention_dropout=0) == changed(
        recipe, learning_rate=1, epochs=1, batch_size=1, bias_correction=False
    )


@pytest.mark.parametrize("recipe", [ADAM_W, BERT_ADAM])
def test_a_parameter_without_gradient_does_not_even_decay(recipe: object) -> None:
    used, unused, _ = parameters()
    before = unused.detach().clone()
    optimizer = BertAdam([used, unused], recipe)
    run(optimizer, [used])
    assert torch.equal(unused, before)
    assert unused not in optimizer.state
    assert not torch.equal(used, parameters()[0])


def test_a_gradient_of_zero_still_decays() -> None:
    (parameter, *_) = parameters()
    before = parameter.detach().clone()
    parameter.grad = torch.zeros_like(parameter)
    BertAdam([parameter], changed(BERT_ADAM, learning_rate=0.1)).step()
    assert torch.allclose(parameter, before * (1 - 0.1 * 0.05), rtol=1e-12, atol=0)


def test_a_step_without_any_gradient_is_none() -> None:
    trained = parameters()
    BertAdam(trained, ADAM_W).step()
    assert all(torch.equal(found, before) for found, before in zip(trained, parameters(), strict=True))

"""The optimiser is AdamW with bias correction, LXMERT's BertAdam without; it clips, and keeps pruned weights at 0."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from toys import RECIPE, changed

from lxmert_tickets.model.on_cpu import joined as joined_tensors
from lxmert_tickets.model.sublayers import make_neighbours
from lxmert_tickets.training import optimizer as module
from lxmert_tickets.training.optimizer import BertAdam

RATES = [0.0, 0.01, 0.03, 0.02, 0.005, 0.04]
ADAM_W = changed(RECIPE, bias_correction=True, weight_decay=0.05, beta1=0.8, beta2=0.95, eps=1e-3, clip_norm=1e9)
BERT_ADAM = changed(ADAM_W, bias_correction=False)
NO_MOMENTUM = changed(RECIPE, beta1=0.0, beta2=0.0, bias_correction=False, weight_decay=0.0)

MASK = {"weight": np.array([[True, False, True], [False, False, True]])}
KEPT = torch.from_numpy(MASK["weight"])


def parameters(dtype: torch.dtype = torch.float64) -> nn.ParameterList:
    generator = torch.Generator().manual_seed(0)
    return nn.ParameterList(torch.randn(shape, generator=generator, dtype=dtype) for shape in [(3, 4), (5,), (2,)])


def give_gradients(trained: nn.ParameterList | list[Tensor], step: int) -> None:
    """Give each a gradient that differs from step to step."""
    for parameter in trained:
        parameter.grad = torch.cos(parameter.detach() * (step + 1)) * (step + 1)


def run(optimizer: BertAdam, trained: nn.ParameterList | list[Tensor]) -> None:
    """Take a step at each of RATES."""
    for step, rate in enumerate(RATES):
        give_gradients(trained, step)
        optimizer.step(rate)


@pytest.fixture(params=[0, 2**16], ids=["one by one", "gathered"])
def _gathered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters are updated one by one, or as one tensor: that must not matter."""
    monkeypatch.setattr(module, "GATHERED_BELOW", request.param)


@given(st.lists(st.integers(1, 40), max_size=12))
def test_on_a_gpu_parameters_updated_together_start_at_multiples_of_16_bytes(sizes: list[int]) -> None:
    parameters = {f"{place}": torch.nn.Parameter(torch.zeros(size)) for place, size in enumerate(sizes)}
    together = [parameters[name].numel() for name in module._small(parameters, aligned=True)]
    starts = np.cumsum([0, *together])
    assert not (starts * 2 % 16).any()  # bytes, in bfloat16
    assert together == [size for size in sizes if size % 8 == 0]  # no more are left out than need be


@pytest.mark.usefixtures("_gathered")
def test_with_bias_correction_the_optimiser_is_torchs_adamw() -> None:
    ours, theirs = parameters(), parameters()
    run(BertAdam(ours, ADAM_W), ours)
    adam_w = torch.optim.AdamW(
        theirs, betas=(ADAM_W.beta1, ADAM_W.beta2), eps=ADAM_W.eps, weight_decay=ADAM_W.weight_decay
    )
    for step, rate in enumerate(RATES):
        give_gradients(theirs, step)
        adam_w.param_groups[0]["lr"] = rate
        adam_w.step()
    for found, expected in zip(ours, theirs, strict=True):
        assert torch.allclose(found, expected, rtol=1e-6, atol=1e-7)  # the learning rate is in float32


@pytest.mark.usefixtures("_gathered")
def test_without_bias_correction_the_optimiser_follows_the_formula_of_lxmerts_code() -> None:
    trained = parameters()
    numbers = [parameter.flatten().tolist() for parameter in trained]
    run(BertAdam(trained, BERT_ADAM), trained)
    for parameter, start in zip(trained, numbers, strict=True):
        for p, found in zip(start, parameter.flatten().tolist(), strict=True):
            assert found == pytest.approx(by_the_book(p), rel=1e-6, abs=1e-7)


def by_the_book(p: float) -> float:
    m = v = 0.0
    for step, rate in enumerate(RATES):
        g = math.cos(p * (step + 1)) * (step + 1)
        m = 0.8 * m + 0.2 * g
        v = 0.95 * v + 0.05 * g * g
        p -= rate * (m / (math.sqrt(v) + 1e-3) + 0.05 * p)
    return p


def test_the_default_hyperparameters_are_lxmerts() -> None:
    recipe = RECIPE
    assert (recipe.beta1, recipe.beta2, recipe.eps) == (0.9, 0.999, 1e-6)
    assert (recipe.weight_decay, recipe.clip_norm, recipe.warmup_fraction) == (0.01, 5.0, 0.1)
    assert type(recipe)(learning_rate=1, epochs=1, batch_size=1, hidden_dropout=0, attention_dropout=0) == changed(
        recipe, learning_rate=1, epochs=1, batch_size=1, bias_correction=False
    )


@pytest.mark.parametrize("recipe", [ADAM_W, BERT_ADAM])
def test_a_parameter_without_gradient_does_not_even_decay(recipe: object) -> None:
    trained = parameters()
    optimizer = BertAdam(trained, recipe)
    run(optimizer, [trained[0], trained[2]])
    assert torch.equal(trained[1], parameters()[1])
    assert optimizer.state().keys() == {"steps", "exp_avg/0", "exp_avg_sq/0", "exp_avg/2", "exp_avg_sq/2"}
    assert not torch.equal(trained[0], parameters()[0])


@pytest.mark.usefixtures("_gathered")
def test_how_a_gradient_lies_in_memory_does_not_matter() -> None:
    lying, packed = parameters(), parameters()
    for trained, is_packed in ((lying, False), (packed, True)):
        columns = torch.arange(12, dtype=torch.float64).view(4, 3).t()
        given = columns, torch.ones(1, dtype=torch.float64).expand(5), columns[1, :3:2]
        for parameter, gradient in zip(trained, given, strict=True):
            parameter.grad = gradient.contiguous() if is_packed else gradient
        BertAdam(trained, ADAM_W).step(0.1)
    assert all(torch.equal(found, expected) for found, expected in zip(lying, packed, strict=True))


def test_a_gradient_of_zero_still_decays() -> None:
    trained = parameters()
    before = trained[0].detach().clone()
    trained[0].grad = torch.zeros_like(before)
    BertAdam(trained, BERT_ADAM).step(0.1)
    assert torch.allclose(trained[0], before * (1 - 0.1 * 0.05), rtol=1e-8, atol=0)


def test_a_step_without_any_gradient_changes_nothing() -> None:
    trained = parameters()
    BertAdam(trained, ADAM_W).step(0.1)
    assert all(torch.equal(found, before) for found, before in zip(trained, parameters(), strict=True))


def test_a_step_leaves_no_gradient_behind() -> None:
    trained = parameters()
    run(BertAdam(trained, ADAM_W), trained)
    assert all(parameter.grad is None for parameter in trained)


def test_a_restored_optimiser_continues_with_the_same_bytes() -> None:
    straight, broken_off, taken_up = parameters(), parameters(), parameters()
    whole, first, second = (BertAdam(trained, ADAM_W) for trained in (straight, broken_off, taken_up))
    run(whole, straight)
    run(whole, straight)
    run(first, broken_off)
    taken_up.load_state_dict(broken_off.state_dict())
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    second.restore(state)
    assert not state
    run(second, taken_up)
    for found, expected in zip(taken_up, straight, strict=True):
        assert torch.equal(found, expected)


def linear() -> nn.Linear:
    network = nn.Linear(3, 2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]]))
        network.bias.fill_(0.5)
    return network


def test_a_start_that_was_not_masked_is_masked_at_once() -> None:
    network = linear()
    BertAdam(network, RECIPE, MASK)
    assert torch.equal(network.weight, torch.tensor([[1.0, 0.0, 3.0], [0.0, 0.0, -6.0]]))
    assert not network.weight[~KEPT].signbit().any()
    assert torch.equal(network.bias, linear().bias)


def step(network: nn.Linear, optimizer: BertAdam, rate: float = 0.1, scale: float = 1.0) -> None:
    """Take one step on a loss whose gradient is huge at the pruned weights of the second input."""
    (scale * network(torch.tensor([[1.0, 1000.0, 2.0]])).sum()).backward()
    optimizer.step(rate)


def test_pruned_weights_do_not_count_in_the_clipped_norm() -> None:
    network = linear()
    optimizer = BertAdam(network, NO_MOMENTUM, {"weight": np.array([[True, False, True], [True, False, True]])})
    step(network, optimizer)
    # The norm of the kept gradients, 1, 2, 1, 2 and 1, 1 of the biases, is sqrt(12): below 5, so nothing is clipped.
    assert torch.equal(optimizer.state()["exp_avg/weight"], torch.tensor([[1.0, 0.0, 2.0], [1.0, 0.0, 2.0]]))


@pytest.mark.usefixtures("_gathered")
def test_gradients_are_clipped_to_a_norm_over_all_kept_weights() -> None:
    network = linear()
    optimizer = BertAdam(network, NO_MOMENTUM, MASK)
    step(network, optimizer, scale=100.0)
    state = optimizer.state()
    gradient = torch.cat([state["exp_avg/weight"].flatten(), state["exp_avg/bias"]])
    assert torch.isclose(gradient.norm(), torch.tensor(5.0), rtol=1e-4)


@pytest.mark.usefixtures("_gathered")
def test_pruned_weights_stay_0_and_build_up_no_momentum() -> None:
    network = linear()
    optimizer = BertAdam(network, changed(RECIPE, weight_decay=0.1), MASK)
    for _ in range(3):
        step(network, optimizer)
        for moment in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(optimizer.state()[f"{moment}/weight"] != 0, KEPT)
        assert torch.equal(network.weight != 0, KEPT)
        assert not network.weight[~KEPT].signbit().any()


def test_a_step_starts_from_fresh_gradients_at_its_own_learning_rate() -> None:
    network, again = linear(), linear()
    for trained, rates in ((network, [0.0, 0.1]), (again, [0.1])):
        optimizer = BertAdam(trained, NO_MOMENTUM)
        for rate in rates:
            step(trained, optimizer, rate)
    assert torch.equal(network.weight, again.weight)


def test_weights_that_a_layer_joins_stay_adjacent_in_memory_after_a_step() -> None:
    layers = nn.ModuleDict({name: nn.Linear(4, 3) for name in ("key", "other", "query", "value")})
    joined = [layers[name] for name in ("query", "key", "value")]
    make_neighbours(joined)
    before = [layer.weight.detach().clone() for layer in joined]
    optimizer = BertAdam(layers, NO_MOMENTUM)
    give_gradients(list(layers.parameters()), 0)
    optimizer.step(0.0)
    for tensors in ([layer.weight for layer in joined], [layer.bias for layer in joined]):
        assert joined_tensors(tensors).data_ptr() == tensors[0].data_ptr()
    assert torch.equal(joined_tensors([layer.weight for layer in joined]), torch.cat(before))

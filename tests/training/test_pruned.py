"""A pruned weight is no parameter: it is 0 after every step, and its gradient counts nowhere."""

import numpy as np
import torch
from torch import nn
from toys import RECIPE, changed

from lxmert_tickets.training.loop import take_step
from lxmert_tickets.training.optimizer import BertAdam
from lxmert_tickets.training.pruned import PrunedWeights

MASK = {"weight": np.array([[True, False, True], [False, False, True]])}
KEPT = torch.from_numpy(MASK["weight"])


def linear() -> nn.Linear:
    network = nn.Linear(3, 2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]]))
        network.bias.fill_(0.5)
    return network


def test_a_start_that_was_not_masked_is_masked_at_once() -> None:
    network = linear()
    PrunedWeights(network, MASK)
    assert torch.equal(network.weight, torch.tensor([[1.0, 0.0, 3.0], [0.0, 0.0, -6.0]]))
    assert torch.equal(network.bias, linear().bias)


def test_without_a_mask_nothing_is_held() -> None:
    network = linear()
    pruned = PrunedWeights(network, None)
    network.weight.grad = torch.ones(2, 3)
    pruned.drop_gradients()
    pruned.enforce()
    assert torch.equal(network.weight, linear().weight)
    assert torch.equal(network.weight.grad, torch.ones(2, 3))


def test_weights_that_grew_back_are_pruned_again() -> None:
    network = linear()
    pruned = PrunedWeights(network, MASK)
    with torch.no_grad():
        network.weight.add_(7)
    pruned.enforce()
    assert torch.equal(network.weight != 0, KEPT)
    assert torch.equal(network.weight[KEPT], linear().weight[KEPT] + 7)


def test_gradients_of_pruned_weights_are_dropped_and_others_stay() -> None:
    network = linear()
    pruned = PrunedWeights(network, MASK)
    network.weight.grad = torch.full((2, 3), 3.0)
    pruned.drop_gradients()
    assert torch.equal(network.weight.grad, 3.0 * KEPT)
    assert network.bias.grad is None


def test_a_tensor_without_gradient_needs_none() -> None:
    network = linear()
    PrunedWeights(network, MASK).drop_gradients()
    assert network.weight.grad is None


def step(network: nn.Linear, optimizer: BertAdam, pruned: PrunedWeights, scale: float = 1.0) -> None:
    """One step on a loss whose gradient is huge at the pruned weights of the second input."""
    loss = scale * network(torch.tensor([[1.0, 1000.0, 2.0]])).sum()
    take_step(network, optimizer, loss, 0.1, clip_norm=5.0, pruned=pruned)


def test_pruned_weights_do_not_count_in_the_clipped_norm() -> None:
    network = linear()
    mask = {"weight": np.array([[True, False, True], [True, False, True]])}
    step(network, BertAdam(network.parameters(), RECIPE), PrunedWeights(network, mask))
    # The norm of the kept gradients, 1, 2, 1, 2 and 1, 1 of the biases, is sqrt(12): below 5, so nothing is clipped.
    assert torch.equal(network.weight.grad, torch.tensor([[1.0, 0.0, 2.0], [1.0, 0.0, 2.0]]))


def test_gradients_are_clipped_to_a_norm_over_all_kept_weights() -> None:
    network = linear()
    step(network, BertAdam(network.parameters(), RECIPE), PrunedWeights(network, MASK), scale=100.0)
    gradient = torch.cat([network.weight.grad.flatten(), network.bias.grad])
    assert torch.isclose(gradient.norm(), torch.tensor(5.0), rtol=1e-4)


def test_pruned_weights_build_up_no_momentum() -> None:
    network = linear()
    optimizer = BertAdam(network.parameters(), changed(RECIPE, weight_decay=0.1))
    pruned = PrunedWeights(network, MASK)
    for _ in range(3):
        step(network, optimizer, pruned)
        for moment in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(optimizer.state[network.weight][moment] != 0, KEPT)
        assert torch.equal(network.weight != 0, KEPT)


def test_weights_with_momentum_stay_0_once_they_are_pruned() -> None:
    network = linear()
    optimizer = BertAdam(network.parameters(), changed(RECIPE, weight_decay=0.1))
    step(network, optimizer, PrunedWeights(network, None))
    pruned = PrunedWeights(network, MASK)
    for _ in range(3):
        step(network, optimizer, pruned)
        assert not network.weight[~KEPT].any()
        assert network.weight[KEPT].all()


def test_a_step_starts_from_fresh_gradients_at_its_own_learning_rate() -> None:
    network, again = linear(), linear()
    for trained, steps in ((network, [0.0, 0.1]), (again, [0.1])):
        optimizer = BertAdam(trained.parameters(), changed(RECIPE, beta1=0.0, beta2=0.0, bias_correction=False))
        for rate in steps:
            loss = trained(torch.ones(1, 3)).sum()
            take_step(trained, optimizer, loss, rate, 5.0, PrunedWeights(trained, None))
    assert torch.equal(network.weight, again.weight)

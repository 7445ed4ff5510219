"""Weights of a sublayer are joined without a copy where that is possible, and never lag behind the parameters."""

import torch
from toy_sublayers import attending, linear

from lxmert_tickets.model.sublayers import joined, make_neighbours


def test_weights_that_are_neighbours_are_joined_without_a_copy() -> None:
    layers = [linear(5, 4, seed) for seed in range(3)]
    apart = joined([layer.weight for layer in layers])
    make_neighbours(layers)
    together = joined([layer.weight for layer in layers])
    assert torch.equal(together, apart)
    assert together.data_ptr() == layers[0].weight.data_ptr()
    assert joined([layers[1].weight, layers[0].weight]).data_ptr() != layers[1].weight.data_ptr()


def test_joined_weights_follow_the_parameters_when_those_change_or_move() -> None:
    part = attending()
    weights = part.parameters()[:6:2]
    weights[1].data = weights[1].data.clone()  # apart

    def is_joined() -> bool:
        return torch.equal(part.joined(weights), torch.cat([weight.detach() for weight in weights]))

    assert is_joined()  # copied
    with torch.no_grad():
        weights[0].mul_(2)
    assert is_joined()
    make_neighbours(part.projections)
    assert is_joined()  # in place
    assert part.joined(weights) is part.joined(weights)
    with torch.no_grad():
        weights[1].mul_(2)
    assert is_joined()
    make_neighbours(part.projections)  # moved
    with torch.no_grad():
        weights[2].mul_(2)
    assert is_joined()
    weights[1].data = weights[1].data * 3  # moved alone
    assert is_joined()

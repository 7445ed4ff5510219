"""Lowered weights are the weights, rounded, in the same memory layout."""

import numpy as np
import torch
from toys import RECIPE, tiny_network, toy_data

from lxmert_tickets.model.lowered import Lowered, low, using
from lxmert_tickets.training.optimizer import BertAdam
from lxmert_tickets.training.steps import step_of


def test_lowered_weights_are_the_parameters_rounded_even_if_those_were_gathered() -> None:
    network, data, rows = tiny_network(), toy_data(), np.arange(8)
    step_of(network, BertAdam(network, RECIPE), "float32")(data.batch(rows), data.targets(rows), 1e-3)
    lowered = Lowered(network, torch.bfloat16)
    lowered.refresh()
    for parameter in network.parameters():
        assert torch.equal(lowered(parameter), parameter.bfloat16())


def test_lowered_weights_change_only_when_refreshed() -> None:
    network = tiny_network()
    lowered, weight = Lowered(network, torch.bfloat16), network.lxmert.pooler.dense.weight
    lowered.refresh()
    before = weight.bfloat16()
    with torch.no_grad():
        weight += 1
    assert torch.equal(lowered(weight), before)
    lowered.refresh()
    assert torch.equal(lowered(weight), weight.bfloat16())


def test_neighbouring_weights_are_joined_without_a_copy_even_after_the_network_moved() -> None:
    network = tiny_network().double().float()
    attention = network.lxmert.encoder.layer[0].attention.self
    weights = [attention.query.weight, attention.key.weight, attention.value.weight]
    lowered = Lowered(network, torch.bfloat16)
    lowered.refresh()
    with using(lowered):
        joined = low(weights, torch.bfloat16)
        assert joined.data_ptr() == lowered(weights[0]).data_ptr()
    assert torch.equal(joined, torch.cat(weights).bfloat16())
    with torch.no_grad():
        weights[1] += 1
    assert torch.equal(low(weights, torch.bfloat16), torch.cat(weights).bfloat16())  # cast where none are in use

"""What can be pruned: matrices that a pattern names, and nothing else."""

import numpy as np
import pytest
import torch
from toys import TINY, random_weights

from lxmert_tickets.errors import ConfigError
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.lxmert import LxmertForVqa
from lxmert_tickets.pruning.prunable import PAPER, prunable_names


def test_the_papers_prunable_weights_are_all_linears_of_the_layers_and_the_pooler() -> None:
    with torch.device("meta"):
        network = LxmertForVqa(TINY)
    linears = {name for name, part in network.named_modules() if isinstance(part, torch.nn.Linear)}
    outside = {name for name in linears if name.startswith(("lxmert.encoder.visn_fc.", "answer_head."))}
    assert prunable_names(random_weights(), PAPER) == tuple(sorted(f"{name}.weight" for name in linears - outside))


def test_the_base_network_has_the_published_number_of_prunable_weights_per_stream() -> None:
    with torch.device("meta"):
        weights = LxmertForVqa(Architecture(n_answers=3129)).state_dict()
    sums = {
        part: sum(weights[name].numel() for name in prunable_names(weights, [f"lxmert.encoder.{part}.*"]))
        for part in ("layer", "r_layers", "x_layers")
    }
    assert sums == {"layer": 63_700_992, "r_layers": 35_389_440, "x_layers": 82_575_360}
    assert len(prunable_names(weights, PAPER)) == 164 + 1


def test_biases_and_layer_norms_are_never_prunable() -> None:
    weights = random_weights()
    assert all(weights[name].ndim == 2 for name in prunable_names(weights, ["*"]))


def test_a_name_that_two_patterns_match_comes_once_and_in_order() -> None:
    weights = {name: np.zeros((1, 1)) for name in ("b", "a.10", "a.2", "c")}
    assert prunable_names(weights, ["b", "*", "a.*"]) == ("a.10", "a.2", "b", "c")


@pytest.mark.parametrize("pattern", ["lxmert.pooler.dense.wieght", "lxmert.pooler.dense.bias"])
def test_a_pattern_that_matches_no_matrix_is_refused_suggesting_the_nearest(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"prunable\[1\].*matches no.*did you mean 'lxmert\.pooler\.dense\.weight'\?"):
        prunable_names(random_weights(), ["lxmert.encoder.layer.*", pattern])

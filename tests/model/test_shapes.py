"""The parameter shapes computed from sizes are those of the network built from them."""

import pytest
import torch
from toys import TINY, changed

from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.lxmert import LxmertForVqa
from lxmert_tickets.model.shapes import matrix_shapes, parameter_shapes

DEEP = changed(TINY, n_language_layers=11, n_vision_layers=3, n_cross_layers=1)


@pytest.mark.parametrize("arch", [TINY, DEEP, Architecture(n_answers=3129)], ids=["tiny", "deep", "base"])
def test_names_and_shapes_are_those_of_the_networks_parameters(arch: Architecture) -> None:
    with torch.device("meta"):
        parameters = {name: tuple(found.shape) for name, found in LxmertForVqa(arch).state_dict().items()}
    assert parameter_shapes(arch) == parameters
    assert matrix_shapes(arch) == {name: shape for name, shape in parameters.items() if len(shape) == 2}

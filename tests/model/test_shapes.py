"""The parameter shapes computed from sizes are those of the network built from them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toys import TINY, changed

from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.lxmert import LxmertForVqa
from lxmert_tickets.model.shapes import matrix_shapes, parameter_shapes

PROJECT = Path(__file__).resolve().parents[2]
DEEP = changed(TINY, n_language_layers=11, n_vision_layers=3, n_cross_layers=1)


@pytest.mark.parametrize("arch", [TINY, DEEP, Architecture(n_answers=3129)], ids=["tiny", "deep", "base"])
def test_names_and_shapes_are_those_of_the_networks_parameters(arch: Architecture) -> None:
    with torch.device("meta"):
        parameters = {name: tuple(found.shape) for name, found in LxmertForVqa(arch).state_dict().items()}
    assert parameter_shapes(arch) == parameters
    assert matrix_shapes(arch) == {name: shape for name, shape in parameters.items() if len(shape) == 2}


def test_a_configuration_is_read_without_importing_torch() -> None:
    script = "import sys, lxmert_tickets.configuration; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=False).returncode == 0

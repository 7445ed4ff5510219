"""Which weights can be pruned."""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from lxmert_tickets.errors import ConfigError, did_you_mean

# Every Linear of the language, vision and cross layers, and the pooler: the paper's "entire model, excluding
# embedding and output layers".
PAPER = (
    "lxmert.encoder.layer.*.weight",
    "lxmert.encoder.r_layers.*.weight",
    "lxmert.encoder.x_layers.*.weight",
    "lxmert.pooler.dense.weight",
)


def prunable_names(weights: Mapping[str, np.ndarray], patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the matrices that any of the glob `patterns` matches, in alphabetical order.

    Biases and LayerNorms have one dimension and are never prunable, whatever the patterns say.

    Raises ConfigError when a pattern matches no matrix.
    """
    return matching((name for name, tensor in weights.items() if tensor.ndim == 2), patterns)


def matching(matrices: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the names among `matrices` that any of the glob `patterns` matches, in alphabetical order.

    Raises ConfigError when a pattern matches none.
    """
    names = sorted(matrices)
    for position, pattern in enumerate(patterns):
        if not any(fnmatchcase(name, pattern) for name in names):
            known = {*PAPER, *(re.sub(r"\.\d+\.", ".*.", name) for name in names)}  # one name for all layers
            raise ConfigError(
                f"pruning.prunable[{position}]",
                f"{pattern!r} matches no weight matrix of this network",
                "a glob over parameter names",
                did_you_mean(pattern, known),
            )
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))

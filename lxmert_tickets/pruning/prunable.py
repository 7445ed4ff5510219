"""Which weights can be pruned at all."""

from collections.abc import Mapping, Sequence
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

    Raises:
        ConfigError: a pattern matches no matrix.
    """
    matrices = sorted(name for name, tensor in weights.items() if tensor.ndim == 2)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in matrices):
            raise ConfigError(
                f"pruning.prunable '{pattern}'",
                "matches no weight matrix of this network",
                "a glob over parameter names",
                did_you_mean(pattern, matrices),
            )
    return tuple(name for name in matrices if any(fnmatchcase(name, pattern) for pattern in patterns))

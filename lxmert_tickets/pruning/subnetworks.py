"""A subnetwork as files: its mask, the weights it starts from, and its sparsity report."""

from pathlib import Path
from typing import Protocol

import numpy as np

from lxmert_tickets.artifacts import Metadata
from lxmert_tickets.model.checkpoints import load_weights, save_weights
from lxmert_tickets.pruning.mask_files import check_fits, save_mask
from lxmert_tickets.pruning.masks import Mask, rewind
from lxmert_tickets.pruning.sparsity import write_sparsity_report


class SubnetworkFiles(Protocol):
    """Where a subnetwork is written."""

    @property
    def mask(self) -> str: ...
    @property
    def start(self) -> str: ...
    @property
    def report(self) -> str: ...


def save_subnetwork(files: SubnetworkFiles, mask: Mask, initial_path: str | Path, provenance: Metadata) -> None:
    """Write `mask`, the initial weights in `initial_path` rewound to it, and its sparsity report.

    Raises ArtifactError when the initial weights are damaged, or the mask is for another network.
    """
    initial, architecture = load_weights(initial_path)
    check_fits(mask, initial, files.mask, initial_path)
    save_mask(files.mask, mask, provenance)
    start: dict[str, np.ndarray] = {}
    for name in list(initial):  # one at a time, so that memory holds a large network once
        start |= rewind({name: initial.pop(name)}, mask)
    save_weights(files.start, start, architecture, provenance)
    write_sparsity_report(files.report, mask, architecture.n_cross_layers)

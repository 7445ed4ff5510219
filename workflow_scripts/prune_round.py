"""One round of magnitude pruning: keep the largest weights of the network that the round before trained, and rewind."""

import json
from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import REMAKE, provenance
from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.jobs.job import job
from lxmert_tickets.model.checkpoints import load_weights
from lxmert_tickets.pruning.mask_files import check_fits, check_only_removes, load_mask
from lxmert_tickets.pruning.masks import check_prunes_some, keep_all, keep_largest, n_prunable
from lxmert_tickets.pruning.prunable import prunable_names
from lxmert_tickets.pruning.subnetworks import save_subnetwork

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    paths, params = snakemake.input, snakemake.params
    weights, _ = load_weights(paths.weights)
    previous = keep_all(weights, prunable_names(weights, json.loads(params.prunable)["prunable"]))
    if paths.mask:
        previous = load_mask(paths.mask)
        check_fits(previous, weights, paths.mask, paths.weights)
    sparsity = float(snakemake.wildcards.sparsity)
    check_prunes_some(f"subnetworks.{snakemake.wildcards.subnetwork}.sparsities", sparsity, n_prunable(previous))
    try:
        mask = keep_largest(weights, previous, sparsity, params.ranked)
    except ValueError as error:
        raise ArtifactError(paths.weights, str(error), "weights to choose the largest from", REMAKE) from None
    check_only_removes(mask, previous, snakemake.output.mask, paths.mask or paths.weights)
    origin = provenance(snakemake.rule, params.prunable + params.ranked, int(snakemake.wildcards.seed), paths)
    del weights, previous  # the initial weights are as large
    save_subnetwork(snakemake.output, mask, paths.initial, origin)

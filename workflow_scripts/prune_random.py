"""A subnetwork of weights drawn at random, from a seed of its own for every run and sparsity."""

import json
from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.jobs.job import job
from lxmert_tickets.model.checkpoints import load_weights
from lxmert_tickets.pruning.masks import check_prunes_some, keep_random
from lxmert_tickets.pruning.prunable import prunable_names
from lxmert_tickets.pruning.subnetworks import save_subnetwork
from lxmert_tickets.seeds import derive_seed

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    paths, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
    weights, _ = load_weights(paths.initial)
    names = prunable_names(weights, json.loads(params.prunable)["prunable"])
    mask_seed = derive_seed(int(wildcards.seed), "random_mask", wildcards.subnetwork, wildcards.sparsity)
    sparsity, n_weights = float(wildcards.sparsity), sum(weights[name].size for name in names)
    check_prunes_some(f"subnetworks.{wildcards.subnetwork}.sparsities", sparsity, n_weights)
    mask = keep_random(weights, names, sparsity, params.ranked, mask_seed)
    origin = provenance(snakemake.rule, params.prunable + params.ranked, int(wildcards.seed), paths)
    del weights  # the initial weights are read again, and are as large
    save_subnetwork(snakemake.output, mask, paths.initial, origin)

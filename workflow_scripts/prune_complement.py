"""The complement of another subnetwork: its mask keeps just what that one prunes."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.jobs.job import job
from lxmert_tickets.pruning.mask_files import load_mask
from lxmert_tickets.pruning.masks import complement
from lxmert_tickets.pruning.subnetworks import save_subnetwork

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    paths = snakemake.input
    mask = complement(load_mask(paths.mask))
    origin = provenance(snakemake.rule, "", int(snakemake.wildcards.seed), paths)
    save_subnetwork(snakemake.output, mask, paths.initial, origin)

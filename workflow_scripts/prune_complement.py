"""The complement of another subnetwork's mask: it keeps just what that one prunes."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.job import job
from lxmert_tickets.pruning.mask_files import load_mask, save_mask
from lxmert_tickets.pruning.masks import complement
from lxmert_tickets.pruning.sparsity import write_sparsity_report

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    mask = complement(load_mask(snakemake.input.mask))
    origin = provenance(snakemake.rule, "", int(snakemake.wildcards.seed), snakemake.input)
    save_mask(snakemake.output.mask, mask, origin)
    write_sparsity_report(snakemake.output.report, mask, snakemake.params.n_cross_layers)

"""The weights that a subnetwork starts from: the initial weights, 0 where the mask prunes."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.job import job
from lxmert_tickets.model.checkpoints import load_weights, save_weights
from lxmert_tickets.pruning.mask_files import check_fits, load_mask
from lxmert_tickets.pruning.masks import rewind

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    paths = snakemake.input
    initial, architecture = load_weights(paths.initial)
    mask = load_mask(paths.mask)
    check_fits(mask, initial, paths.mask, paths.initial)
    origin = provenance(snakemake.rule, "", int(snakemake.wildcards.seed), paths)
    save_weights(snakemake.output.start, rewind(initial, mask), architecture, origin)

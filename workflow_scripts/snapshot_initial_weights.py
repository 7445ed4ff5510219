"""The initial weights of a seed, which every round rewinds to: pretrained encoder, classifier drawn anew."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.job import job
from lxmert_tickets.model.checkpoints import load_weights, save_weights
from lxmert_tickets.model.initial import with_random_classifier

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    seed = int(snakemake.wildcards.seed)
    pretrained, architecture = load_weights(snakemake.input.weights)
    origin = provenance(snakemake.rule, "", seed, snakemake.input)
    initial = with_random_classifier(pretrained, architecture, seed)
    save_weights(snakemake.output.weights, initial, architecture, origin)

"""The initial weights of a seed, which every round rewinds to: pretrained encoder, classifier drawn or kept."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.jobs.finished import forget_results
from lxmert_tickets.jobs.job import job
from lxmert_tickets.layout import resume_folder
from lxmert_tickets.model.checkpoints import load_weights, save_weights
from lxmert_tickets.model.initial import initial_weights

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    seed, answer_head = int(snakemake.wildcards.seed), snakemake.params.answer_head
    pretrained, architecture = load_weights(snakemake.input.weights)
    initial = initial_weights(pretrained, architecture, seed, answer_head, snakemake.input.weights)
    origin = provenance(snakemake.rule, answer_head, seed, snakemake.input)
    save_weights(snakemake.output.weights, initial, architecture, origin)
    forget_results(resume_folder(snakemake.input.weights))  # Snakemake has recorded them, or this job would not run

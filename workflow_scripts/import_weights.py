"""Published LXMERT weights, from the hub or a downloaded checkpoint, as pretrained weights of this workflow."""

from typing import TYPE_CHECKING

import msgspec

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.data.answers import read_answers
from lxmert_tickets.downloads.receipts import source_file
from lxmert_tickets.jobs.job import job
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.checkpoints import save_weights
from lxmert_tickets.model.importing import checkpoint_file, hub_checkpoint, import_weights
from lxmert_tickets.model.pretrained_answers import read_pretraining_answers

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    paths, params = snakemake.input, snakemake.params
    answers = read_answers(paths.answers)
    of_data = {"n_answers": len(answers), "vocab_size": params.vocab_size, "feature_dim": params.feature_dim}
    architecture = msgspec.convert(msgspec.json.decode(params.model) | of_data, Architecture)
    if paths.get("checkpoint"):
        checkpoint = checkpoint_file(source_file(paths.checkpoint))
    else:
        checkpoint = hub_checkpoint(params.repository, params.revision, architecture)
    table = paths.get("pretraining_answers")
    pretraining = read_pretraining_answers(source_file(table)) if table else None

    weights, about = import_weights(checkpoint, architecture, answers, pretraining)

    origin = provenance(snakemake.rule, params.model, None, paths)
    save_weights(snakemake.output.weights, weights, architecture, origin | about)

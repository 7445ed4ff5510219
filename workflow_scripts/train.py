"""Fine-tune the dense network, or retrain a subnetwork: the same loop, without or with a mask."""

from typing import TYPE_CHECKING

import msgspec

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.jobs.code_digest import SCRIPTS, code_digest
from lxmert_tickets.jobs.gpus import gpu_of_this_job
from lxmert_tickets.jobs.job import job
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.checkpoints import load_weights, save_weights
from lxmert_tickets.monitoring.watching import watching
from lxmert_tickets.pruning.mask_files import check_fits, load_mask
from lxmert_tickets.training.batches import open_vqa_data
from lxmert_tickets.training.device import best_device, set_up_process
from lxmert_tickets.training.history import write_history
from lxmert_tickets.training.interruption import alone_at_run, resumable
from lxmert_tickets.training.loop import train
from lxmert_tickets.training.recipe import TrainingRecipe
from lxmert_tickets.training.resume import run_identity

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

code = code_digest(SCRIPTS / "train.py")  # not later: files may be edited while this job waits or reads

with (
    job(snakemake.log[0]),
    alone_at_run(snakemake.output.weights),
    gpu_of_this_job(snakemake.params.jobs_per_gpu),
):
    paths, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
    recipe = msgspec.json.decode(params.recipe, type=TrainingRecipe)
    set_up_process(snakemake.threads, recipe.deterministic)
    device = best_device()
    start, architecture = load_weights(paths.start)
    mask_path = paths.get("mask")
    mask = load_mask(mask_path) if mask_path else None
    if mask is not None:
        check_fits(mask, start, mask_path, paths.start)
    network = build_network(
        start,
        architecture,
        hidden_dropout=recipe.hidden_dropout,
        attention_dropout=recipe.attention_dropout,
        place=paths.start,
    ).to(device)
    del start  # as large as the network
    vocab_size = architecture.vocab_size
    data = open_vqa_data(paths.train_questions[0], paths.train_features[0], device, vocab_size)
    val = open_vqa_data(paths.val_questions[0], paths.val_features[0], device, vocab_size, like=data)
    name = " ".join([f"seed {wildcards.seed}", *wildcards[1:]]) if mask is not None else f"seed {wildcards.seed} dense"

    origin = provenance(snakemake.rule, params.recipe, int(wildcards.seed), paths)
    identity = run_identity(code, msgspec.json.decode(params.recipe), origin, device)

    output = snakemake.output
    results = [output.weights, output.history, params.metrics]
    with resumable(results, identity, params.checkpoint_minutes) as checkpoints:
        if checkpoints is not None:
            with watching(output.weights, params.metrics, params.event_files) as watch:
                seed, graphs = int(wildcards.seed), params.cuda_graphs
                trained = train(network, data, val, recipe, seed, mask, name, checkpoints, watch, graphs)
                weights = {key: tensor.numpy() for key, tensor in trained.weights.items()}
                save_weights(output.weights, weights, architecture, origin | {"epoch": trained.kept_epoch})
                write_history(output.history, trained.history)

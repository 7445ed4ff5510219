"""Pretrain the embedded data set's network: masked words, image-text matching, answers."""

from typing import TYPE_CHECKING

import msgspec

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.configuration.experiment import PRETRAIN, ModelSizes
from lxmert_tickets.data.scenes.dataset import DATA_TYPE, read_captions
from lxmert_tickets.data.tokens import encode_texts, load_tokenizer
from lxmert_tickets.data.vqa_json import image_name
from lxmert_tickets.jobs.code_digest import SCRIPTS, code_digest
from lxmert_tickets.jobs.gpus import gpu_of_this_job
from lxmert_tickets.jobs.job import job
from lxmert_tickets.model.checkpoints import save_weights
from lxmert_tickets.monitoring.watching import watching
from lxmert_tickets.training.batches import open_vqa_data
from lxmert_tickets.training.device import best_device, set_up_process
from lxmert_tickets.training.history import write_history
from lxmert_tickets.training.interruption import alone_at_run, resumable
from lxmert_tickets.training.pretraining import Captions, pretrain
from lxmert_tickets.training.recipe import PretrainingRecipe
from lxmert_tickets.training.resume import run_identity

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

code = code_digest(SCRIPTS / "pretrain.py")  # not later: files may be edited while this job waits or reads

with (
    job(snakemake.log[0]),
    alone_at_run(snakemake.output.weights),
    gpu_of_this_job(snakemake.params.jobs_per_gpu),
):
    paths, params = snakemake.input, snakemake.params
    recipe = msgspec.json.decode(params.recipe, type=PretrainingRecipe)
    set_up_process(recipe.threads, params.deterministic)  # not `snakemake.threads`: the bytes depend on it
    tokenizer = load_tokenizer(paths.tokenizer)
    vocab_size = tokenizer.get_vocab_size()
    questions = open_vqa_data(paths.questions[0], paths.features[0], best_device(), vocab_size)
    sizes = msgspec.json.decode(params.model, type=ModelSizes)
    architecture = sizes.architecture(questions.questions.n_answers, vocab_size, questions.regions.feature_dim)
    written = read_captions(paths.captions[0])
    ids, length = encode_texts(tokenizer, [text for _, text in written], params.max_length)
    names = [image_name(DATA_TYPE, PRETRAIN, image_id) for image_id, _ in written]
    captions = Captions(ids, length, questions.regions.rows_of(names, "the captions"))

    origin = provenance(snakemake.rule, params.recipe, recipe.seed, paths)
    decided = {name: msgspec.json.decode(params[name]) for name in ("recipe", "model")}
    decided |= {name: params[name] for name in ("max_length", "deterministic")}
    identity = run_identity(code, decided, origin, questions.device)

    output = snakemake.output
    with resumable([output.weights, output.history], identity, params.checkpoint_minutes) as checkpoints:
        if checkpoints is not None:
            with watching(output.weights, events=params.event_files) as watch:
                weights, history = pretrain(architecture, captions, questions, recipe, checkpoints, watch)
                tensors = {name: tensor.numpy() for name, tensor in weights.items()}
                save_weights(output.weights, tensors, architecture, origin)
                write_history(output.history, history)

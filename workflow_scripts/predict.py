"""Answers of a trained network on every evaluated split; for test splits also as EvalAI submissions."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.data.answers import read_answers
from lxmert_tickets.evaluation.predictions import save_predictions, write_submission
from lxmert_tickets.jobs.finished import forget_results
from lxmert_tickets.jobs.gpus import gpu_of_this_job
from lxmert_tickets.jobs.job import job
from lxmert_tickets.layout import resume_folder
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.checkpoints import load_weights
from lxmert_tickets.training.answering import answer_all
from lxmert_tickets.training.batches import open_vqa_data
from lxmert_tickets.training.device import best_device, set_up_process

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]), gpu_of_this_job(snakemake.params.jobs_per_gpu):
    paths, outputs, params = snakemake.input, snakemake.output, snakemake.params
    set_up_process(snakemake.threads)
    device = best_device()
    weights, architecture = load_weights(paths.weights)
    network = build_network(weights, architecture, place=paths.weights).to(device)
    del weights  # as large as the network
    words = read_answers(paths.answers)
    seed = int(snakemake.wildcards.seed)
    data = None
    submission_of = dict(zip(params.tested, outputs.submissions, strict=True))
    splits = zip(params.splits, paths.questions, paths.features, outputs.predictions, strict=True)
    for split, questions, features, output in splits:
        data = open_vqa_data(questions, features, device, architecture.vocab_size, like=data)
        chosen, scores = answer_all(network, data, params.precision)
        origin = provenance(snakemake.rule, params.precision, seed, [paths.weights, questions, features, paths.answers])
        given = [words[label] for label in chosen]
        save_predictions(output, data.questions.question_id, given, scores, {"provenance": origin})
        if split in submission_of:
            write_submission(submission_of[split], data.questions.question_id, given)
    forget_results(resume_folder(paths.weights))  # Snakemake has recorded them, or this job would not run

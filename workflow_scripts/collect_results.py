"""All scores, histories and sparsities as tidy tables: what every table and figure is drawn from."""

from itertools import product
from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import write_text
from lxmert_tickets.evaluation.accuracy import read_score
from lxmert_tickets.evaluation.evalai import older_than_submission, read_evalai_scores
from lxmert_tickets.jobs.job import job
from lxmert_tickets.report.results import collect_files, collect_question_types, collect_results

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    paths, params, output = snakemake.input, snakemake.params, snakemake.output
    scores = [
        (*which, read_score(path))
        for which, path in zip(product(params.seeds, params.models, params.splits), paths.scores, strict=True)
    ]
    scores += read_evalai_scores(paths.evalai, params.seeds, params.models)
    runs = list(product(params.seeds, params.models))
    submission_of = dict(zip(runs, params.submissions, strict=False))  # only of the first test split
    for file, submission in older_than_submission(paths.evalai, params.seeds, params.models, submission_of):
        log.warning("%s is older than %s: if the answers have changed, submit them and save the new", file, submission)
    pruned = list(product(params.seeds, params.models[1:]))  # the dense network has no mask
    tables = {
        output.results: collect_results(scores),
        output.question_types: collect_question_types(scores),
        output.histories: collect_files((*run, path) for run, path in zip(runs, paths.histories, strict=True)),
        output.sparsities: collect_files((*run, path) for run, path in zip(pruned, paths.sparsities, strict=True)),
    }
    for path, table in tables.items():
        write_text(path, table.to_csv(index=False))
        log.info("%s: %d rows", path, len(table))

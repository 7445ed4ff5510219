"""Which networks are shown, and what they are called; a separate module, since jobs that write pages need no pandas."""

from lxmert_tickets.configuration.experiment import (
    DENSE,
    PRUNING_RULES,
    Experiment,
    MagnitudeSubnetwork,
    percent_text,
)
from lxmert_tickets.layout import Layout, model_of

GRID_RULES = ("finetune", "retrain", *PRUNING_RULES, "predict", "score")
"""The rules with a job for each network."""


def shown_models(experiment: Experiment) -> tuple[str, ...]:
    """Return the networks whose answers are shown: dense, Table 1's, and the sparsest found by magnitude."""
    pruned = [(name, experiment.report.table_sparsity) for name in experiment.subnetworks]
    for name in experiment.names_of(MagnitudeSubnetwork)[:1]:
        pruned.append((name, experiment.subnetworks[name].sparsities[-1]))
    shown = {DENSE, *(model_of(name, percent_text(sparsity)) for name, sparsity in pruned)}
    return tuple(model for model in experiment.models() if model in shown)


def figure_names(experiment: Experiment) -> list[str]:
    """Return the names of the figures' files."""
    names = ["figure1", "answer_types", "question_types", "learning_curves"]
    names += ["sparsity"] if experiment.names_of(MagnitudeSubnetwork) else []
    return names + (["contact_sheet"] if experiment.data == "scenes" else [])


def shown_files(experiment: Experiment, paths: Layout) -> list[str]:
    """Return the tables, figures and pages that `rule all` requests, and the results that they show."""
    files = [paths.results, paths.question_types, paths.histories, paths.sparsities, paths.examples, paths.run_times]
    files += [f"{paths.table}.{ending}" for ending in ("csv", "md", "tex", "html")]
    files += [f"{paths.configuration}.{ending}" for ending in ("yaml", "html")]
    for figure in figure_names(experiment):
        files += [paths.figure.format(figure=figure, format=ending) for ending in ("png", "pdf", "svg")]
    return files


def subnetwork_of(model: str) -> tuple[str, float]:
    """Return subnetwork and sparsity in percent of a model's folder: ("low_magnitude", 50.0), ("dense", 0.0)."""
    if model == DENSE:
        return DENSE, 0.0
    name, sparsity = model.split("/s")
    return name, float(sparsity)


def row_label(name: str) -> str:
    """Return how the paper names a row: Full, Low-magnitude pruned, ..."""
    if name == DENSE:
        return "Full"
    return f"{name.replace('_', '-').capitalize()} pruned"


def label_of(name: str) -> str:
    """Return a subnetwork's name as a legend shows it."""
    return "full model" if name == DENSE else f"{name.replace('_', '-')} pruned"

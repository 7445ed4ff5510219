"""Whether the values of an experiment, each well-formed by itself, fit together."""

import math
import re
from collections.abc import Mapping
from typing import Any

from lxmert_tickets.configuration.experiment import (
    PRETRAIN,
    ComplementSubnetwork,
    Experiment,
    Subnetwork,
    mirror,
    percent_text,
)
from lxmert_tickets.configuration.sources import VQA2_SPLITS
from lxmert_tickets.data.scenes.regions import DESCRIPTIONS
from lxmert_tickets.errors import ConfigError, did_you_mean
from lxmert_tickets.layout import FOLDERS
from lxmert_tickets.model.shapes import matrix_shapes
from lxmert_tickets.pruning.masks import check_prunes_some
from lxmert_tickets.pruning.prunable import matching

UNKNOWN = 0  # a size that the data decides
OF_ALL_EXPERIMENTS = ("README.md", "slurm_logs")  # in results/, beside the folders of experiments


def check_consistent(experiment: Experiment) -> None:
    """Raise ConfigError for values that are well-formed but do not fit together."""
    _check_names(experiment)
    _check_unique("seeds", experiment.seeds)
    _check_sources(experiment)
    _check_splits(experiment)
    if experiment.scenes.region_features not in DESCRIPTIONS:
        raise ConfigError(
            "scenes.region_features", repr(experiment.scenes.region_features), "a description of regions",
            did_you_mean(experiment.scenes.region_features, DESCRIPTIONS),
        )  # fmt: skip
    sizes = experiment.model
    if sizes.hidden_size % sizes.n_heads:
        raise ConfigError("model.hidden_size", str(sizes.hidden_size), f"a multiple of n_heads={sizes.n_heads}")
    if sizes.max_positions < experiment.text.max_length:
        raise ConfigError(
            "model.max_positions", str(sizes.max_positions), f"at least text.max_length={experiment.text.max_length}"
        )
    _check_percent(experiment.subnetworks)
    for name in experiment.subnetworks:
        _check_subnetwork(name, experiment.subnetworks)
    _check_pruning(experiment)
    _check_table(experiment)


def _check_names(experiment: Experiment) -> None:
    if experiment.experiment in OF_ALL_EXPERIMENTS:
        name = repr(experiment.experiment)
        raise ConfigError("experiment", name, "a name that is not taken in results/", "Choose another.")
    of_folders = {"experiment": experiment.experiment}
    of_folders |= {f"scenes.sets.{name}": name for name in experiment.scenes.sets}
    of_folders |= {f"subnetworks.{name}": name for name in experiment.subnetworks}
    for place, name in of_folders.items():
        if name in FOLDERS:  # `layout.name_in_workflow` would drop what comes before it, such as the seed
            raise ConfigError(place, repr(name), f"a name other than {' and '.join(FOLDERS)}", "Choose another.")


def _check_unique(place: str, values: tuple[Any, ...]) -> None:
    for position, value in enumerate(values):
        if value in values[:position]:
            raise ConfigError(f"{place}[{position}]", f"{value} appears twice", "different values", "Remove one.")


def _check_sources(experiment: Experiment) -> None:
    source = experiment.weights.source
    if experiment.data == "vqa2" and experiment.vqa2 is None:
        raise ConfigError(
            "vqa2", "is missing", "a section that says where to get VQA v2", "Lay configs/vqa2.yaml over this."
        )
    if (experiment.data == "scenes") != (source == "pretrain"):
        expected = "pretrain" if experiment.data == "scenes" else "hub or original"
        raise ConfigError(
            "weights.source", repr(source), f"{expected} for data: {experiment.data}",
            "No published network has seen regions like those of the scenes; for VQA v2 there is no pretraining here.",
        )  # fmt: skip


def _check_splits(experiment: Experiment) -> None:
    splits = experiment.splits
    sets, of_what = (experiment.scenes.sets, "scenes.sets") if experiment.data == "scenes" else (VQA2_SPLITS, "VQA v2")
    roles = [("splits.train", splits.train), ("splits.validate", splits.validate)]
    roles += [(f"splits.test[{position}]", name) for position, name in enumerate(splits.test)]
    for place, name in roles:
        if name not in sets:
            raise ConfigError(place, repr(name), f"a set of {of_what}", did_you_mean(name, sets))
    for position, (place, name) in enumerate(roles):
        if name in [PRETRAIN, *(other for _, other in roles[:position])]:
            raise ConfigError(
                place, f"{name!r} has another role already", "a set of its own", "Labels must not leak between roles."
            )
    if experiment.data == "scenes":
        _check_scenes(experiment)
    elif (splits.train, splits.validate) != ("train", "minival"):
        raise ConfigError(
            "splits", f"{splits.train} to train, {splits.validate} to validate", "train and minival, as LXMERT has them"
        )


def _check_scenes(experiment: Experiment) -> None:
    sets = experiment.scenes.sets
    if PRETRAIN not in sets or not sets[PRETRAIN].captions_per_image:
        raise ConfigError(f"scenes.sets.{PRETRAIN}", "has no captions", "a set with captions_per_image of 1 or more")
    if not experiment.splits.test:
        raise ConfigError("splits.test", "no split", "at least one: it costs nothing here", "Copy it from config.yaml.")
    spelt: dict[str, str] = {}
    for name, images in sets.items():
        other = spelt.setdefault(re.sub("[._]", "-", name).lower(), name)
        if other != name:  # a set without a role changes nothing: sizes given to test_dev would be ignored
            raise ConfigError(
                f"scenes.sets.{name}", f"is spelt almost as {other}", "names that differ in letters or digits",
                f"To change {other}, write its name; else choose another.",
            )  # fmt: skip
        if images.questions % 2:
            raise ConfigError(
                f"scenes.sets.{name}.questions", str(images.questions), "an even number",
                f"Questions come in pairs: ask for {images.questions + 1}.",
            )  # fmt: skip
    train, batch_size = experiment.splits.train, experiment.training.batch_size
    if batch_size > sets[train].questions:
        raise ConfigError(
            "training.batch_size", str(batch_size), f"at most scenes.sets.{train}.questions={sets[train].questions}",
            "Ask for a smaller batch, or for more questions.",
        )  # fmt: skip


def _check_percent(subnetworks: Mapping[str, Subnetwork]) -> None:
    """Raise ConfigError for what look like fractions: several sparsities, all below 1 %, or none above 1 % anywhere.

    Complements are exempt: their sparsities follow from their mirror's.
    """
    own = {name: other.sparsities for name, other in subnetworks.items() if not isinstance(other, ComplementSubnetwork)}
    low = [name for name, sparsities in own.items() if max(sparsities) < 1]
    for name in low:
        if len(low) == len(own) or len(own[name]) > 1:
            raise ConfigError(
                f"subnetworks.{name}.sparsities", f"[{', '.join(map(percent_text, own[name]))}]",
                "percentages, not fractions: 50 for a half", "If these are percentages, add one above 1.",
            )  # fmt: skip


def _check_subnetwork(name: str, subnetworks: Mapping[str, Subnetwork]) -> None:
    subnetwork, place = subnetworks[name], f"subnetworks.{name}"
    _check_unique(f"{place}.sparsities", subnetwork.sparsities)
    for position, (before, after) in enumerate(zip(subnetwork.sparsities, subnetwork.sparsities[1:], strict=False)):
        if after < before:
            raise ConfigError(
                f"{place}.sparsities[{position + 1}]", f"{percent_text(after)} comes after {percent_text(before)}",
                "rising values", "Sort the list: rounds only remove.",
            )  # fmt: skip
    if isinstance(subnetwork, ComplementSubnetwork):
        _check_complement(place, subnetwork, subnetworks)


def _check_complement(place: str, subnetwork: ComplementSubnetwork, subnetworks: Mapping[str, Subnetwork]) -> None:
    others = [name for name, other in subnetworks.items() if not isinstance(other, ComplementSubnetwork)]
    parent = subnetwork.complement_of
    if parent not in others:
        raise ConfigError(
            f"{place}.complement_of", repr(parent), "a subnetwork with masks of its own", did_you_mean(parent, others)
        )
    available = [percent_text(value) for value in subnetworks[parent].sparsities]
    for position, value in enumerate(subnetwork.sparsities):
        needed = percent_text(mirror(value))
        if needed not in available:
            raise ConfigError(
                f"{place}.sparsities[{position}]",
                f"{percent_text(value)} % needs {parent} at {needed} %, which is not declared",
                f"100 minus one of {', '.join(available)}", f"Add {needed} to subnetworks.{parent}.sparsities.",
            )  # fmt: skip


def _check_pruning(experiment: Experiment) -> None:
    shapes = matrix_shapes(experiment.model.architecture(UNKNOWN, UNKNOWN, UNKNOWN))
    n_weights = [math.prod(shapes[name]) for name in matching(shapes, experiment.pruning.prunable)]
    if 0 in n_weights:  # of unknown size: the rules that prune check it
        return
    for name, subnetwork in experiment.subnetworks.items():
        for position, sparsity in enumerate(subnetwork.sparsities):
            check_prunes_some(f"subnetworks.{name}.sparsities[{position}]", sparsity, sum(n_weights))


def _check_table(experiment: Experiment) -> None:
    shown = experiment.report.table_sparsity
    trained = sorted({value for subnetwork in experiment.subnetworks.values() for value in subnetwork.sparsities})
    if shown not in trained:
        raise ConfigError(
            "report.table_sparsity", percent_text(shown),
            f"a sparsity of some subnetwork, in percent ({', '.join(map(percent_text, trained)) or 'there is none'})",
            "Add it to subnetworks, or show another one.",
        )  # fmt: skip

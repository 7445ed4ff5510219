"""`config.yaml` to one `Experiment`: every mistake is found here, and told with its place and what to do."""

from collections.abc import Mapping
from typing import Any

import msgspec
import yaml  # type: ignore[import-untyped]

from lxmert_tickets.conversion import check_plain, convert
from lxmert_tickets.data.scenes.regions import DESCRIPTIONS
from lxmert_tickets.errors import ConfigError, did_you_mean
from lxmert_tickets.experiment import (
    DENSE,
    PRETRAIN,
    ComplementSubnetwork,
    Experiment,
    MagnitudeSubnetwork,
    Part,
    RandomSubnetwork,
    Settings,
    Subnetwork,
    SubnetworkName,
    mirror,
    percent_text,
)
from lxmert_tickets.sources import VQA2_SPLITS
from lxmert_tickets.training.recipe import Positive, PositiveFloat

PLAYS_NO_PART = {"scenes": ("vqa2",), "vqa2": ("scenes", "pretraining")}


class _Lines(dict[str, Any]):
    """A section of the configuration: in YAML a line an entry, as in config.yaml."""


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes what is within a section as short as it can."""


_Dumper.add_representer(
    _Lines, lambda dumper, lines: dumper.represent_mapping("tag:yaml.org,2002:map", lines.items(), flow_style=False)
)


class Checkpoints(Part, frozen=True):
    """How running trainings are kept safe. No part of the experiment: it changes no result."""

    interval_minutes: PositiveFloat


class Gpus(Part, frozen=True):
    """How GPUs are used. No part of the experiment either."""

    trainings_per_gpu: Positive
    cuda_graphs: bool = True


class Logging(Part, frozen=True):
    """What trainings write for those who watch. No part of the experiment: it changes no result."""

    tensorboard: bool = False


def read_experiment(config: Mapping[str, Any]) -> Experiment:
    """Return the experiment that `config` (as parsed from YAML) describes.

    A subnetwork set to null is left out, so that an overlay can take one away.

    Raises:
        ConfigError: at the first thing wrong, with its place, its value, what is expected and what to do.
    """
    check_plain(config)
    plain = dict(config)
    for section, read in {"checkpoints": read_checkpoints, "gpus": read_gpus, "logging": read_logging}.items():
        read(plain)
        plain.pop(section, None)
    declared = _mapping(plain.pop("subnetworks", None), "subnetworks")
    settings: Settings = convert(plain, Settings)
    subnetworks = {
        name: _read_subnetwork(name, value, declared) for name, value in declared.items() if value is not None
    }
    parts = {field.name: getattr(settings, field.name) for field in msgspec.structs.fields(Settings)}
    experiment = Experiment(**parts, subnetworks=subnetworks)
    _check(experiment)
    return experiment


def read_checkpoints(config: Mapping[str, Any]) -> Checkpoints:
    """Return the section `checkpoints` of `config`.

    Raises ConfigError when it is missing or wrong.
    """
    found: Checkpoints = convert(_section(config, "checkpoints"), Checkpoints, "checkpoints")
    return found


def read_gpus(config: Mapping[str, Any]) -> Gpus:
    """Return the section `gpus` of `config`.

    Raises ConfigError when it is missing or wrong.
    """
    found: Gpus = convert(_section(config, "gpus"), Gpus, "gpus")
    return found


def as_overlay(config: Mapping[str, Any]) -> str:
    """Return all of `config` that decides a result, as YAML to lay over config.yaml (and configs/vqa2.yaml).

    Left out are sections of the other source of data, what changes no result, and where files are downloaded from.
    """
    left_out = {*PLAYS_NO_PART[config["data"]], "checkpoints", "gpus", "logging"}
    kept = {name: section for name, section in config.items() if name not in left_out}
    if "vqa2" in kept:
        kept["vqa2"] = {name: value for name, value in kept["vqa2"].items() if name != "sources"}
    lines = {name: _Lines(value) if isinstance(value, Mapping) else value for name, value in kept.items()}
    return str(
        yaml.dump(lines, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)
    )


def _section(config: Mapping[str, Any], name: str) -> Any:
    if name not in config:
        raise ConfigError(name, "is missing", "a value", "Copy it from config.yaml.")
    return config[name]


def read_logging(config: Mapping[str, Any]) -> Logging:
    """Return the section `logging` of `config`; what is not there is as in config.yaml.

    Raises ConfigError when it is wrong.
    """
    found: Logging = convert(config.get("logging", {}), Logging, "logging")
    return found


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(place, repr(value), "a mapping")
    return value


def _read_subnetwork(name: str, value: Any, declared: Mapping[str, Any]) -> Subnetwork:
    place = f"subnetworks.{name}"
    convert(name, SubnetworkName, place)
    if name == DENSE:
        raise ConfigError(place, "is the name of the full network", "another name", "Rename the subnetwork.")
    if "complement_of" in _mapping(value, place):
        complement: ComplementSubnetwork = convert(value, ComplementSubnetwork, place)
        return complement
    kinds: dict[str, type[Subnetwork]] = {"largest": MagnitudeSubnetwork, "random": RandomSubnetwork}
    keep = str(value.get("keep"))
    if keep not in kinds:
        remedy = did_you_mean(keep, kinds) if "keep" in value else "Say what it keeps."
        raise ConfigError(f"{place}.keep", repr(value.get("keep")), "largest, random, or complement_of instead", remedy)
    found: Subnetwork = convert(value, kinds[keep], place)
    return found


def _check(experiment: Experiment) -> None:
    """Raise ConfigError for values that are well-formed and yet do not belong together."""
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
    for name in experiment.subnetworks:
        _check_subnetwork(name, experiment.subnetworks)
    _check_table(experiment)


def _check_unique(place: str, values: tuple[Any, ...]) -> None:
    for position, value in enumerate(values):
        if value in values[:position]:
            raise ConfigError(f"{place}[{position}]", f"{value} stands there twice", "different values", "Remove one.")


def _check_sources(experiment: Experiment) -> None:
    source = experiment.weights.source
    if experiment.data == "vqa2" and experiment.vqa2 is None:
        raise ConfigError(
            "vqa2", "is missing", "a section that says where VQA v2 is", "Lay configs/vqa2.yaml over this."
        )
    if (experiment.data == "scenes") != (source == "pretrain"):
        expected = "pretrain" if experiment.data == "scenes" else "hub or original"
        raise ConfigError(
            "weights.source", repr(source), f"{expected} for data: {experiment.data}",
            "Scenes have regions of their own, which no published network has seen; VQA v2 has no pretraining here.",
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
                f"{percent_text(value)} needs {parent} at {needed}, which is not declared",
                f"100 minus one of {', '.join(available)}", f"Add {needed} to subnetworks.{parent}.sparsities.",
            )  # fmt: skip


def _check_table(experiment: Experiment) -> None:
    shown = experiment.report.table_sparsity
    trained = sorted({value for subnetwork in experiment.subnetworks.values() for value in subnetwork.sparsities})
    if shown not in trained:
        raise ConfigError(
            "report.table_sparsity", percent_text(shown),
            f"a sparsity of some subnetwork ({', '.join(map(percent_text, trained)) or 'there is none'})",
            "Add it to subnetworks, or show another one.",
        )  # fmt: skip

"""`config.yaml` to one `Experiment`: every mistake is found here, and reported with its place and remedy."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import yaml  # type: ignore[import-untyped]

from lxmert_tickets.configuration.consistency import check_consistent
from lxmert_tickets.configuration.conversion import check_plain, convert
from lxmert_tickets.configuration.experiment import (
    DENSE,
    ComplementSubnetwork,
    Experiment,
    MagnitudeSubnetwork,
    Part,
    RandomSubnetwork,
    Settings,
    Subnetwork,
    SubnetworkName,
)
from lxmert_tickets.errors import ConfigError, did_you_mean
from lxmert_tickets.training.recipe import Positive

PLAYS_NO_PART = {"scenes": ("vqa2",), "vqa2": ("scenes", "pretraining")}


class _Lines(dict[str, Any]):
    """A section of the configuration; in YAML one entry per line, as in config.yaml."""


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes what is within a section as compactly as possible."""


_Dumper.add_representer(
    _Lines, lambda dumper, lines: dumper.represent_mapping("tag:yaml.org,2002:map", lines.items(), flow_style=False)
)


class Checkpoints(Part, frozen=True):
    """How running trainings are kept safe."""

    interval_minutes: Annotated[float, msgspec.Meta(gt=0)]


class Gpus(Part, frozen=True):
    """How GPUs are used."""

    trainings_per_gpu: Positive
    cuda_graphs: bool = True


class Logging(Part, frozen=True):
    """What trainings write for monitoring."""

    tensorboard: bool = False


class Running(Part, frozen=True):
    """How trainings run; not part of the experiment, since it changes no result."""

    checkpoints: Checkpoints
    gpus: Gpus
    logging: Logging = msgspec.field(default_factory=Logging)


OF_RUNNING = {field.name for field in msgspec.structs.fields(Running)}


def read_experiment(config: Mapping[str, Any]) -> Experiment:
    """Return the experiment that `config` (as parsed from YAML) describes.

    A subnetwork set to null is left out, so that an overlay can remove one.

    Raises:
        ConfigError: at the first mistake, with its place, value, expectation and remedy.
    """
    check_plain(config)
    _check_sections(config)
    read_running(config)
    plain = {name: value for name, value in config.items() if name not in OF_RUNNING}
    if "subnetworks" not in plain:
        raise ConfigError("subnetworks", "is missing", "a mapping", "Copy it from config.yaml.")
    declared: dict[str, Any] = convert(plain.pop("subnetworks"), dict[SubnetworkName, Any], "subnetworks")
    settings: Settings = convert(plain, Settings)
    subnetworks = {
        name: _read_subnetwork(name, value, declared) for name, value in declared.items() if value is not None
    }
    experiment = Experiment(**msgspec.structs.asdict(settings), subnetworks=subnetworks)
    check_consistent(experiment)
    return experiment


def _check_sections(config: Mapping[str, Any]) -> None:
    known = OF_RUNNING | {"subnetworks"} | {field.name for field in msgspec.structs.fields(Settings)}
    for name in config:
        if isinstance(name, str) and name not in known:
            raise ConfigError(name, "is not a known key", "a key of config.yaml", did_you_mean(name, known))


def read_running(config: Mapping[str, Any]) -> Running:
    """Return the sections of `config` that change no result.

    Raises ConfigError when they are missing or wrong.
    """
    found: Running = convert({name: value for name, value in config.items() if name in OF_RUNNING}, Running)
    return found


def as_overlay(config: Mapping[str, Any]) -> str:
    """Return all of `config` that decides a result, as YAML to lay over config.yaml (and configs/vqa2.yaml).

    Omitted are sections of the other source of data, settings that change no result, and download URLs.
    """
    left_out = OF_RUNNING.union(PLAYS_NO_PART[config["data"]])
    kept = {name: section for name, section in config.items() if name not in left_out}
    if "vqa2" in kept:
        kept["vqa2"] = {name: value for name, value in kept["vqa2"].items() if name != "sources"}
    lines = {name: _Lines(value) if isinstance(value, Mapping) else value for name, value in kept.items()}
    return str(
        yaml.dump(lines, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)
    )


def _read_subnetwork(name: str, value: Any, declared: Mapping[str, Any]) -> Subnetwork:
    place = f"subnetworks.{name}"
    if name == DENSE:
        raise ConfigError(place, "is the name of the full network", "another name", "Rename the subnetwork.")
    merged = f"An overlay is merged into what is below it: give the new subnetwork another name and write {name}: null."
    if {"keep", "complement_of"} <= convert(value, dict, place).keys():
        raise ConfigError(place, "has both keep and complement_of", "one of them", merged)
    if "complement_of" in value:
        complement: ComplementSubnetwork = convert(value, ComplementSubnetwork, place)
        return complement
    kinds: dict[str, type[Subnetwork]] = {"largest": MagnitudeSubnetwork, "random": RandomSubnetwork}
    if "keep" not in value:  # a new one that is not complete, or another's name misspelt
        near = did_you_mean(name, [other for other, entry in declared.items() if other != name and entry is not None])
        remedy = f"State what it keeps{f'; or {near}' if near.startswith('did') else '.'}"
        raise ConfigError(place, "has neither keep nor complement_of", "one of them", remedy)
    keep = str(value["keep"])
    if keep not in kinds:
        expected = "largest, random, or complement_of instead"
        raise ConfigError(f"{place}.keep", repr(value["keep"]), expected, did_you_mean(keep, kinds))
    if keep == "random" and "rounds" in value:
        raise ConfigError(f"{place}.rounds", "has no meaning with keep: random", "keep: largest", merged)
    found: Subnetwork = convert(value, kinds[keep], place)
    return found

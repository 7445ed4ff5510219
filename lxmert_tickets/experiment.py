"""One experiment, as typed and frozen values: `config.yaml` is read into it once, and every mistake is found there."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from lxmert_tickets.conversion import check_finite, convert
from lxmert_tickets.data.scenes.regions import DESCRIPTIONS
from lxmert_tickets.data.scenes.world import MAX_OBJECTS
from lxmert_tickets.errors import ConfigError, did_you_mean
from lxmert_tickets.pruning.prunable import PAPER
from lxmert_tickets.training.recipe import Positive, PretrainingRecipe, TrainingRecipe

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
SubnetworkName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]*\Z")]
Percent = Annotated[float, msgspec.Meta(gt=0, lt=100)]
Sparsities = Annotated[tuple[Percent, ...], msgspec.Meta(min_length=1)]
Seeds = Annotated[tuple[Annotated[int, msgspec.Meta(ge=0)], ...], msgspec.Meta(min_length=1)]
Ranked = Literal["global", "per_tensor"]

DENSE = "dense"  # the full network's name wherever a subnetwork is named
PRETRAIN = "pretrain"  # the image set that only pretraining sees


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all parts of the configuration: frozen, and strict about names."""


class Images(Part, frozen=True):
    """One set of rendered images."""

    images: Annotated[int, msgspec.Meta(ge=2)]  # a question is asked about two
    questions: Positive
    captions_per_image: Annotated[int, msgspec.Meta(ge=0)] = 0


class Data(Part, frozen=True):
    """The embedded data set."""

    source: Literal["scenes"]
    seed: int
    regions_per_image: Annotated[int, msgspec.Meta(ge=MAX_OBJECTS)]
    region_features: str
    sets: dict[Name, Images]


class Text(Part, frozen=True):
    """Questions to tokens and answers to labels."""

    vocab_size: Annotated[int, msgspec.Meta(ge=64)]
    max_length: Annotated[int, msgspec.Meta(ge=4)]
    min_answer_count: Positive


class Splits(Part, frozen=True):
    """Which image set plays which role."""

    train: Name
    validate: Name
    test: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]


class ModelSizes(Part, frozen=True):
    """Sizes of the network that the data does not decide."""

    hidden_size: Positive
    n_heads: Positive
    intermediate_size: Positive
    n_language_layers: Positive
    n_vision_layers: Positive
    n_cross_layers: Positive
    max_positions: Positive


class Pruning(Part, frozen=True):
    """What can be pruned."""

    prunable: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = PAPER


class MagnitudeSubnetwork(Part, frozen=True):
    """Keeps the largest weights of trained networks."""

    keep: Literal["largest"]
    sparsities: Sparsities
    ranked: Ranked = "global"
    rounds: Literal["iterative", "one_shot"] = "iterative"


class RandomSubnetwork(Part, frozen=True):
    """Keeps weights drawn at random."""

    keep: Literal["random"]
    sparsities: Sparsities
    ranked: Ranked = "global"


class ComplementSubnetwork(Part, frozen=True):
    """Keeps just what another subnetwork prunes."""

    complement_of: str
    sparsities: Sparsities


Subnetwork = MagnitudeSubnetwork | RandomSubnetwork | ComplementSubnetwork


class Report(Part, frozen=True):
    """How results are shown; nothing here makes a network train again."""

    table_sparsity: Percent
    figure_width_inches: Annotated[float, msgspec.Meta(gt=0)] = 6.0
    figure_dpi: Positive = 200
    spread: Literal["std", "range"] = "std"


class Settings(Part, frozen=True):
    """`config.yaml`, but for its subnetworks."""

    experiment: Name
    seeds: Seeds
    data: Data
    text: Text
    splits: Splits
    model: ModelSizes
    pretraining: PretrainingRecipe
    training: TrainingRecipe
    pruning: Pruning
    report: Report


class Experiment(Settings, frozen=True):
    """All of `config.yaml`."""

    subnetworks: dict[str, Subnetwork]

    @property
    def evaluated_splits(self) -> tuple[str, ...]:
        """The splits that every trained network answers: the one that epochs are chosen on, then the test splits."""
        return (self.splits.validate, *self.splits.test)

    def stage(self, *sections: str) -> str:
        """Return canonical JSON of some top-level sections: what a rule hands to its script, and reruns on."""
        parts = {section: getattr(self, section) for section in sections}
        return msgspec.json.encode(parts if len(parts) > 1 else parts[sections[0]], order="sorted").decode()

    def image_set(self, split: str) -> str:
        """Return canonical JSON of what decides image set `split` of the embedded data."""
        size = self.data.sets[split]
        spec = {
            "name": split,
            "n_images": size.images,
            "n_questions": size.questions,
            "captions_per_image": size.captions_per_image,
            "n_regions": self.data.regions_per_image,
            "seed": self.data.seed,
        }
        return msgspec.json.encode(spec, order="sorted").decode()

    def names_of(self, kind: type[Subnetwork]) -> tuple[str, ...]:
        """Return the names of the subnetworks of one kind."""
        return tuple(name for name, subnetwork in self.subnetworks.items() if isinstance(subnetwork, kind))

    def models(self) -> tuple[str, ...]:
        """Return every trained network of a seed by its folder: dense, low_magnitude/s10, ..."""
        return (
            DENSE,
            *(
                f"{name}/s{percent_text(sparsity)}"
                for name, subnetwork in self.subnetworks.items()
                for sparsity in subnetwork.sparsities
            ),
        )

    def previous_sparsity(self, name: str, sparsity: str) -> str | None:
        """Return the sparsity of the round before, as it stands in paths; None when the dense network is pruned."""
        subnetwork = self.subnetworks[name]
        rounds = [percent_text(value) for value in subnetwork.sparsities]
        position = rounds.index(sparsity)
        if isinstance(subnetwork, MagnitudeSubnetwork) and subnetwork.rounds == "one_shot":
            return None
        return rounds[position - 1] if position else None

    def mirrored(self, name: str, sparsity: str) -> tuple[str, str]:
        """Return the subnetwork and the sparsity whose mask's complement is `name` at `sparsity`."""
        subnetwork = self.subnetworks[name]
        assert isinstance(subnetwork, ComplementSubnetwork)
        return subnetwork.complement_of, percent_text(_mirror(float(sparsity)))


def one_of(names: Iterable[str]) -> str:
    """Return a regular expression that matches just `names`; nothing when there are none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def percent_text(percent: float) -> str:
    """Return a sparsity as it stands in paths: 50 for 50.0, 97.5 for 97.5."""
    return np.format_float_positional(percent, trim="-")  # all digits: 86.5782272 must not meet 86.5782


def _mirror(percent: float) -> float:
    return round(100 - percent, 9)


def read_experiment(config: Mapping[str, Any]) -> Experiment:
    """Return the experiment that `config` (as parsed from YAML) describes.

    A subnetwork set to null is left out, so that an overlay can take one away.

    Raises:
        ConfigError: at the first thing wrong, with its place, its value, what is expected and what to do.
    """
    check_finite(config)
    plain = dict(config)
    declared = _mapping(plain.pop("subnetworks", None), "subnetworks")
    settings: Settings = convert(plain, Settings)
    subnetworks = {
        name: _read_subnetwork(name, value, declared) for name, value in declared.items() if value is not None
    }
    parts = {field.name: getattr(settings, field.name) for field in msgspec.structs.fields(Settings)}
    experiment = Experiment(**parts, subnetworks=subnetworks)
    _check(experiment)
    return experiment


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
    _check_splits(experiment)
    if experiment.data.region_features not in DESCRIPTIONS:
        raise ConfigError(
            "data.region_features", repr(experiment.data.region_features), "a description of regions",
            did_you_mean(experiment.data.region_features, DESCRIPTIONS),
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


def _check_splits(experiment: Experiment) -> None:
    splits, sets = experiment.splits, experiment.data.sets
    roles = [("splits.train", splits.train), ("splits.validate", splits.validate)]
    roles += [(f"splits.test[{position}]", name) for position, name in enumerate(splits.test)]
    for place, name in roles:
        if name not in sets:
            raise ConfigError(place, repr(name), "a set of data.sets", did_you_mean(name, sets))
    for position, (place, name) in enumerate(roles):
        if name in [PRETRAIN, *(other for _, other in roles[:position])]:
            raise ConfigError(
                place, f"{name!r} has another role already", "a set of its own", "Labels must not leak between roles."
            )
    if PRETRAIN not in sets or not sets[PRETRAIN].captions_per_image:
        raise ConfigError(f"data.sets.{PRETRAIN}", "has no captions", "a set with captions_per_image of 1 or more")


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
        mirror = percent_text(_mirror(value))
        if mirror not in available:
            raise ConfigError(
                f"{place}.sparsities[{position}]",
                f"{percent_text(value)} needs {parent} at {mirror}, which is not declared",
                f"100 minus one of {', '.join(available)}", f"Add {mirror} to subnetworks.{parent}.sparsities.",
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

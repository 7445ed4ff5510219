"""One experiment as typed and frozen values; `reading.read_experiment` makes it from config.yaml."""

import re
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, get_args

import msgspec
import numpy as np

from lxmert_tickets.data.scenes.world import MAX_OBJECTS
from lxmert_tickets.errors import ConfigError
from lxmert_tickets.layout import model_of
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.pruning.masks import Ranked
from lxmert_tickets.pruning.prunable import PAPER
from lxmert_tickets.training.recipe import Positive, PretrainingRecipe, TrainingRecipe

MAX_CHARACTERS = 100  # of a name; file names, which contain more, may have 255
Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z",
        max_length=MAX_CHARACTERS,
        description="a name of letters, digits, dots, dashes and underscores that begins with a letter or digit",
    ),
]
SubnetworkName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z][a-z0-9_]*\Z",
        max_length=MAX_CHARACTERS,
        description="a name of lower-case letters, digits and underscores that begins with a letter",
    ),
]
Percent = Annotated[float, msgspec.Meta(gt=0, lt=100)]
Sparsities = Annotated[tuple[Percent, ...], msgspec.Meta(min_length=1)]
Seeds = Annotated[tuple[Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)], ...], msgspec.Meta(min_length=1)]
# Reading the configuration looks at every layer's name: with a typo this must not take hours.
Layers = Annotated[int, msgspec.Meta(gt=0, le=1000)]

DENSE = "dense"  # the full network's name wherever a subnetwork is named
PRETRAIN = "pretrain"  # the image set that only pretraining sees


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all parts of the configuration: frozen, and strict about names."""


class Images(Part, frozen=True):
    """One set of rendered images."""

    images: Annotated[int, msgspec.Meta(ge=2)]  # a question is asked about two
    questions: Positive
    captions_per_image: Annotated[int, msgspec.Meta(ge=0)] = 0


class Scenes(Part, frozen=True):
    """The embedded data set."""

    seed: int
    regions_per_image: Annotated[int, msgspec.Meta(ge=MAX_OBJECTS)]
    region_features: str
    sets: dict[Name, Images]


Mirrors = Annotated[
    tuple[
        Annotated[
            str,
            msgspec.Meta(
                pattern=r"^https?://[^\s]+/\Z",
                description="an address that begins with http:// or https:// and ends with /",
            ),
        ],
        ...,
    ],
    msgspec.Meta(min_length=1),
]


class Sources(Part, frozen=True):
    """Where the files of VQA v2 are downloaded from: URLs of folders, tried in turn."""

    official: Mirrors
    prepared: Mirrors
    features: Mirrors
    weights: Mirrors
    answers: Mirrors
    vocabulary: Mirrors


class Vqa2(Part, frozen=True):
    """VQA v2 on COCO images."""

    questions: Literal["official", "lxmert"]
    minival: Literal["lxmert", "drawn"]
    minival_images: Positive
    minival_seed: int
    feature_dim: Positive
    sources: Sources


class PretrainedWeights(Part, frozen=True):
    """Where the weights that every run starts from come from."""

    source: Literal["pretrain", "hub", "original"]
    answer_head: Literal["random", "pretrained"] = "random"
    repository: str = "unc-nlp/lxmert-base-uncased"
    revision: str = "main"


class Text(Part, frozen=True):
    """Questions to tokens and answers to labels."""

    vocab_size: Annotated[int, msgspec.Meta(ge=64)]
    max_length: Annotated[int, msgspec.Meta(ge=4)]
    min_answer_count: Positive


class Splits(Part, frozen=True):
    """Which image set plays which role."""

    train: Name
    validate: Name
    test: tuple[Name, ...]


class ModelSizes(Part, frozen=True):
    """Sizes of the network that the data does not decide."""

    hidden_size: Positive
    n_heads: Positive
    intermediate_size: Positive
    n_language_layers: Layers
    n_vision_layers: Layers
    n_cross_layers: Layers
    max_positions: Positive

    def architecture(self, n_answers: int, vocab_size: int, feature_dim: int) -> Architecture:
        """Return the network of these sizes, and of those that the data decides."""
        sizes = msgspec.structs.asdict(self)
        return Architecture(n_answers=n_answers, vocab_size=vocab_size, feature_dim=feature_dim, **sizes)


class Pruning(Part, frozen=True):
    """What can be pruned."""

    prunable: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = PAPER


class MagnitudeSubnetwork(Part, frozen=True):
    """Keeps the largest weights of trained networks."""

    rule: ClassVar[str] = "prune_round"

    keep: Literal["largest"]
    sparsities: Sparsities
    ranked: Ranked = "global"
    rounds: Literal["iterative", "one_shot"] = "iterative"


class RandomSubnetwork(Part, frozen=True):
    """Keeps weights drawn at random."""

    rule: ClassVar[str] = "prune_random"

    keep: Literal["random"]
    sparsities: Sparsities
    ranked: Ranked = "global"


class ComplementSubnetwork(Part, frozen=True):
    """Keeps just what another subnetwork prunes."""

    rule: ClassVar[str] = "prune_complement"

    complement_of: str
    sparsities: Sparsities


Subnetwork = MagnitudeSubnetwork | RandomSubnetwork | ComplementSubnetwork
PRUNING_RULES: tuple[str, ...] = tuple(kind.rule for kind in get_args(Subnetwork))


class Report(Part, frozen=True):
    """How results are shown; nothing here makes a network train again."""

    table_sparsity: Percent
    figure_width_inches: Annotated[float, msgspec.Meta(ge=3, le=20)] = 6.0
    figure_dpi: Annotated[int, msgspec.Meta(ge=30, le=1200)] = 200
    spread: Literal["std", "range"] = "std"


class Settings(Part, frozen=True):
    """`config.yaml` without its subnetworks."""

    experiment: Name
    seeds: Seeds
    data: Literal["scenes", "vqa2"]
    scenes: Scenes
    text: Text
    splits: Splits
    model: ModelSizes
    weights: PretrainedWeights
    pretraining: PretrainingRecipe
    training: TrainingRecipe
    pruning: Pruning
    report: Report
    vqa2: Vqa2 | None = None


class Experiment(Settings, frozen=True, kw_only=True):
    """All of `config.yaml`."""

    subnetworks: dict[str, Subnetwork]

    @property
    def evaluated_splits(self) -> tuple[str, ...]:
        """The splits that every trained network answers: the one that epochs are chosen on, then the test splits."""
        return (self.splits.validate, *self.splits.test)

    def stage(self, section: str) -> str:
        """Return canonical JSON of one top-level section: what a rule passes to its script and reruns on."""
        return msgspec.json.encode(getattr(self, section), order="sorted").decode()

    def image_set(self, split: str) -> str:
        """Return canonical JSON of what decides image set `split` of the embedded data."""
        size = self.scenes.sets[split]
        spec = {
            "name": split,
            "n_images": size.images,
            "n_questions": size.questions,
            "captions_per_image": size.captions_per_image,
            "n_regions": self.scenes.regions_per_image,
            "seed": self.scenes.seed,
        }
        return msgspec.json.encode(spec, order="sorted").decode()

    def names_of(self, kind: type[Subnetwork]) -> tuple[str, ...]:
        """Return the names of the subnetworks of one kind."""
        return tuple(name for name, subnetwork in self.subnetworks.items() if isinstance(subnetwork, kind))

    def models(self) -> tuple[str, ...]:
        """Return every trained network of a seed by its folder: dense, low_magnitude/s10, ..."""
        pruned = [(name, sparsity) for name, found in self.subnetworks.items() for sparsity in found.sparsities]
        return (DENSE, *(model_of(name, percent_text(sparsity)) for name, sparsity in pruned))

    def previous_sparsity(self, name: str, sparsity: str) -> str | None:
        """Return the sparsity of the round before, as in paths; None when the dense network is pruned.

        Raises ConfigError for a sparsity that is not declared for the subnetwork.
        """
        before, _ = self._rounds_around(name, sparsity)
        return before[-1] if before else None

    def n_rounds_after(self, name: str, sparsity: str) -> int:
        """Return how many rounds build, one on another, on that of `name` at `sparsity` (as in paths).

        Raises ConfigError for a sparsity that is not declared for the subnetwork.
        """
        _, after = self._rounds_around(name, sparsity)
        return len(after)

    def _rounds_around(self, name: str, sparsity: str) -> tuple[list[str], list[str]]:
        """Return the sparsities of the rounds before and after one; none where rounds do not build on one another."""
        subnetwork = self.subnetworks[name]
        declared = [percent_text(value) for value in subnetwork.sparsities]
        if sparsity not in declared:
            expected = f"one of those declared: {', '.join(declared)}"
            raise ConfigError(f"subnetworks.{name}", f"requested at {sparsity} %", expected, "Declare it there.")
        if not isinstance(subnetwork, MagnitudeSubnetwork) or subnetwork.rounds == "one_shot":
            return [], []
        position = declared.index(sparsity)
        return declared[:position], declared[position + 1 :]

    def mirrored(self, name: str, sparsity: str) -> tuple[str, str]:
        """Return the subnetwork and the sparsity whose mask's complement is `name` at `sparsity`."""
        subnetwork = self.subnetworks[name]
        assert isinstance(subnetwork, ComplementSubnetwork)
        return subnetwork.complement_of, percent_text(mirror(float(sparsity)))


def one_of(names: Iterable[str]) -> str:
    """Return a regular expression that matches just `names`; nothing when there are none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def percent_text(percent: float) -> str:
    """Return a sparsity as in paths: 50 for 50.0, 97.5 for 97.5."""
    return np.format_float_positional(percent, trim="-")  # all digits: 86.5782272 must not collide with 86.5782


def mirror(percent: float) -> float:
    """Return the sparsity of the complement."""
    return round(100 - percent, 9)

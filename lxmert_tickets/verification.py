"""Whether each file was made from the files that are there now, by the digests of its inputs that it records.

Snakemake compares modification times and its own notes (`.snakemake/`); it cannot detect a file restored with its old
time, and knows nothing once the notes are lost.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lxmert_tickets.artifacts import LARGE_BYTES, file_digest, input_digest, provenance
from lxmert_tickets.configuration.experiment import (
    DENSE,
    PRUNING_RULES,
    ComplementSubnetwork,
    Experiment,
    MagnitudeSubnetwork,
)
from lxmert_tickets.downloads.receipts import read_receipt
from lxmert_tickets.errors import TicketsError
from lxmert_tickets.inspection import INSPECTORS, inspect_file
from lxmert_tickets.layout import RECEIPT, files_below, model_of

OF_A_SEED = re.compile(r"seed(\d+)")
OF_A_SPLIT = re.compile(r"(?:.*/)?(?:(?:predictions|score)\.(.+)\.(?:parquet|json)|data/([^/]+)/questions\.h5)")
TRAINED_BY = {"pretrain": "pretraining", "finetune": "training", "retrain": "training"}  # which section, by rule
# The rule's own name: where another workflow imports this one, it has a prefix.
RULE = re.compile(rf"(?:.*_)?({'|'.join([*TRAINED_BY, *PRUNING_RULES])})")
FROM_THE_NETWORK_BEFORE = ("mask.safetensors", "start.safetensors")  # all other files of a network: from its own


Recorded = dict[str, str | None]
"""By rule, the digest of settings that its files record; None where it has none."""


@dataclass
class Verified:
    """What was found: how many files record their inputs, which records are wrong, which inputs are gone."""

    n_files: int = 0
    problems: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)


def networks_of(experiment: Experiment) -> dict[str, str]:
    """Return the folder of each network, such as seed0/low_magnitude/s50, and that of the network whose pruning it is.

    "" for none: the dense network, and those that keep weights drawn at random.
    """
    found: dict[str, str] = {}
    for model in experiment.models():
        name, _, sparsity = model.partition("/s")
        subnetwork, before = experiment.subnetworks.get(name), ""
        if isinstance(subnetwork, ComplementSubnetwork):
            before = model_of(*experiment.mirrored(name, sparsity))
        elif isinstance(subnetwork, MagnitudeSubnetwork):
            previous = experiment.previous_sparsity(name, sparsity)
            before = DENSE if previous is None else model_of(name, previous)
        found |= {f"seed{seed}/{model}": before and f"seed{seed}/{before}" for seed in experiment.seeds}
    return found


def settings_of(experiment: Experiment) -> dict[str, Recorded]:
    """Return what the rules that train or prune record of their settings, by the sections that these are in."""
    settings: dict[str, Recorded] = {}
    for rule, section in TRAINED_BY.items():
        settings.setdefault(section, {})[rule] = _recorded(experiment.stage(section))
    for name, subnetwork in experiment.subnetworks.items():
        spec = None  # a complement depends on another mask alone
        if not isinstance(subnetwork, ComplementSubnetwork):
            spec = _recorded(experiment.stage("pruning") + subnetwork.ranked)
        settings[f"pruning and subnetworks.{name}"] = {subnetwork.rule: spec}
    return settings


def _recorded(spec: str) -> str:
    digest: str = provenance("", spec, None, ())["spec"]
    return digest


def files_to_verify(root: Path, networks: Collection[str]) -> list[Path]:
    """Return the files under `root`, the folder of an experiment, that may record what they were made from.

    `networks` are the folders of its networks, such as seed0/dense; there may be others from earlier configurations.
    """
    return [
        path
        for path in sorted(files_below(root))
        if path.suffix in INSPECTORS and _is_of_now(path.relative_to(root), networks)
    ]


def _is_of_now(path: Path, networks: Collection[str]) -> bool:
    if any(part.startswith(".") for part in path.parts):  # checkpoints, and files being written
        return False
    seed, *model = path.parent.parts or ("",)
    if not OF_A_SEED.fullmatch(seed):
        return True
    return path.parent.as_posix() in networks if model else any(name.startswith(f"{seed}/") for name in networks)


def verify(
    root: Path,
    files: Collection[Path],
    networks: Mapping[str, str],
    settings: Mapping[str, Recorded],
    done: Callable[[], None] = lambda: None,
) -> Verified:
    """Return what is found in `files`, most of them of the experiment in `root`, a relative path.

    `networks` and `settings` are those of the experiment, from `networks_of` and `settings_of`; `done` is called after
    each file.
    """
    found = Verified()
    digest, replaced = cache(input_digest), cache(_replaced)
    for path in files:
        try:
            origin = inspect_file(path)["provenance"]
            if isinstance(origin, dict):
                found.n_files += 1
                if section := _with_other_settings(path, origin, settings):
                    found.problems.append(f"{path}: was made with other settings; expected those of {section} now")
                _compare(path, root, origin, networks, digest, replaced, found)
        except TicketsError as error:
            found.problems.append(str(error))
        except OSError as error:  # an input that is another user's, or on a disk that fails
            said = f"{error.filename}: cannot be read ({error.strerror}); expected a file that this user can read"
            found.problems += [] if said in found.problems else [said]
        done()
    return found


def _compare(
    path: Path,
    root: Path,
    origin: dict[str, Any],
    networks: Mapping[str, str],
    digest: Callable[[str], str],
    replaced: Callable[[str], bool],
    found: Verified,
) -> None:
    below = path.relative_to(root) if root in path.parents else path
    of_seed = OF_A_SEED.fullmatch(below.parts[0])
    if of_seed and origin.get("seed") != int(of_seed[1]):
        found.problems.append(f"{path}: is of seed {origin.get('seed')}; expected seed {of_seed[1]}")
    for parent, recorded in origin.get("parents", {}).items():
        if expected := _other_place(below, parent, root, networks):
            found.problems.append(f"{path}: was made from {parent}; expected one of {expected}")
        elif not Path(parent).exists():
            found.gone.add(parent)
        elif digest(parent) != recorded:
            found.problems.append(
                f"{path}: was made from another {parent}; expected one made from the file that is there"
            )
        elif replaced(parent):
            file = Path(parent).with_suffix("")
            found.problems.append(f"{path}: was made from another {file}; expected the one of {parent}")


def _with_other_settings(path: Path, origin: dict[str, Any], settings: Mapping[str, Recorded]) -> str:
    """Return the sections whose settings `path` should have been made with; "" if it was, or none are known."""
    rule = RULE.fullmatch(str(origin.get("rule")))
    if not rule:
        return ""
    section = TRAINED_BY.get(rule[1], f"pruning and subnetworks.{path.parent.parent.name}")
    return section if section in settings and (rule[1], origin.get("spec")) not in settings[section].items() else ""


def _replaced(receipt: str) -> bool:
    """Return whether `receipt` is one, of another file than the one beside it; of a large file only the size counts.

    The file may be gone, as a zip of features that were converted.
    """
    path = Path(receipt)
    file = path.with_suffix("")
    if path.suffix != RECEIPT or not file.is_file():
        return False
    expected, size = read_receipt(path), file.stat().st_size
    return size != expected.size_bytes or (size <= LARGE_BYTES and file_digest(file) != expected.sha256)


def _other_place(path: Path, parent: str, root: Path, networks: Mapping[str, str]) -> str:
    """Return the network or split that `path`, relative to `root`, should have been made from; "" if it was.

    A copy of another network's file was made from files that are all intact: those of the other network.
    """
    place, folder = Path(parent), path.parent.as_posix()
    its_folder = place.parent.relative_to(root).as_posix() if root in place.parents else ""
    if folder in networks and its_folder in networks:
        expected = networks[folder] if path.name in FROM_THE_NETWORK_BEFORE else folder
        if its_folder != expected:
            return expected or "no other network"
    split, its_split = _split_of(path.as_posix()), _split_of(parent)
    return f"split {split}" if split and its_split and its_split != split else ""


def _split_of(path: str) -> str:
    found = OF_A_SPLIT.fullmatch(path)
    return (found[1] or found[2]) if found else ""

"""Whether each file was made from the files that are there now, by the digests of its inputs that it records.

Snakemake compares modification times and its own notes (`.snakemake/`); it cannot detect a file restored with its old
time, and knows nothing once the notes are lost.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lxmert_tickets.artifacts import input_digest
from lxmert_tickets.errors import TicketsError
from lxmert_tickets.inspection import INSPECTORS, inspect_file

OF_A_SEED = re.compile(r"seed(\d+)")


@dataclass
class Verified:
    """What was found: how many files record their inputs, which records are wrong, which inputs are gone."""

    n_files: int = 0
    problems: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)


def files_to_verify(root: Path, networks: Collection[str]) -> list[Path]:
    """Return the files under `root`, the folder of an experiment, that may record what they were made from.

    `networks` are the folders of its networks, such as seed0/dense; there may be others from earlier configurations.
    """
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.suffix in INSPECTORS and _is_of_now(path.relative_to(root), networks)
    ]


def _is_of_now(path: Path, networks: Collection[str]) -> bool:
    if any(part.startswith(".") for part in path.parts):  # checkpoints, and files being written
        return False
    seed, *model = path.parent.parts or ("",)
    if not OF_A_SEED.fullmatch(seed):
        return True
    return path.parent.as_posix() in networks if model else any(name.startswith(f"{seed}/") for name in networks)


def verify(root: Path, files: Collection[Path], done: Callable[[], None] = lambda: None) -> Verified:
    """Return what is found in `files` of the experiment in `root`, a relative path; `done` is called after each."""
    found = Verified()
    digest = cache(input_digest)
    for path in files:
        try:
            origin = inspect_file(path)["provenance"]
        except TicketsError as error:
            found.problems.append(str(error))
        else:
            if isinstance(origin, dict):
                found.n_files += 1
                _compare(path, root, origin, digest, found)
        done()
    return found


def _compare(path: Path, root: Path, origin: dict[str, Any], digest: Callable[[str], str], found: Verified) -> None:
    of_seed = OF_A_SEED.fullmatch(path.relative_to(root).parts[0])
    if of_seed and origin.get("seed") != int(of_seed[1]):
        found.problems.append(f"{path}: is of seed {origin.get('seed')}; expected seed {of_seed[1]}")
    for parent, recorded in origin.get("parents", {}).items():
        if not Path(parent).exists():
            found.gone.add(parent)
        elif digest(parent) != recorded:
            found.problems.append(
                f"{path}: was made from another {parent}; expected one made from the file that is there"
            )

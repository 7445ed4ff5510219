"""Errors that a user can fix: each names the place, what was found, what was expected and the remedy.

TicketsError
├── ConfigError      a value in the configuration
├── DataError        questions, annotations, region features, predictions
├── ArtifactError    a file written by this workflow: truncated, foreign, of another network
└── TrainingError    a run that cannot continue, such as one with a non-finite loss
"""

import difflib
import errno
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value", bound=Hashable)

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of an OSError for a full disk, an exceeded quota or a file too large."""
LOST_DISK = (errno.EIO, errno.ESTALE, errno.ENOTCONN)
"""Numbers of an OSError for a disk or file server that does not answer."""
NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE, *LOST_DISK)
"""Numbers of an OSError for a file that may be fine, but not for this process."""


def raise_if_of_the_disk(error: Exception, path: str | Path) -> None:
    """Raise `error`, naming `path`, which was read, if it is about disk or access: the file may be whole."""
    if isinstance(error, OSError) and error.errno in FULL_DISK + NO_ACCESS:
        error.filename = error.filename or str(path)
        raise error


DOWNLOAD_AGAIN = "Download it again, or delete it if the workflow made it."
"""The remedy for a damaged input, which may be either."""


class TicketsError(Exception):
    """Base of all errors raised on purpose; `str()` is one readable message."""

    def __init__(self, place: object, found: str, expected: str, remedy: str = "") -> None:
        self.place, self.found, self.expected, self.remedy = str(place), found, expected, remedy
        message = f"{place}: {found}; expected {expected}"
        super().__init__(f"{message}. {remedy}" if remedy else message)


class ConfigError(TicketsError):
    """A value in the configuration that makes the experiment impossible to run."""


class DataError(TicketsError):
    """Input data that breaks its format, or two inputs that do not belong together."""


class ArtifactError(TicketsError):
    """A file of this workflow that is damaged, of another kind, or of another network."""


class TrainingError(TicketsError):
    """A training run that cannot continue."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the nearest of `known`, else the list of known names."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names) or 'none'}"


def counted(n: int, noun: str) -> str:
    """Return "1 answer", "2,000 answers"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def repeated(values: Iterable[Value]) -> list[Value]:
    """Return the values that occur more than once, each once, in order."""
    return [value for value, count in Counter(values).items() if count > 1]


def first_few(values: Sequence[object], n_shown: int = 5) -> str:
    """Return the first of many values for a message: "3, 5, 8, 9, 11, …"."""
    return ", ".join(map(str, values[:n_shown])) + (", …" if len(values) > n_shown else "")


def listed(problems: Sequence[str], n_shown: int) -> str:
    """Return the first of many problems for a message: "a is missing; b is unknown; and 3 more"."""
    more = len(problems) - n_shown
    return "; ".join(problems[:n_shown]) + (f"; and {more} more" if more > 0 else "")

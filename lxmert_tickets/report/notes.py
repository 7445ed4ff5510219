"""What readers of scores must know about the data behind them."""

from pathlib import Path

import msgspec

from lxmert_tickets.artifacts import REMAKE
from lxmert_tickets.data.json_files import read_json


class _AboutMinival(msgspec.Struct, frozen=True):
    minival: str
    n_minival_images: int
    n_minival_questions: int


def minival_note(path: str | Path) -> str:
    """Return how minival was chosen, as a sentence, from the about.json that was written with it.

    Raises DataError, naming the file, when it is missing or damaged.
    """
    about: _AboutMinival = read_json(path, _AboutMinival, "how minival was chosen", REMAKE, if_damaged=REMAKE)
    size = f"{about.n_minival_images:,} images of val2014 with {about.n_minival_questions:,} questions"
    return f"minival is {size}, by {about.minival}."

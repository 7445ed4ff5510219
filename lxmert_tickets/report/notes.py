"""What a reader of scores must know of the data behind them."""

import json
from pathlib import Path


def minival_note(path: str | Path) -> str:
    """Return how minival was chosen, as a sentence, from the about.json that was written with it."""
    about = json.loads(Path(path).read_text(encoding="utf-8"))
    size = f"{about['n_minival_images']:,} images of val2014 with {about['n_minival_questions']:,} questions"
    return f"minival is {size}, by {about['minival']}."

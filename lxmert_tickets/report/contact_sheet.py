"""Example questions in their balanced pairs: two images, one question, two answers."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from lxmert_tickets.data.vqa_json import Annotation, Question
from lxmert_tickets.report.style import settings
from lxmert_tickets.report.turns import in_turn

N_PAIRS = 12
CELL_INCHES = 2  # per pair, roughly
CHARACTERS = 36  # per line of a question, so that neighbours do not touch
FONT_SIZE = 6.5  # in a cell of 2 inches
# As fractions of a pair's width: the space between two pairs, between two images, and for the text above and below.
PAIR_GAP, IMAGE_GAP, ABOVE, BELOW = 0.08, 0.03, 0.14, 0.09
WORD_GAP = 0.015  # between an image and its text

Pair = tuple[str, tuple[int, str], tuple[int, str]]  # question, (image id, answer) twice


def example_pairs(questions: Sequence[Question], annotations: Sequence[Annotation], n_pairs: int) -> list[Pair]:
    """Return the first balanced pairs, neighbours in the file with the same wording, of each question type in turn."""
    pairs: list[tuple[str, Pair]] = []
    neighbours = zip(questions[::2], questions[1::2], annotations[::2], annotations[1::2], strict=False)
    for first, second, about_first, about_second in neighbours:
        if first.question == second.question:
            seen = [(item.image_id, item.multiple_choice_answer) for item in (about_first, about_second)]
            pairs.append((about_first.question_type, (first.question, seen[0], seen[1])))
    return in_turn(pairs, n_pairs)


def contact_sheet(pairs: Sequence[Pair], images: Mapping[int, np.ndarray], width_inches: float) -> Figure:
    """Return a sheet of pairs; `images` are uint8 pixels (H, W, 3) by image id."""
    n_columns = max(1, round(width_inches / CELL_INCHES))
    n_rows = math.ceil(len(pairs) / n_columns)
    cell = width_inches / n_columns
    side = cell * (1 - PAIR_GAP - IMAGE_GAP) / 2  # of an image, in inches
    row_height = side + cell * (ABOVE + BELOW)
    height = n_rows * row_height
    words: dict[str, Any] = {"fontsize": FONT_SIZE * cell / CELL_INCHES, "ha": "center"}
    with mpl.rc_context(settings(width_inches)):
        figure = Figure(figsize=(width_inches, height))
        for position, (question, *seen) in enumerate(pairs):
            row, column = divmod(position, n_columns)
            left, bottom = (column + PAIR_GAP / 2) * cell, (n_rows - 1 - row) * row_height + cell * BELOW
            middle, top = left + side + cell * IMAGE_GAP / 2, bottom + side + cell * WORD_GAP
            figure.text(middle / width_inches, top / height, textwrap.fill(question, CHARACTERS), va="bottom", **words)
            for place, (image_id, answer) in enumerate(seen):
                x = left + place * (side + cell * IMAGE_GAP)
                axes = figure.add_axes((x / width_inches, bottom / height, side / width_inches, side / height))
                axes.imshow(images[image_id], interpolation="nearest")
                axes.set_axis_off()
                x, y = x + side / 2, bottom - cell * WORD_GAP
                figure.text(x / width_inches, y / height, answer, va="top", fontweight="bold", **words)
    return figure

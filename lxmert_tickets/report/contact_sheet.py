"""Example questions in their balanced pairs: two images, one question, two answers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from lxmert_tickets.data.vqa_json import Annotation, Question
from lxmert_tickets.experiment import Report
from lxmert_tickets.report.style import SETTINGS

N_COLUMNS, N_ROWS = 3, 4  # pairs

Pair = tuple[str, tuple[int, str], tuple[int, str]]  # question, (image id, answer) twice


def example_pairs(questions: Sequence[Question], annotations: Sequence[Annotation], n_pairs: int) -> list[Pair]:
    """Return the first balanced pairs of each question type in turn, as neighbours in the file share their wording."""
    by_type: dict[str, list[Pair]] = defaultdict(list)
    neighbours = zip(questions[::2], questions[1::2], annotations[::2], annotations[1::2], strict=False)
    for first, second, about_first, about_second in neighbours:
        if first.question == second.question:
            seen = [(item.image_id, item.multiple_choice_answer) for item in (about_first, about_second)]
            by_type[about_first.question_type].append((first.question, seen[0], seen[1]))
    in_turn = [pair for k in range(n_pairs) for pairs in by_type.values() for pair in pairs[k : k + 1]]
    return in_turn[:n_pairs]


def contact_sheet(pairs: Sequence[Pair], images: Mapping[int, np.ndarray], look: Report) -> Figure:
    """Return a sheet of pairs; `images` are uint8 pixels (H, W, 3) by image id."""
    with mpl.rc_context(SETTINGS):
        width = look.figure_width_inches
        figure = Figure(figsize=(width, width * 0.25 * N_ROWS), layout="constrained")
        for position, (question, *seen) in enumerate(pairs):
            cell = figure.add_subfigure(figure.add_gridspec(N_ROWS, N_COLUMNS)[divmod(position, N_COLUMNS)])
            cell.suptitle(question, fontsize=6.5)
            for axes, (image_id, answer) in zip(cell.subplots(1, 2), seen, strict=True):
                axes.imshow(images[image_id], interpolation="nearest")
                axes.set_axis_off()
                axes.set_title(answer, fontsize=7, fontweight="bold", y=-0.22)
    return figure

"""Example questions with their pictures, people's answers, and each network's answers."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from lxmert_tickets.configuration.experiment import DENSE, percent_text
from lxmert_tickets.data.asked import AskedQuestion
from lxmert_tickets.data.pictures import mime_type
from lxmert_tickets.report.names import row_label, subnetwork_of
from lxmert_tickets.report.pages import page
from lxmert_tickets.report.turns import in_turn
from lxmert_tickets.seeds import derive_seed

N_EXAMPLES = 24
N_PEOPLES_ANSWERS = 4  # ten people can disagree ten times
RIGHT, PARTLY, WRONG = "✓", "◐", "✗"
STYLE = """
#examples{display:grid;grid-template-columns:repeat(auto-fill,minmax(17em,1fr));gap:1em;margin-top:1.5em}
article{border:1px solid #ccc;border-radius:6px;padding:.8em;break-inside:avoid;font-size:.9em}
article img,.absent{display:block;width:100%;height:11em;object-fit:contain;background:#f4f4f4;border-radius:3px}
.absent{display:flex;align-items:center;justify-content:center;color:#666;overflow-wrap:anywhere;font-size:.8em}
article h2{font-size:1.05em;line-height:1.25;margin:.6em 0 .2em}
article p{margin:0 0 .4em;color:#444}
article table{width:100%;margin:0;border:0;border-top:1px solid #222}
article td,article tbody th{padding:.15em .3em;text-align:left;white-space:normal;vertical-align:top;font-weight:400}
article td{font-weight:600}article td:first-child{width:1em}
small{color:#666;font-weight:400;font-size:.85em}
.right{color:#00704f}.partly{color:#8a5a00}.wrong{color:#b34700}
#sums td{text-align:right}
@media print{#examples{grid-template-columns:repeat(3,1fr)}}
"""


class Answers(NamedTuple):
    """What one network answers: by question_id the answer, and its accuracy in percent."""

    model: str
    given: Mapping[int, str]
    accuracies: Mapping[int, float]


def choose_examples(asked: Sequence[AskedQuestion], n_examples: int) -> list[AskedQuestion]:
    """Return questions drawn from `asked`, of each question type in turn; the draw depends only on their ids."""
    by_id = sorted(asked, key=lambda question: question.question_id)
    order = np.random.default_rng(derive_seed(0, "examples")).permutation(len(by_id))
    return in_turn(((by_id[position].question_type, by_id[position]) for position in order), n_examples)


def examples_page(
    split: str, chosen: Sequence[AskedQuestion], answers: Sequence[Answers], pictures: Mapping[str, bytes]
) -> str:
    """Return the chosen questions of `split` as a page; `pictures` are encoded files by image name, if available."""
    explained = (
        f"<p>{len(chosen)} questions of {split}, chosen at random before anyone looked at an answer: all are put in "
        "one random order, and the next is taken of each kind of question in turn. Below each is what people said, "
        "the best answer first, and what the networks of the first seed answer.</p>"
        f"<p>{_mark(100)} full credit (four of the ten people, or more, said so) · {_mark(50)} part of it, in percent"
        f" · {_mark(0)} none.</p>"
    )
    cards = "".join(_card(question, answers, pictures.get(question.image)) for question in chosen)
    body = f'{explained}{_sums(chosen, answers)}<div id="examples">{cards}</div>'
    return page("Questions, and what each network answers", body, STYLE)


def model_label(model: str) -> str:
    """Return how a row names a network: "Low-magnitude pruned, 50 %", number and unit on one line."""
    name, sparsity = subnetwork_of(model)
    return row_label(name) if name == DENSE else f"{row_label(name)}, {percent_text(sparsity)}\u00a0%"


def _sums(chosen: Sequence[AskedQuestion], answers: Sequence[Answers]) -> str:
    rows = []
    for model, _, accuracies in answers:
        found = [accuracies[question.question_id] for question in chosen]
        counts = [sum(map(hold, found)) for hold in (lambda a: a >= 100, lambda a: 0 < a < 100, lambda a: a <= 0)]
        rows.append(f"<tr><th>{model_label(model)}</th>{''.join(f'<td>{count}</td>' for count in counts)}</tr>")
    head = "".join(f"<th>{_mark(accuracy)}</th>" for accuracy in (100, 50, 0))
    return f'<table id="sums"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _card(question: AskedQuestion, answers: Sequence[Answers], picture: bytes | None) -> str:
    rows = "".join(
        f"<tr><td>{_mark(accuracies[question.question_id])}</td>"
        f"<td>{_answer(given[question.question_id])}{_part(accuracies[question.question_id])}</td>"
        f"<th>{model_label(model)}</th></tr>"
        for model, given, accuracies in answers
    )
    return (
        f"<article>{_picture(question.image, picture)}<h2>{escape(question.text)}</h2>"
        f"<p>People: {_said(question)}</p><table><tbody>{rows}</tbody></table></article>\n"
    )


def _picture(image: str, picture: bytes | None) -> str:
    if picture is None:
        return f'<div class="absent">{escape(image)}</div>'
    data = base64.b64encode(picture).decode()
    return f'<img alt="{escape(image)}" title="{escape(image)}" src="data:{mime_type(picture)};base64,{data}">'


def _said(question: AskedQuestion) -> str:
    """Return what people answered, with the score of each answer that is not worth full credit."""
    best_first = sorted(question.labels or (), key=lambda label: -label[1])
    texts = [f"{_answer(answer)}{_part(100 * score)}" for answer, score in best_first[:N_PEOPLES_ANSWERS]]
    return ", ".join(texts) + (", …" if len(best_first) > N_PEOPLES_ANSWERS else "")


def _answer(answer: str) -> str:
    return escape(answer) or "<small>(nothing)</small>"  # one of LXMERT's answers is the empty string


def _part(percent: float) -> str:
    return f" <small>{percent:.0f} %</small>" if 0 < percent < 100 else ""


def _mark(percent: float) -> str:
    if percent >= 100:
        return f'<span class="right" title="full credit">{RIGHT}</span>'
    if percent > 0:
        return f'<span class="partly" title="part of the credit">{PARTLY}</span>'
    return f'<span class="wrong" title="no credit">{WRONG}</span>'

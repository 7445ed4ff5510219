"""The answer head of pretraining, with its answers mapped to those of VQA v2.

LXMERT is pretrained on 9,500 answers from three data sets, listed in its public repository as
https://raw.githubusercontent.com/airsplay/lxmert/master/data/lxmert/all_ans.json; an answer's id is its position in
that list, and the published heads, original and hub, have their rows in that order. What follows is from
`load_lxmert_qa` and `AnswerTable` in `src/pretrain/qa_answer_table.py` there.

What one would not expect of the original:

- only the answers of VQA are normalised; those of pretraining are compared as they are written;
- the normal form is not the VQA evaluator's: "zero" and "none" stay words, contractions and punctuation stay;
- a full stop is dropped once ("etc.." keeps one), and only then is white space trimmed;
- the articles go in the order a, an, the, each once and each only at the start: "the a man" is "a man", then "man"
  by the table of whole answers, which also has number words: "two" becomes "2" but "two men" stays;
- answers of the same form share a row: "grey" and "gray" start equal, and so do "2" and "two";
- an answer that pretraining never saw gets weights and a bias of 0, not random ones. Pretraining compared answers by
  softmax, whose logits have no fixed zero, so such an answer may start above or below the others.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from lxmert_tickets.artifacts import Tensors
from lxmert_tickets.data.answers import check_each_once
from lxmert_tickets.data.json_files import read_json

FINAL_LAYER = ("answer_head.logit_fc.3.weight", "answer_head.logit_fc.3.bias")
UNMATCHED = -1
EXPECTED = 'LXMERT\'s all_ans.json: a JSON list of objects with "ans" and "dsets"'
ARTICLES = ("a ", "an ", "the ")
WHOLE_ANSWERS = {
    word: str(number)
    for number, word in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 1)
} | {"grey": "gray", "a man": "man", "the man": "man", "a woman": "woman", "the woman": "woman"}


class _PretrainingAnswer(msgspec.Struct, frozen=True):
    ans: str
    dsets: tuple[str, ...] = ()


def read_pretraining_answers(path: str | Path) -> tuple[str, ...]:
    """Return the answers of pretraining; an answer's position is its row in the published answer head.

    Raises DataError when the file is missing or damaged, is not such a list, or has an answer twice.
    """
    kind = Annotated[tuple[_PretrainingAnswer, ...], msgspec.Meta(min_length=1)]
    answers = tuple(entry.ans for entry in read_json(path, kind, EXPECTED))
    check_each_once(path, answers)
    return answers


def pretraining_form(answer: str) -> str:
    """Return a VQA answer as pretraining would write it: "The grey." -> "gray", "two" -> "2"."""
    form = answer.lower()
    if form.endswith("."):
        form = form[:-1].strip()
    for article in ARTICLES:
        if form.startswith(article):
            form = form.removeprefix(article).strip()
    return WHOLE_ANSWERS.get(form, form)


def match_answers(answers: Sequence[str], pretraining: Sequence[str]) -> NDArray[np.int64]:
    """Return (A,): the row of `pretraining` that each of the A answers starts from, -1 where there is none."""
    row_of = {answer: row for row, answer in enumerate(pretraining)}
    return np.array([row_of.get(pretraining_form(answer), UNMATCHED) for answer in answers], dtype=np.int64)


def mapped_head(head: Mapping[str, np.ndarray], rows: NDArray[np.int64]) -> Tensors:
    """Return the answer head of pretraining with `rows` (A,) of its final layer; zeros where a row is -1.

    The layers before the final one are those of pretraining.
    """
    matched = rows != UNMATCHED
    mapped = dict(head)
    for name in FINAL_LAYER:
        mapped[name] = np.zeros((len(rows), *head[name].shape[1:]), dtype=head[name].dtype)
        mapped[name][matched] = head[name][rows[matched]]
    return mapped

"""The official VQA accuracy, spelled out step by step: the reference that ours is timed against and must match.

Only the tables of words and marks are shared with `lxmert_tickets.data.normalise`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lxmert_tickets.data.normalise import ARTICLES, CONTRACTIONS, DIGITS, MARKS

Annotation = Mapping[str, Any]


def clean(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


def punctuation_removed(answer: str) -> str:
    result = answer
    for mark in MARKS:
        beside_space = mark + " " in answer or " " + mark in answer
        if beside_space or re.search(r"\d,\d", answer):
            result = result.replace(mark, "")
        else:
            result = result.replace(mark, " ")
    return re.sub(r"\.(?!\d)", "", result, count=32)


def words_replaced(answer: str) -> str:
    words = []
    for word in answer.lower().split():
        number = DIGITS.get(word, word)
        if number not in ARTICLES:
            words.append(number)
    for place, word in enumerate(words):
        if word in CONTRACTIONS:
            words[place] = CONTRACTIONS[word]
    return " ".join(words)


def question_accuracy(answers: Sequence[Mapping[str, Any]], predicted: str) -> float:
    """Return the mean over people of min(1, number of others who gave the predicted answer / 3)."""
    predicted = clean(predicted)
    people = [{**person, "answer": clean(person["answer"])} for person in answers]
    if len({person["answer"] for person in people}) > 1:
        for person in people:
            person["answer"] = words_replaced(punctuation_removed(person["answer"]))
        predicted = words_replaced(punctuation_removed(predicted))
    total = 0.0
    for person in people:
        others = [other for other in people if other != person]
        same = [other for other in others if other["answer"] == predicted]
        total += min(1, len(same) / 3)
    return total / len(people)


def plain_scores(annotations: Sequence[Annotation], predictions: Sequence[tuple[int, str]]) -> dict[str, Any]:
    """Return what `Score.as_json` returns, for annotations as in the official JSON."""
    answer_of = dict(predictions)
    overall: list[float] = []
    by_answer_type: dict[str, list[float]] = {}
    by_question_type: dict[str, list[float]] = {}
    by_question: dict[str, float] = {}
    for annotation in annotations:
        accuracy = question_accuracy(annotation["answers"], answer_of[annotation["question_id"]])
        overall.append(accuracy)
        by_answer_type.setdefault(annotation["answer_type"], []).append(accuracy)
        by_question_type.setdefault(annotation["question_type"], []).append(accuracy)
        by_question[str(annotation["question_id"])] = round(100 * accuracy, 2)
    return {
        "overall": percent(overall),
        "per_answer_type": {name: percent(found) for name, found in by_answer_type.items()},
        "per_question_type": {name: percent(found) for name, found in by_question_type.items()},
        "per_question": by_question,
        "measure": "official",
    }


def percent(accuracies: Sequence[float]) -> float:
    total = 0.0
    for accuracy in accuracies:
        total += accuracy
    return round(100 * total / len(accuracies), 2)

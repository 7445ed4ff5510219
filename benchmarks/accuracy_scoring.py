"""Scoring of as many predictions as minival has, ours against a straightforward version; both must agree."""

import json
import time
from collections.abc import Sequence
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks import contenders
from benchmarks.contenders import least
from benchmarks.figures import Figure
from benchmarks.plain_accuracy import plain_scores
from lxmert_tickets.data.vqa_json import Annotation
from lxmert_tickets.evaluation.accuracy import score_predictions

N_PREDICTIONS = 26_000
SHARE_COMMON = 0.6  # of predictions give the most common answer; the others, one to the next question
ROUNDS = 3


def write_inputs(path: Path, texts: Sequence[Any], n: int) -> None:
    """Write annotations and predictions of `n` questions, made from `texts` (see tests/made_up_vqa2.py)."""
    rng = np.random.default_rng(0)
    asked = islice(cycle(texts), n + 1)
    annotations, predictions = [], []
    for number, (text, following) in enumerate(pairwise(asked)):
        most_common = max(text.answers, key=text.answers.count)
        people = [
            {"answer": answer, "answer_id": place, "answer_confidence": "yes"}
            for place, answer in enumerate(text.answers, 1)
        ]
        annotations.append({
            "question_id": number, "image_id": number, "question_type": text.question_type,
            "answer_type": text.answer_type, "multiple_choice_answer": most_common, "answers": people,
        })  # fmt: skip
        predictions.append((number, most_common if rng.random() < SHARE_COMMON else following.answers[0]))
    path.write_text(json.dumps({"annotations": annotations, "predictions": predictions}))


def prepare(path: str) -> dict[str, float]:
    from made_up_vqa2 import made_up_texts, real_texts

    real = real_texts()
    write_inputs(Path(path), real or made_up_texts(), N_PREDICTIONS)
    return {"real": bool(real)}


def ours(path: str) -> dict[str, float]:
    read = _read(path)
    annotations = msgspec.convert(read["annotations"], tuple[Annotation, ...])
    started = time.perf_counter()
    scored = score_predictions(annotations, read["predictions"])
    seconds = time.perf_counter() - started
    Path(f"{path}.ours").write_text(json.dumps(scored.as_json()))
    return {"seconds": seconds}


def peer(path: str) -> dict[str, float]:
    read = _read(path)
    started = time.perf_counter()
    scored = plain_scores(read["annotations"], read["predictions"])
    seconds = time.perf_counter() - started
    Path(f"{path}.peer").write_text(json.dumps(scored))
    return {"seconds": seconds}


def _read(path: str) -> dict[str, Any]:
    read = json.loads(Path(path).read_text())
    return {**read, "predictions": [(question_id, answer) for question_id, answer in read["predictions"]]}


def accuracy(folder: Path) -> Figure:
    """Return the seconds of both; raises ValueError if their scores differ."""
    path = folder / "accuracy.json"
    real = contenders.run("accuracy_scoring", "prepare", path)["real"]
    found = contenders.alternate("accuracy_scoring", ["ours", "peer"], path, rounds=ROUNDS)
    scores = [json.loads(Path(f"{path}.{contender}").read_text()) for contender in ("ours", "peer")]
    if scores[0] != scores[1]:
        raise ValueError(f"accuracy: ours is {scores[0]['overall']}, the plain version's {scores[1]['overall']}")
    note = (
        f"{N_PREDICTIONS} predictions for {'real' if real else 'made-up'} questions, scored alike by both "
        f"({scores[0]['overall']} %, each type and question); no floor: text is compared, not computed"
    )
    return Figure("accuracy", least(found["ours"], "seconds"), least(found["peer"], "seconds"), None, note)


CONTENDERS = {"prepare": prepare, "ours": ours, "peer": peer}

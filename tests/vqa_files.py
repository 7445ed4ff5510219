"""Files of VQA v2 as others make them, for the tests of several folders; nothing here is the package's own code."""

import gzip
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lxmert_tickets.data.features import Features


def features_of(names: list[str]) -> Features:
    """Return features that are all zero, for images of these names."""
    nothing = np.zeros((len(names), 1, 4), dtype=np.float16)
    row_of = {name: row for row, name in enumerate(names)}
    return Features(Path("features.h5"), nothing, nothing, nothing[:, 0, :2], tuple(names), row_of)


def zipped(path: Path, *names: str, method: int = zipfile.ZIP_DEFLATED, mode: Any = "w", **contents: Any) -> Path:
    """Write a zip whose members hold, as JSON, their own names, or all the same `content`."""
    with zipfile.ZipFile(path, mode, method) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of members with the same name
        for name in names:
            file.writestr(name, "" if name.endswith("/") else json.dumps(contents.get("content", name)))
    return path


def load(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())


def prepared_records(questions: Path, annotations: Path | None, vocabulary: list[str]) -> list[dict[str, Any]]:
    """Return the records of LXMERT's prepared files by its rules; without annotations those of test.json.

    An answer of the vocabulary that one, two, three or more of the ten people typed has a score of .3, .6, .9 or 1.
    """
    asked = load(questions)
    answered = {entry["question_id"]: entry for entry in load(annotations)["annotations"]} if annotations else {}
    words, records = set(vocabulary), []
    for entry in asked["questions"]:
        image = f"COCO_{asked['data_subtype']}_{str(entry['image_id']).zfill(12)}"
        record = {"img_id": image, "question_id": entry["question_id"], "sent": entry["question"]}
        if annotations:
            known = answered[entry["question_id"]]
            typed = [human["answer"] for human in known["answers"]]
            record["label"] = {
                answer: {1: 0.3, 2: 0.6, 3: 0.9}.get(typed.count(answer), 1) for answer in typed if answer in words
            }
            record |= {key: known[key] for key in ("question_type", "answer_type")}
        records.append(record)
    return records

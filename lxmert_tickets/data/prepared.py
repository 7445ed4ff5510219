"""Questions as LXMERT's authors prepared them: one JSON list per split, with questions and soft labels.

The layout is that of train.json, nominival.json, minival.json and test.json of https://github.com/airsplay/lxmert. A
record has question_id, img_id (the image's name in the feature files) and sent (the question); where answers are known,
also label ({answer: score}, already cut to LXMERT's vocabulary), question_type and answer_type.
"""

from collections.abc import Iterator
from sys import intern
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from lxmert_tickets.data.asked import AskedQuestion, shared
from lxmert_tickets.data.json_files import JsonFile, Records
from lxmert_tickets.data.vqa_json import Id

NAMED = "Use train.json, nominival.json, minival.json or test.json of LXMERT, or the official files."

Score = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Prepared(msgspec.Struct, frozen=True, gc=False):
    question_id: Id
    img_id: Annotated[str, msgspec.Meta(min_length=1)]
    sent: str
    label: dict[str, Score] | UnsetType = UNSET
    question_type: str | UnsetType = UNSET
    answer_type: str | UnsetType = UNSET


def asked_as_prepared(file: JsonFile) -> Iterator[AskedQuestion]:
    """Yield the questions of a prepared file, in their order.

    Raises DataError, naming the record, for one of another layout, and when only some have labels.
    """
    raw: list[msgspec.Raw] = file.decode(list[msgspec.Raw], NAMED)
    records: Records[_Prepared] = Records(file, raw, "$", _Prepared, NAMED)
    labelled: bool | None = None
    for position, record in enumerate(records):
        has_label = record.label is not UNSET
        if labelled is None:
            labelled = has_label
        elif labelled != has_label:
            found = f"{'a' if has_label else 'no'} label, unlike the records before"
            raise records.error(position, found, "a label in every record, or in none", NAMED)
        yield _asked(records, position, record)


def _asked(records: Records[_Prepared], position: int, record: _Prepared) -> AskedQuestion:
    image = intern(record.img_id)  # five questions share an image
    if record.label is UNSET:
        return AskedQuestion(record.question_id, image, record.sent)
    if record.question_type is UNSET or record.answer_type is UNSET:
        missing = "question_type" if record.question_type is UNSET else "answer_type"
        raise records.error(position, f"a label but no {missing}", "question_type and answer_type with each label")
    kinds = intern(record.question_type), intern(record.answer_type)
    return AskedQuestion(record.question_id, image, record.sent, *kinds, shared(record.label.items()))

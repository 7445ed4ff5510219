"""Encode questions as arrays: tokens, rows of the features, soft labels."""

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from lxmert_tickets.data.answers import within_vocabulary
from lxmert_tickets.data.asked import AskedQuestion
from lxmert_tickets.data.features import Features, check_images_present
from lxmert_tickets.data.questions import EncodedQuestions
from lxmert_tickets.data.tokens import encode_texts


def encode_questions(
    asked: Sequence[AskedQuestion],
    features: Features,
    tokenizer: Tokenizer,
    answers: Sequence[str],
    max_length: int,
) -> EncodedQuestions:
    """Return the questions, in their order, as tokens (see `encode_texts`), rows of `features` and soft labels.

    `asked` are those of a split, from `read_split`: all have labels, or none. Labels are restricted to the vocabulary
    `answers`. A split is labelled when its questions have labels, even if none is in the vocabulary.

    Raises DataError when an image has no features.
    """
    check_images_present(features, [question.image for question in asked])
    input_ids, length = encode_texts(tokenizer, [question.text for question in asked], max_length)
    label_start, label_answer, label_score = _labels(asked, answers)
    return EncodedQuestions(
        question_id=np.array([question.question_id for question in asked], dtype=np.int64),
        image_row=np.array([features.row_of[question.image] for question in asked], dtype=np.int64),
        input_ids=input_ids,
        length=length,
        label_start=label_start,
        label_answer=label_answer,
        label_score=label_score,
        n_answers=len(answers),
        labelled=not asked or asked[0].labels is not None,
    )


def _labels(asked: Sequence[AskedQuestion], answers: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return label_start, label_answer and label_score of EncodedQuestions."""
    index_of = {answer: index for index, answer in enumerate(answers)}
    counts, chosen, scores = [0], list[int](), list[float]()
    for question in asked:
        found = within_vocabulary(question.labels or (), index_of)
        counts.append(len(found))
        chosen += [answer for answer, _ in found]
        scores += [score for _, score in found]
    return (
        np.cumsum(counts, dtype=np.int64),
        np.array(chosen, dtype=np.int32),
        np.array(scores, dtype=np.float32),
    )

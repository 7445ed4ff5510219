"""Answers in the form in which the official VQA evaluator compares them.

Source: the evaluator of https://github.com/GT-Vision-Lab/VQA (`vqaEval.py`), which is also what EvalAI runs. Published
accuracies depend on its quirks, so they are kept and named here rather than fixed.
"""

import re
from functools import lru_cache

MARKS = frozenset(';/[]"{}()=+\\_-><@`,?!')
"""Punctuation that is dropped or becomes a space; `: $ % & ' * # ~ | ^` are not, and the period has its own rule."""

MAX_PERIODS_REMOVED = 32
"""The evaluator passes the flag re.UNICODE, which is 32, where `re.sub` takes its count."""

ARTICLES = frozenset({"a", "an", "the"})

DIGITS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}

RESTORED_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
    he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've
    must've mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've
    somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's
    something'd something'd've something'll that's there'd there'd've there're there's
    they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't
    what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've
    why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've
    you'd you'd've you'll you're you've
"""
"""Restored by the evaluator where one apostrophe is missing; i'm, i've, let's and she's are not."""

_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_PERIOD_NOT_BEFORE_A_DIGIT = re.compile(r"\.(?!\d)")
_MARK_OR_PERIOD = re.compile(rf"[.{re.escape(''.join(sorted(MARKS)))}]")


def _without_one_apostrophe(word: str) -> list[str]:
    return [word[:at] + word[at + 1 :] for at, letter in enumerate(word) if letter == "'"]


CONTRACTIONS = {
    lacking: word for word in RESTORED_CONTRACTIONS.split() for lacking in _without_one_apostrophe(word)
} | {
    "somebody'd": "somebodyd"  # the evaluator's table has this pair the wrong way round
}


@lru_cache(maxsize=1 << 17)
def clean_whitespace(text: str) -> str:
    """Return `text` with newlines and tabs replaced by spaces, and white space stripped from both ends.

    Other white space inside, such as a carriage return, stays.
    """
    return text.replace("\n", " ").replace("\t", " ").strip()


def process_punctuation(text: str) -> str:
    """Return `text` with its marks dropped or replaced by spaces, and without periods not followed by a digit.

    All occurrences of a mark are treated alike, as decided on the original text: dropped if one of them touches a
    space, or if a comma is between two digits anywhere in the text ("1,000 t-shirts" -> "1000 tshirts"); otherwise
    each becomes a space ("t-shirt" -> "t shirt"). At most 32 periods are removed.
    """
    if not _MARK_OR_PERIOD.search(text):
        return text
    thousands = _DIGIT_COMMA_DIGIT.search(text) is not None
    fate = {
        ord(mark): "" if thousands or f"{mark} " in text or f" {mark}" in text else " "
        for mark in MARKS.intersection(text)
    }
    return _PERIOD_NOT_BEFORE_A_DIGIT.sub("", text.translate(fate), count=MAX_PERIODS_REMOVED)


def process_digits_and_articles(text: str) -> str:
    """Return `text` in lower case, single-spaced: "none" and zero..ten as digits, no articles, contractions restored.

    "The two cats dont" -> "2 cats don't". Words that only look like articles are dropped too: the option "a",
    and the "a" of "a/c", which arrives here as "a c".
    """
    numbered = (DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in numbered if word not in ARTICLES)


@lru_cache(maxsize=1 << 17)  # annotators repeat themselves: VQA v2 has far fewer distinct answers than answers
def normalise(text: str) -> str:
    """Return `text`, its white space already cleaned, as the evaluator compares it: punctuation first, then words."""
    return process_digits_and_articles(process_punctuation(text))

"""Questions as word pieces: BERT's lower-cased WordPiece (Devlin et al. 2019), trained here or taken from BERT."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer

from lxmert_tickets.artifacts import write_text
from lxmert_tickets.errors import DOWNLOAD_AGAIN, DataError, repeated

PAD, UNKNOWN, START, END, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD_ID = 0
CONTINUES = "##"
"""Prefix of every piece but the first of a word."""

BATCH = 8192


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Return a lower-casing WordPiece tokenizer with a vocabulary of at most `vocab_size`, trained on `texts`.

    [PAD] [UNK] [CLS] [SEP] [MASK] have ids 0 to 4, followed by every character of the texts, as the start and as
    the continuation of a word, so that no word made of them is unknown. Equal texts give equal ids.

    Raises DataError when the characters alone exceed `vocab_size`.
    """
    lines = list(texts)
    lower = _normalizer()
    characters = sorted({letter for line in lines for letter in lower.normalize_str(line) if not letter.isspace()})
    # Left to itself, the trainer numbers characters in the random order of a hash map, and breaks ties between
    # merges by these numbers: two runs then differ in ids and even in pieces. Naming all characters fixes the order.
    first = [*SPECIAL_TOKENS, *characters, *(CONTINUES + letter for letter in characters)]
    if len(first) > vocab_size:
        expected = f"at least {len(first)}: 5 special tokens and {len(characters)} characters, each in two places"
        raise DataError("vocabulary of the tokenizer", f"vocab_size is {vocab_size}", expected)
    pieces = Tokenizer(WordPiece(unk_token=UNKNOWN))
    pieces.normalizer, pieces.pre_tokenizer = lower, BertPreTokenizer()
    pieces.train_from_iterator(
        lines, WordPieceTrainer(vocab_size=vocab_size, special_tokens=first, show_progress=False)
    )
    return _bert_tokenizer(pieces.get_vocab())


def save_tokenizer(path: str | Path, tokenizer: Tokenizer) -> None:
    """Write `tokenizer` atomically as tokenizer.json; equal tokenizers give equal bytes."""
    write_text(path, tokenizer.to_str(pretty=True) + "\n")


def load_tokenizer(path: str | Path, n_tokens: int | None = None) -> Tokenizer:
    """Return the tokenizer in a tokenizer.json, or BERT's tokenizer for a plain vocab.txt (one token per line).

    Raises DataError when the file is missing or damaged, lacks a special token, has another token than [PAD] as id 0,
    or does not have exactly `n_tokens` tokens, as many as the network published with it.
    """
    tokenizer = _load_tokenizer(path)
    if n_tokens is not None and (found := tokenizer.get_vocab_size()) != n_tokens:
        remedy = "Take the vocabulary of bert-base-uncased, or correct text.vocab_size."
        raise DataError(path, f"{found} tokens", f"{n_tokens}, as the network has", remedy)
    return tokenizer


def _load_tokenizer(path: str | Path) -> Tokenizer:
    expected = "a tokenizer.json, or a vocab.txt with one token a line"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read ({error})", expected) from None
    if not text.startswith("{"):
        return _bert_tokenizer(_read_vocabulary(path, text))
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises plain Exception
        raise DataError(path, f"not a tokenizer ({error})", expected, DOWNLOAD_AGAIN) from None
    _check_special_tokens(path, tokenizer.get_vocab())
    tokenizer.no_truncation()  # published files may carry the settings of some other task
    tokenizer.no_padding()
    return tokenizer


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of `texts`, int32 (n, longest), padded with 0, and their lengths, int32 (n).

    Each is [CLS] … [SEP], cut so that both fit within `max_length`, at least 2; `longest` is the length of the
    longest here.
    """
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    ids = np.full((len(texts), max_length), PAD_ID, dtype=np.int32)
    lengths = np.zeros(len(texts), dtype=np.int32)
    for first in range(0, len(texts), BATCH):  # an encoding is about a hundred times larger than its ids
        encodings = tokenizer.encode_batch_fast(list(texts[first : first + BATCH]), add_special_tokens=False)
        for row, encoding in enumerate(encodings, start=first):
            sentence = np.array([start, *encoding.ids[: max_length - 2], end], dtype=np.int32)
            lengths[row] = len(sentence)
            ids[row, : len(sentence)] = sentence
    return np.ascontiguousarray(ids[:, : lengths.max(initial=0)]), lengths


def _bert_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=100))
    tokenizer.normalizer, tokenizer.pre_tokenizer = _normalizer(), BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(token, vocabulary[token]) for token in (START, END)],
    )
    return tokenizer


def _normalizer() -> BertNormalizer:
    return BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)


def _read_vocabulary(path: str | Path, text: str) -> dict[str, int]:
    tokens = text.removesuffix("\n").split("\n")
    if twice := repeated(tokens):
        raise DataError(path, f"the token {twice[0]!r} occurs twice", "each token once", DOWNLOAD_AGAIN)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    _check_special_tokens(path, vocabulary)
    return vocabulary


def _check_special_tokens(path: str | Path, vocabulary: dict[str, int]) -> None:
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing:
        raise DataError(path, f"no {', '.join(missing)} in it", f"{' '.join(SPECIAL_TOKENS)}, as BERT has them")
    if vocabulary[PAD] != PAD_ID:
        raise DataError(path, f"{PAD} has id {vocabulary[PAD]}", f"id {PAD_ID}, with which questions are padded")

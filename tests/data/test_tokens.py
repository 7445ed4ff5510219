"""Word pieces: BERT's ids for BERT's vocabulary, and a reproducible vocabulary of our own."""

import os
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lxmert_tickets.data import tokens
from lxmert_tickets.data.tokens import (
    SPECIAL_TOKENS,
    encode_texts,
    load_tokenizer,
    save_tokenizer,
    train_tokenizer,
)
from lxmert_tickets.data.vqa_json import read_questions
from lxmert_tickets.errors import DataError

TEXTS = ["Is the cube red?", "Is the red cube left of the blue cone?", "How many cubes are there?"]
TOKENIZER = train_tokenizer(TEXTS, vocab_size=80)


def words_of(tokenizer: Tokenizer) -> list[str]:
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def ids_by_the_book(vocabulary: dict[str, int], text: str) -> list[int]:
    """BERT's tokenizer for plain Latin text, as its paper's code describes it: split, then longest piece first."""
    bare = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    ids = []
    for word in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", bare):
        pieces, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in vocabulary)
            end = next(ends, None)
            if end is None:
                pieces = [vocabulary["[UNK]"]]
                break
            pieces.append(vocabulary[prefix + word[start:end]])
            start = end
        ids += pieces
    return [vocabulary["[CLS]"], *ids, vocabulary["[SEP]"]]


@pytest.fixture(scope="module")
def real_questions(shared_data: Path) -> list[str]:
    paths = [
        shared_data / f"vqa2-sample/v2_OpenEnded_mscoco_{part}_sample_questions.json.gz" for part in ("train", "valid")
    ]
    return [asked.question for path in paths for asked in read_questions(path).questions]


@pytest.fixture(scope="module")
def vocab_txt(real_questions: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BERT's own vocabulary if $LXT_BERT_VOCAB names it, else one of the same size and kind from real text."""
    if given_path := os.environ.get("LXT_BERT_VOCAB"):
        return Path(given_path)
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in vocabulary_like_berts(real_questions)), encoding="utf-8")
    return path


def vocabulary_like_berts(texts: list[str]) -> list[str]:
    """Return 30,522 tokens in BERT's order: specials and unused, characters, frequent words, pieces of the others."""
    bare = [unicodedata.normalize("NFD", text.lower()) for text in texts]
    words = [word for word, _ in Counter(re.findall(r"\w+", " ".join(bare))).most_common()]
    characters = [*sorted(set("".join(bare)) - {" "}), "水", "ß"]
    known = words[: len(words) // 2]  # the rarer half is covered by its pieces
    ends = Counter("##" + word[-size:] for word in words for size in range(2, 14) if len(word) > size)
    begins = Counter(word[:size] for word in words for size in range(2, 14) if len(word) > size)
    pieces = [piece for piece, _ in (ends + begins).most_common()]
    unused = [f"[unused{number}]" for number in range(994)]
    special = ["[PAD]", *unused[:99], "[UNK]", "[CLS]", "[SEP]", "[MASK]", *unused[99:]]
    tokens = [*special, *characters, *known, *("##" + letter for letter in characters), *pieces]
    return list(dict.fromkeys(tokens))[:30_522]


@pytest.fixture(scope="module")
def berts(vocab_txt: Path) -> dict[str, Any]:
    """The tokenizers of transformers: today's, and the Python one that BERT was published with."""
    transformers = pytest.importorskip("transformers")
    return {
        "today's": transformers.BertTokenizer(vocab=str(vocab_txt), do_lower_case=True),
        "the first": transformers.BertTokenizerLegacy(vocab_file=str(vocab_txt), do_lower_case=True),
    }


def ids_of(tokenizer: Tokenizer, texts: list[str], max_length: int = 20) -> list[list[int]]:
    ids, lengths = encode_texts(tokenizer, texts, max_length)
    return [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]


def test_ids_of_all_real_questions_match_transformers(
    real_questions: list[str], vocab_txt: Path, berts: dict[str, Any]
) -> None:
    found = ids_of(load_tokenizer(vocab_txt), real_questions)
    assert (len(found), load_tokenizer(vocab_txt).get_vocab_size()) == (57_038, 30_522)
    assert found == berts["today's"](real_questions, truncation=True, max_length=20)["input_ids"]
    unlike = [
        text
        for text, ids in list(zip(real_questions, found, strict=True))[::10]
        if ids != berts["the first"](text, truncation=True, max_length=20)["input_ids"]
    ]
    assert unlike == []


# Only assigned code points: of the others, the first tokenizer drops some that today's keeps.
CODES = [*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x391, 0x3CA)]
LETTERS = st.sampled_from([chr(code) for code in CODES if unicodedata.category(chr(code)) != "Cn"])
AWKWARD = st.sampled_from(
    ["\t", "\n", "\r", "\x00", "\x07", "\x7f", "\ufffd", "\u200b", "\u00ad", "\u2028", "\u3000", "水", "ß", "İ", "é",
     "𠀀", "😀", "[UNK]", "[MASK]", "##s", "don't", "x" * 101, "¿", "“", "…", "가", "กำ"]
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LETTERS | AWKWARD, max_size=40).map("".join), st.integers(2, 24))
def test_ids_of_any_text_match_transformers(vocab_txt: Path, berts: dict[str, Any], text: str, max_length: int) -> None:
    [found] = ids_of(loaded(vocab_txt), [text], max_length)
    for name, tokenizer in berts.items():
        assert found == tokenizer(text, truncation=True, max_length=max_length)["input_ids"], name


@cache
def loaded(path: Path) -> Tokenizer:
    return load_tokenizer(path)


def test_ids_of_real_questions_follow_the_rules_of_berts_paper(real_questions: list[str], vocab_txt: Path) -> None:
    tokenizer = load_tokenizer(vocab_txt)
    latin = [text for text in real_questions[::10] if text.isascii() and text.isprintable()]
    ids, lengths = encode_texts(tokenizer, latin, max_length=100)
    vocabulary = tokenizer.get_vocab()
    expected = [ids_by_the_book(vocabulary, text) for text in latin]
    assert [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)] == expected


@given(st.text("isthecube red?És#[]Q9\t'", max_size=30))
def test_any_text_follows_the_rules_of_berts_paper(text: str) -> None:
    ids, lengths = encode_texts(TOKENIZER, [text], max_length=100)
    assert ids[0, : lengths[0]].tolist() == ids_by_the_book(TOKENIZER.get_vocab(), text)


def test_special_tokens_come_first_and_padding_is_zero() -> None:
    assert tuple(words_of(TOKENIZER)[:5]) == SPECIAL_TOKENS == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def test_frequent_words_are_one_piece_and_case_and_accents_do_not_matter() -> None:
    assert TOKENIZER.encode("CUBE the Réd?").tokens == ["[CLS]", "cube", "the", "red", "?", "[SEP]"]


def test_only_words_with_unknown_characters_are_unknown() -> None:
    assert "[UNK]" not in TOKENIZER.encode("dearth bolt").tokens
    assert TOKENIZER.encode("zebra").tokens == ["[CLS]", "[UNK]", "[SEP]"]


TRAIN_AND_PRINT = """
import sys
from lxmert_tickets.data.tokens import train_tokenizer
texts = [f"{a}{b} is {b}{a}{c}?" for a in "abcdefgh" for b in "ijklmnop" for c in "xyz"]
sys.stdout.write(train_tokenizer(iter(texts), 150).to_str())
"""


def test_training_gives_equal_ids_in_every_process() -> None:
    project = Path(__file__).resolve().parents[2]
    runs = {subprocess.check_output([sys.executable, "-c", TRAIN_AND_PRINT], cwd=project) for _ in range(4)}
    assert len(runs) == 1


def test_the_vocabulary_respects_its_size_and_one_too_small_for_the_characters_is_refused() -> None:
    assert TOKENIZER.get_vocab_size() <= 80
    characters = ["?", "a", "b", "##?", "##a", "##b"]
    assert words_of(train_tokenizer(["b a?"], vocab_size=11)) == [*SPECIAL_TOKENS, *characters]
    with pytest.raises(DataError, match=r"vocab_size is 10; expected at least 11: 5 special tokens and 3 characters"):
        train_tokenizer(["b a?"], vocab_size=10)


def test_texts_get_cls_and_sep_and_are_padded_with_0_to_the_longest() -> None:
    ids, lengths = encode_texts(TOKENIZER, ["the cube", "", "is the cube red?"], max_length=20)
    assert (ids.dtype, lengths.dtype) == (np.int32, np.int32)
    assert lengths.tolist() == [4, 2, 7]
    assert ids.shape == (3, 7)
    assert [TOKENIZER.id_to_token(number) for number in ids[0]] == ["[CLS]", "the", "cube", "[SEP]"] + ["[PAD]"] * 3


def test_long_texts_are_cut_before_the_last_separator() -> None:
    ids, lengths = encode_texts(TOKENIZER, ["the " * 50, "cube"], max_length=5)
    assert ids.shape == (2, 5)
    assert [TOKENIZER.id_to_token(number) for number in ids[0]] == ["[CLS]", "the", "the", "the", "[SEP]"]
    assert lengths.tolist() == [5, 3]


@given(st.lists(st.sampled_from([*TEXTS, "", "the " * 30]), max_size=8), st.integers(2, 24))
def test_a_text_gets_the_same_ids_alone_and_in_a_batch(texts: list[str], max_length: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "BATCH", 3)
        ids, lengths = encode_texts(TOKENIZER, texts, max_length)
    assert ids.shape == (len(texts), max(lengths, default=0))
    assert all(length <= max_length for length in lengths)
    for text, row, length in zip(texts, ids, lengths, strict=True):
        assert encode_texts(TOKENIZER, [text], max_length)[0].tolist() == [row[:length].tolist()]
        assert not row[length:].any()


def test_a_tokenizer_is_loaded_as_saved_and_saves_again_to_equal_bytes(tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "a.json", TOKENIZER)
    save_tokenizer(tmp_path / "b.json", load_tokenizer(tmp_path / "a.json"))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert load_tokenizer(tmp_path / "a.json").encode("is it red?").ids == TOKENIZER.encode("is it red?").ids


def test_truncation_and_padding_settings_in_a_published_file_do_not_matter(tmp_path: Path) -> None:
    other = Tokenizer.from_str(TOKENIZER.to_str())
    other.enable_truncation(3)
    other.enable_padding(length=512)
    save_tokenizer(tmp_path / "a.json", other)
    texts = [*TEXTS, "cube"]
    for found, expected in zip(
        encode_texts(load_tokenizer(tmp_path / "a.json"), texts, 20), encode_texts(TOKENIZER, texts, 20), strict=True
    ):
        assert np.array_equal(found, expected)


SPECIAL = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("tokenizer.json", "{", "not a tokenizer"),
        ("tokenizer.json", '{"version": "1.0"}', "not a tokenizer"),
        ("vocab.txt", SPECIAL.replace("[SEP]\n", "") + "a\n", r"no \[SEP\] in it"),
        ("vocab.txt", "a\n" + SPECIAL, r"\[PAD\] has id 1; expected id 0"),
        ("vocab.txt", SPECIAL + "a\nb\na\n", "the token 'a' occurs twice"),
        ("vocab.txt", "", r"no \[PAD\]"),
    ],
)
def test_a_broken_tokenizer_is_refused(tmp_path: Path, name: str, content: str, found: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=found):
        load_tokenizer(tmp_path / name)


def test_a_tokenizer_without_special_tokens_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(TOKENIZER.to_str().replace("[MASK]", "[OTHER]"))
    with pytest.raises(DataError, match=r"no \[MASK\] in it"):
        load_tokenizer(tmp_path / "other.json")
    with pytest.raises(DataError, match="cannot be read"):
        load_tokenizer(tmp_path / "absent.json")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_vocabulary_may_have_any_line_ending(tmp_path: Path, end: str) -> None:
    (tmp_path / "vocab.txt").write_bytes((SPECIAL + "red\n##s\n").replace("\n", end).encode())
    assert load_tokenizer(tmp_path / "vocab.txt").encode("Reds").ids == [2, 5, 6, 3]


def test_a_vocabulary_of_another_size_than_the_networks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL_TOKENS, "cat", "dog"]) + "\n")
    assert load_tokenizer(path, 7).get_vocab_size() == 7
    with pytest.raises(DataError, match=r"vocab\.txt: 7 tokens; expected 30522, as the network has\. .*vocab_size"):
        load_tokenizer(path, 30_522)

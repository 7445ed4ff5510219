"""Examples are drawn whatever the answers, and show question, picture, and answers of people and every network."""

import base64
import random
import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.data.asked import AskedQuestion
from lxmert_tickets.report.examples import Answers, choose_examples, examples_page

LABELS = (("red", 1.0), ("<dark> red", 0.6), ("", 0.3))
QUESTION = AskedQuestion(7, "SCENES_val_000000000001", 'Is "it" <b>red</b> & round?', "is it", "yes/no", LABELS)
PNG = b"\x89PNG and so on"
ANSWERS = [
    Answers("dense", {7: "red"}, {7: 100.0}),
    Answers("low_magnitude/s50", {7: "<dark> red"}, {7: 60.0}),
    Answers("random/s97.5", {7: ""}, {7: 0.0}),
]

questions = st.lists(
    st.builds(AskedQuestion, st.integers(0, 10**9), st.just("image"), st.just("?"), st.sampled_from("abcd")),
    unique_by=lambda question: question.question_id, max_size=40,
)  # fmt: skip


def shown(picture: bytes | None = PNG, answers: list[Answers] = ANSWERS) -> str:
    return examples_page("val", [QUESTION], answers, {} if picture is None else {QUESTION.image: picture})


@given(questions, st.integers(0, 20), st.randoms())
def test_the_order_of_the_file_does_not_matter(asked: list[AskedQuestion], n: int, dice: random.Random) -> None:
    shuffled = asked.copy()
    dice.shuffle(shuffled)
    assert choose_examples(shuffled, n) == choose_examples(asked, n)


@given(questions, st.integers(0, 20))
def test_question_types_take_turns(asked: list[AskedQuestion], n: int) -> None:
    chosen = choose_examples(asked, n)
    assert len(chosen) == len({question.question_id for question in chosen}) == min(n, len(asked))
    available = Counter(question.question_type for question in asked)
    taken = Counter(question.question_type for question in chosen)
    most = max(taken.values(), default=0)
    assert all(taken[kind] >= min(available[kind], most - 1) for kind in available)


def test_the_draw_does_not_favour_low_ids() -> None:
    asked = [AskedQuestion(k, "image", "?", "same") for k in range(1000)]
    ids = [question.question_id for question in choose_examples(asked, 100)]
    assert 400 < sum(ids) / len(ids) < 600


def test_a_card_shows_the_question_the_picture_and_peoples_answers_best_first() -> None:
    page = shown()
    assert "<h2>Is &quot;it&quot; &lt;b&gt;red&lt;/b&gt; &amp; round?</h2>" in page
    assert f'src="data:image/png;base64,{base64.b64encode(PNG).decode()}"' in page
    people = re.search(r"<p>People: (.*?)</p>", page)
    assert people is not None
    assert re.sub(r"</?small>", "", people[1]) == "red, &lt;dark&gt; red 60 %, (nothing) 30 %"


def test_each_network_has_its_answer_with_a_mark_that_needs_no_colour() -> None:
    rows = re.findall(r"<tr><td><span[^>]*>(.)</span></td><td>(.*?)</td><th>(.*?)</th></tr>", shown())
    assert [(mark, re.sub(r"</?small>", "", answer), name) for mark, answer, name in rows] == [
        ("✓", "red", "Full"),
        ("◐", "&lt;dark&gt; red 60 %", "Low-magnitude pruned, 50\u00a0%"),
        ("✗", "(nothing)", "Random pruned, 97.5\u00a0%"),
    ]


def test_marks_are_explained_and_stand_above_their_counts() -> None:
    explained, _, head = re.sub(r"</?span[^>]*>", "", shown()).partition('<table id="sums">')
    assert re.findall(r"([✓◐✗]) (\w+ \w+|none)", explained) == [("✓", "full credit"), ("◐", "part of"), ("✗", "none")]
    assert head.startswith("<thead><tr><th></th><th>✓</th><th>◐</th><th>✗</th></tr></thead><tbody>")


def test_answers_of_each_network_are_counted() -> None:
    counts = re.findall(r"<tr><th>([^<]+)</th><td>(\d)</td><td>(\d)</td><td>(\d)</td></tr>", shown())
    assert counts == [
        ("Full", "1", "0", "0"),
        ("Low-magnitude pruned, 50\u00a0%", "0", "1", "0"),
        ("Random pruned, 97.5\u00a0%", "0", "0", "1"),
    ]


def test_without_a_picture_the_image_is_named() -> None:
    page = shown(None)
    assert "<img" not in page
    assert '<div class="absent">SCENES_val_000000000001</div>' in page


def test_of_many_answers_only_the_best_are_shown() -> None:
    labels = (*((f"answer {k}", 0.3) for k in range(9)), ("best", 0.9))
    question = AskedQuestion(7, "image", "What?", "what", "other", labels)
    page = examples_page("val", [question], ANSWERS, {})
    assert "People: best" in page
    assert re.findall(r"answer \d", page) == ["answer 0", "answer 1", "answer 2"]
    assert ", …</p>" in page


def test_the_page_is_self_contained() -> None:
    assert not re.search(r"https?:|<script|<link|url\(", shown())

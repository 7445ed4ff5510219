"""A reader of scores is told how minival was chosen, or which file fails to say so."""

from pathlib import Path

import pytest

from lxmert_tickets.artifacts import write_json
from lxmert_tickets.data.splits import draw_minival
from lxmert_tickets.data.vqa_json import Question
from lxmert_tickets.errors import DataError
from lxmert_tickets.report.notes import minival_note

QUESTIONS = [Question(number, number // 2, "Is it?") for number in range(3000)]


def test_the_note_gives_the_numbers_and_how_minival_was_chosen(tmp_path: Path) -> None:
    minival = draw_minival(QUESTIONS, 1200, seed=5)
    write_json(tmp_path / "about.json", minival.about(QUESTIONS) | {"provenance": {}})
    assert minival_note(tmp_path / "about.json") == (
        f"minival is 1,200 images of val2014 with 2,400 questions, by {minival.chosen_by}."
    )


@pytest.mark.parametrize("content", ["", '{"minival": "a list", "n_minival_im', '{"minival": "a list"}'])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / "about.json").write_text(content)
    with pytest.raises(DataError, match=r"about\.json.*; expected how minival was chosen\. Delete it"):
        minival_note(tmp_path / "about.json")

"""The command `check-submission`, from the command line to its output."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vqa_files import zipped

from lxmert_tickets.cli import main

QUESTIONS = {
    "data_type": "mscoco",
    "data_subtype": "test2015",
    "questions": [{"question_id": key, "image_id": 1, "question": "?"} for key in (1, 2, 3)],
}
WHOLE = [{"question_id": key, "answer": answer} for key, answer in ((3, "yes"), (1, "no"), (2, "2"))]
OFFICIAL, DEV_ONLY = "v2_OpenEnded_mscoco_test2015_questions.json", "v2_OpenEnded_mscoco_test-dev2015_questions.json"


def check(folder: Path, submission: Any, questions: Any = QUESTIONS, *options: str) -> int:
    """Return the exit status for a submission; `questions` is a file or the content of one."""
    (folder / "s.json").write_text(json.dumps(submission))
    if not isinstance(questions, Path):
        (folder / "q.json").write_text(json.dumps(questions))
        questions = folder / "q.json"
    return main(["check-submission", str(folder / "s.json"), "--questions", str(questions), *options])


def test_a_complete_submission_is_confirmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, WHOLE) == 0
    said = capsys.readouterr().out
    assert said == f"{tmp_path}/s.json: 3 answers, one to each question of {tmp_path}/q.json\n"


def test_empty_answers_are_allowed_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, [*WHOLE[:2], {"question_id": 2, "answer": " "}]) == 0
    assert "; 1 empty" in capsys.readouterr().out


def test_the_official_archive_and_prepared_questions_are_accepted_too(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "Q.zip", OFFICIAL, content=QUESTIONS)
    zipped(archive, DEV_ONLY, mode="a", content=QUESTIONS | {"questions": QUESTIONS["questions"][:1]})
    assert check(tmp_path, WHOLE, archive) == 0
    assert check(tmp_path, WHOLE[1:2], archive, "--subtype", "test-dev2015") == 0
    assert check(tmp_path, WHOLE, [{"question_id": key, "img_id": "COCO", "sent": "?"} for key in (1, 2, 3)]) == 0


@pytest.mark.parametrize(
    ("pack", "found"),
    [
        (lambda text: b"\xef\xbb\xbf" + text, "begins with a byte-order mark"),
        (gzip.compress, "is compressed"),
        (lambda text: text.replace(b'"yes"', b'"yes", "more": "\xff"'), "is not UTF-8"),
    ],
)
def test_files_that_are_readable_here_but_not_by_evalai_are_refused(
    tmp_path: Path, pack: Callable[[bytes], bytes], found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, WHOLE) == 0
    packed = tmp_path / "p.json"
    packed.write_bytes(b"\n " + (tmp_path / "s.json").read_bytes())
    command = ["check-submission", str(packed), "--questions", str(tmp_path / "q.json")]
    assert main(command) == 0
    packed.write_bytes(pack((tmp_path / "s.json").read_bytes()))
    assert main(command) == 1
    assert f"{packed}: {found}" in capsys.readouterr().err


def test_a_zipped_submission_is_refused_whatever_it_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, WHOLE) == 0
    packed = zipped(tmp_path / "p.json", "s.json", content=WHOLE)
    assert main(["check-submission", str(packed), "--questions", str(tmp_path / "q.json")]) == 1
    assert "is compressed (gzip or zip); expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("submission", "found"),
    [
        (WHOLE[:1], "2 questions not answered (question_id 1, 2); expected one answer to each question"),
        ([*WHOLE, {"question_id": 4, "answer": "a"}], "1 answer to no question asked (question_id 4)"),
        ([*WHOLE, WHOLE[0]], "$[3]: question_id 3 again, first at $[0]"),
    ],
)
def test_what_evalai_would_refuse_gives_one_line_and_status_1(
    tmp_path: Path, submission: Any, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, submission) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert f"{tmp_path}/s.json" in said.err
    assert found in said.err

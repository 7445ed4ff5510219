"""The command `score`, from the command line to the written file."""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lxmert_tickets.data.vqa_json import Annotation, HumanAnswer, Question, write_annotations, write_questions
from lxmert_tickets.errors import DataError
from lxmert_tickets.evaluation.accuracy import Score
from lxmert_tickets.evaluation.predictions import save_predictions, write_submission
from lxmert_tickets.evaluation.score_command import add_score_command, summary

IDS = (1, 2)


@pytest.fixture
def split(tmp_path: Path) -> dict[str, Path]:
    """The arguments that score two questions: everybody says "yes" to the first, 2 of 10 say "2" to the second."""
    replies = {1: ["yes"] * 10, 2: ["2", "two", *(f"{number}" for number in range(20, 28))]}
    annotations = [
        Annotation(key, 9, "is", kind, replies[key][0], tuple(map(HumanAnswer, replies[key], range(1, 11))))
        for key, kind in zip(IDS, ("yes/no", "number"), strict=True)
    ]
    paths = {name: tmp_path / f"{name}.json" for name in ("questions", "annotations", "predictions", "out")}
    write_questions(paths["questions"], "mscoco", "val2014", [Question(key, 9, "Is it?") for key in IDS])
    write_annotations(paths["annotations"], "mscoco", "val2014", annotations)
    write_submission(paths["predictions"], IDS, ["yes", "Two"])
    return paths


def score(paths: dict[str, Path]) -> int:
    parser = argparse.ArgumentParser()
    add_score_command(parser.add_subparsers())
    args = parser.parse_args(["score", *(word for name, path in paths.items() for word in (f"--{name}", str(path)))])
    status: int = args.run(args)
    return status


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_accuracies_are_written(split: dict[str, Path]) -> None:
    assert score(split) == 0
    assert read(split["out"]) == {
        "overall": 80.0,
        "per_answer_type": {"number": 60.0, "yes/no": 100.0},
        "per_question_type": {"is": 80.0},
        "per_question": {"1": 100.0, "2": 60.0},
        "measure": "official",
    }


def test_accuracies_in_a_file_ending_in_gz_are_gzipped(split: dict[str, Path], tmp_path: Path) -> None:
    score(split)
    score(split | {"out": tmp_path / "scores.json.gz"})
    written = (tmp_path / "scores.json.gz").read_bytes()
    assert gzip.decompress(written) == split["out"].read_bytes()
    assert written[4:8] == bytes(4)  # no time: the same bytes every time


def test_predictions_of_the_workflow_score_like_a_submission(split: dict[str, Path], tmp_path: Path) -> None:
    parquet = tmp_path / "predictions.val.parquet"
    save_predictions(parquet, IDS, ["yes", "Two"], [0.9, 0.1], {})
    score(split)
    score(split | {"predictions": parquet, "out": tmp_path / "parquet.json"})
    assert (tmp_path / "parquet.json").read_bytes() == split["out"].read_bytes()


def test_the_summary_shows_overall_and_answer_types(split: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    score(split)
    assert capsys.readouterr().out.splitlines() == [
        "VQA accuracy of 2 answers, percent",
        "  overall   80.00",
        "  number    60.00",
        "  yes/no   100.00",
        f"written to {split['out']}",
    ]


def test_the_summary_separates_thousands() -> None:
    whole = Score(50.0, {"other": 50.0}, {"what": 50.0}, dict.fromkeys(range(8977), 50.0))
    assert "8,977 answers" in summary(whole)


def test_questions_of_another_split_are_refused_before_anything_is_written(split: dict[str, Path]) -> None:
    write_questions(split["questions"], "mscoco", "val2014", [Question(1, 9, "Is it?")])
    with pytest.raises(DataError, match="have no question"):
        score(split)
    assert not split["out"].exists()


def test_a_question_without_human_answers_is_refused_naming_the_annotations_file(split: dict[str, Path]) -> None:
    annotations = read(split["annotations"])
    annotations["annotations"][1]["answers"] = []
    split["annotations"].write_text(json.dumps(annotations))
    with pytest.raises(DataError, match=r"annotations\.json, question_id 2: no human answers"):
        score(split)


@pytest.mark.parametrize("through_link", [False, True])
@pytest.mark.parametrize("name", ["questions", "annotations", "predictions"])
def test_an_input_file_is_never_overwritten(split: dict[str, Path], name: str, through_link: bool) -> None:
    out, before = split["out"] if through_link else split[name], split[name].read_bytes()
    if through_link:
        out.symlink_to(split[name])
    with pytest.raises(DataError, match=rf"{out.name}: is one of the files to read"):
        score(split | {"out": out})
    assert split[name].read_bytes() == before
    assert out.is_symlink() == through_link


def test_an_input_that_is_a_link_is_not_overwritten_either(split: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(split["questions"])
    with pytest.raises(DataError, match=r"questions\.json: is one of the files to read"):
        score(split | {"questions": tmp_path / "link.json", "out": split["questions"]})


def test_predictions_of_another_split_are_refused_by_name(split: dict[str, Path]) -> None:
    write_submission(split["predictions"], (1, 3), ["yes", "no"])
    with pytest.raises(DataError, match=r"predictions\.json: without a prediction: 1 .*not annotated: 1"):
        score(split)
    assert not split["out"].exists()


@pytest.mark.parametrize("missing", ["questions", "annotations", "predictions", "out"])
def test_every_file_must_be_given(split: dict[str, Path], missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        score({name: path for name, path in split.items() if name != missing})
    assert f"required: --{missing}" in capsys.readouterr().err


def test_gzipped_official_files_give_the_official_figures(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "vqa2-sample"
    paths = {
        "questions": folder / "v2_OpenEnded_mscoco_valid_sample_questions.json.gz",
        "annotations": folder / "v2_mscoco_valid_sample_annotations.json.gz",
        "predictions": folder / "official_evaluator_predictions.json.gz",
        "out": tmp_path / "score.json",
    }
    assert score(paths) == 0
    assert read(paths["out"])["overall"] == 59.14
    assert read(paths["out"])["per_answer_type"] == {"yes/no": 60.3, "number": 62.07, "other": 55.21}

"""The rules' scripts on real questions: official archives and prepared files give the same arrays."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from script_runs import run_script
from toys import TINY, changed, random_weights
from vqa_files import load, prepared_records, zipped

from lxmert_tickets.artifacts import file_digest
from lxmert_tickets.data import hdf5
from lxmert_tickets.data.answers import read_answers
from lxmert_tickets.data.features import KIND
from lxmert_tickets.data.questions import load_questions
from lxmert_tickets.data.tokens import save_tokenizer, train_tokenizer
from lxmert_tickets.data.vqa_json import Annotation, Question, write_annotations, write_questions
from lxmert_tickets.downloads.receipts import Receipt, write_receipt
from lxmert_tickets.evaluation.accuracy import Score
from lxmert_tickets.evaluation.predictions import load_predictions, read_submission, save_predictions
from lxmert_tickets.model.checkpoints import save_weights

QUESTIONS, ANNOTATIONS = "v2_OpenEnded_mscoco_{}_questions.json", "v2_mscoco_{}_annotations.json"


def received(path: Path) -> Path:
    """Return the receipt of a file, as the download leaves it."""
    receipt = path.with_name(path.name + ".verified")
    write_receipt(receipt, Receipt(file_digest(path), path.stat().st_size))
    return receipt


@pytest.fixture(scope="module")
def files(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Real questions as archives and as prepared files, and what else encoding needs."""
    folder, sample = tmp_path_factory.mktemp("vqa2"), shared_data / "vqa2-sample"
    sources = [
        sample / "v2_OpenEnded_mscoco_valid_sample_questions.json.gz",
        sample / "v2_mscoco_valid_sample_annotations.json.gz",
    ]
    published = shared_data / "answers" / "trainval_label2ans.json"
    asked, answered = map(load, sources)
    (folder / "minival.json").write_text(json.dumps(prepared_records(*sources, read_answers(published))))
    (folder / "test.json").write_text(json.dumps(prepared_records(sources[0], None, [])))
    tests = zipped(folder / "QT.zip", QUESTIONS.format("test2015"), content=asked)
    zipped(tests, QUESTIONS.format("test-dev2015"), mode="a", content=asked | {"questions": asked["questions"][:9]})
    images = sorted({one["image_id"] for one in asked["questions"]})
    write_features(folder / "features.h5", [f"COCO_train2014_{image:012}" for image in images])
    save_tokenizer(folder / "tokenizer.json", train_tokenizer([one["question"] for one in asked["questions"]], 500))
    return {
        "questions": received(zipped(folder / "Q.zip", QUESTIONS.format("train2014"), content=asked)),
        "annotations": received(zipped(folder / "A.zip", ANNOTATIONS.format("train2014"), content=answered)),
        "tests": received(tests),
        "prepared": received(folder / "minival.json"),
        "prepared tests": received(folder / "test.json"),
        "ids": [one["question_id"] for one in asked["questions"]],
        "majority": {one["question_id"]: one["multiple_choice_answer"] for one in answered["annotations"]},
        "encoding": {
            "features": [folder / "features.h5"],
            "tokenizer": folder / "tokenizer.json",
            "answers": published,
        },
    }


def write_features(path: Path, names: list[str]) -> None:
    n = len(names)
    with hdf5.writing(path, KIND, {}) as file:
        file["features"] = np.zeros((n, 1, 4), dtype="<f2")
        file["boxes"], file["size"] = np.zeros((n, 1, 4), dtype="<f4"), np.ones((n, 2), dtype="<i4")
        file["image_id"] = np.array(names, dtype="S")


def encode(files: dict[str, Any], folder: Path, inputs: dict[str, Any], **params: Any) -> Path:
    output = folder / f"{len(list(folder.iterdir()))}.h5"
    run_script(
        "encode_questions",
        folder,
        files["encoding"] | inputs,
        {"questions": output},
        params={"max_length": 20} | params,
    )
    return output


def same_arrays(one: Path, other: Path) -> bool:
    mine, yours = load_questions(one), load_questions(other)
    return all(np.array_equal(value, vars(yours)[name]) for name, value in vars(mine).items())


def test_archives_and_prepared_questions_are_encoded_alike(files: dict[str, Any], tmp_path: Path) -> None:
    official = {"questions": [files["questions"]], "annotations": [files["annotations"]]}
    one = encode(files, tmp_path, official, subtypes=["train2014"])
    assert same_arrays(one, encode(files, tmp_path, {"questions": [files["prepared"]], "annotations": []}))
    assert (len(load_questions(one)), load_questions(one).labelled) == (8_977, True)


def test_test_questions_are_encoded_without_labels_from_either_source(files: dict[str, Any], tmp_path: Path) -> None:
    one = encode(files, tmp_path, {"questions": [files["tests"]], "annotations": []}, subtypes=["test2015"])
    assert same_arrays(one, encode(files, tmp_path, {"questions": files["prepared tests"]}))
    assert (len(load_questions(one)), load_questions(one).labelled) == (8_977, False)


def test_the_vocabulary_comes_from_all_annotations_or_from_the_published_list(
    files: dict[str, Any], tmp_path: Path
) -> None:
    def answers(**inputs: Any) -> tuple[str, ...]:
        run_script(
            "build_answers",
            tmp_path,
            inputs,
            {"answers": tmp_path / "a.json"},
            params={"min_count": 18, "subtypes": ["train2014"] * len(inputs.get("annotations", []))},
        )
        return read_answers(tmp_path / "a.json")

    once = answers(annotations=[files["annotations"]])
    twice = answers(annotations=[files["annotations"], files["annotations"]])
    assert once[:2] == twice[:2] == ("yes", "no")
    assert len(once) < len(twice)  # 9 questions in each of two parts are enough
    published = answers(published=[files["encoding"]["answers"]])
    assert (len(published), published[:2]) == (3129, ("", "woods"))


def test_a_vocabulary_without_any_answer_is_refused(files: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run_script(
            "build_answers", tmp_path, {"annotations": [files["annotations"]]}, {"answers": tmp_path / "a.json"},
            params={"min_count": 10_000, "subtypes": ["train2014"]},
        )  # fmt: skip
    assert "text.min_answer_count: 10000; expected as many as" in (tmp_path / "build_answers.log").read_text()
    assert not (tmp_path / "a.json").exists()


def test_features_of_another_width_than_configured_are_refused_before_any_training(
    files: dict[str, Any], tmp_path: Path
) -> None:
    questions = {"questions": [files["prepared"]], "annotations": []}
    assert encode(files, tmp_path, questions, feature_dim=4).exists()
    with pytest.raises(SystemExit):
        encode(files, tmp_path, questions, feature_dim=5)
    assert "4 values a region; expected 5, as in vqa2.feature_dim" in (tmp_path / "encode_questions.log").read_text()


def test_each_part_of_the_answers_is_taken_from_its_own_member_of_an_archive(
    files: dict[str, Any], tmp_path: Path
) -> None:
    both = tmp_path / "both.zip"
    shutil.copy(files["annotations"].with_suffix(""), both)
    zipped(both, ANNOTATIONS.format("val2014"), mode="a", content={})
    found = []
    for annotations in (files["annotations"], received(both)):
        params = {"min_count": 18, "subtypes": ["train2014"]}
        run_script(
            "build_answers", tmp_path, {"annotations": [annotations]}, {"answers": tmp_path / "a"}, params=params
        )
        found.append(read_answers(tmp_path / "a"))
    assert found[0] == found[1]


def predictions(files: dict[str, Any], folder: Path, ids: list[int]) -> Path:
    given_answers = [files["majority"][key] for key in ids]
    save_predictions(folder / "p.parquet", ids, given_answers, np.full(len(ids), 0.5), {})
    return folder / "p.parquet"


def scored(files: dict[str, Any], folder: Path, inputs: dict[str, Any]) -> tuple[Score, str]:
    inputs = {"predictions": [predictions(files, folder, files["ids"])]} | inputs
    log = run_script("score", folder, inputs, {"scores": [folder / "s.json"]}, wildcards={"seed": "0"})
    return msgspec.json.decode((folder / "s.json").read_bytes(), type=Score), log


def test_scores_are_official_if_the_ten_answers_are_known_and_otherwise_say_soft_labels(
    files: dict[str, Any], tmp_path: Path
) -> None:
    paths = {"questions": [files["questions"]], "annotations": [files["annotations"]]}
    official, _ = scored(files, tmp_path, paths)
    soft, log = scored(files, tmp_path, {"questions": [files["prepared"]], "annotations": []})
    assert (official.measure, soft.measure) == ("official", "soft labels")
    assert set(soft.per_answer_type) == set(official.per_answer_type) == {"yes/no", "number", "other"}
    assert 0 < official.overall - soft.overall < 15  # the prepared labels lack what the vocabulary lacks
    assert "(soft labels)" in log


def test_annotations_without_human_answers_are_refused_naming_their_file(files: dict[str, Any], tmp_path: Path) -> None:
    write_questions(tmp_path / "q.json", "mscoco", "val2014", [Question(1, 9, "Is it?")])
    write_annotations(tmp_path / "a.json", "mscoco", "val2014", [Annotation(1, 9, "is", "yes/no", "yes", ())])
    save_predictions(tmp_path / "one.parquet", [1], ["yes"], [0.5], {})
    inputs = {"questions": "q.json", "annotations": "a.json", "predictions": "one.parquet"}
    with pytest.raises(SystemExit):
        scored(files, tmp_path, {name: [tmp_path / file] for name, file in inputs.items()})
    assert "a.json, question_id 1: no human answers" in (tmp_path / "score.log").read_text()


@pytest.mark.parametrize("source", ["tests", "prepared tests"])
def test_a_submission_gives_the_predicted_answer_to_every_question_of_the_archive(
    files: dict[str, Any], tmp_path: Path, source: str
) -> None:
    questions = encode(files, tmp_path, {"questions": [files[source]], "annotations": []}, subtypes=["test2015"])
    network = changed(TINY, n_answers=3129, vocab_size=500, feature_dim=4, max_positions=20)
    save_weights(tmp_path / "weights.safetensors", random_weights(network), network, {})
    features, answers = files["encoding"]["features"][0], files["encoding"]["answers"]
    run_script(
        "predict",
        tmp_path,
        {
            "weights": tmp_path / "weights.safetensors",
            "questions": [questions, questions],
            "features": [features, features],
            "answers": answers,
        },
        {
            "predictions": [tmp_path / "minival.parquet", tmp_path / "test.parquet"],
            "submissions": [tmp_path / "s.json"],
        },
        params={"splits": ["minival", "test"], "tested": ["test"], "precision": "auto", "jobs_per_gpu": 1},
        wildcards={"seed": "0"},
    )
    predicted, _ = load_predictions(tmp_path / "test.parquet")
    submitted = read_submission(tmp_path / "s.json")
    assert submitted == dict(predicted.pairs())
    assert list(submitted) == files["ids"]
    assert set(submitted.values()) <= set(read_answers(answers))

"""Inspection says of any file of an experiment what it is, where it comes from, and how large it is."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_tables import write_tsv
from safetensors.numpy import save_file

from lxmert_tickets.artifacts import provenance, save_tensors
from lxmert_tickets.data import hdf5
from lxmert_tickets.data.answers import write_answers
from lxmert_tickets.data.feature_conversion import convert_features
from lxmert_tickets.data.questions import EncodedQuestions, save_questions
from lxmert_tickets.data.scenes.dataset import draw_image_set, write_boxes, write_captions, write_scenes
from lxmert_tickets.data.tokens import save_tokenizer, train_tokenizer
from lxmert_tickets.data.vqa_json import write_annotations, write_questions
from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.evaluation.accuracy import score_predictions
from lxmert_tickets.evaluation.predictions import save_predictions, write_submission
from lxmert_tickets.inspection import INSPECTORS, inspect_file
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.checkpoints import save_weights
from lxmert_tickets.pruning.mask_files import save_mask

ORIGIN = {"rule": "test", "spec": "0", "seed": 3, "parents": {}}
QUERY, POOLER, EMBEDDING, BIAS, NORM = (
    "lxmert.encoder.layer.0.attention.self.query.weight",
    "lxmert.pooler.dense.weight",
    "lxmert.embeddings.word_embeddings.weight",
    "lxmert.pooler.dense.bias",
    "lxmert.encoder.layer.0.output.LayerNorm.weight",
)
MASK = {QUERY: np.array([[True, False], [True, False]]), POOLER: np.array([[True, True, False]])}
WEIGHTS = {
    QUERY: np.array([[1, 0], [2, 0]], dtype=np.float32),
    POOLER: np.array([[1, 1, 0]], dtype=np.float32),
    EMBEDDING: np.zeros((2, 2), dtype=np.float32),
    BIAS: np.zeros(3, dtype=np.float32),
    NORM: np.zeros(2, dtype=np.float32),
}
SET = draw_image_set("val", n_images=4, n_questions=6, captions_per_image=2, n_regions=6, seed=0)


def make_mask(path: Path) -> None:
    save_mask(path, MASK, ORIGIN)


def make_weights(path: Path) -> None:
    save_weights(path, WEIGHTS, Architecture(n_answers=3, hidden_size=2), ORIGIN)


def make_features(path: Path) -> None:
    table = write_tsv(path.with_suffix(".tsv"), ["A", "B"], lambda _: np.ones((3, 5)), np.zeros((3, 4)))
    convert_features([table], path, metadata={"provenance": ORIGIN})


def make_questions(path: Path) -> None:
    encoded = EncodedQuestions(
        question_id=np.array([1, 2]), image_row=np.array([0, 0]), input_ids=np.ones((2, 9), np.int32),
        length=np.array([9, 4], np.int32), label_start=np.array([0, 1, 1]), label_answer=np.array([2], np.int32),
        label_score=np.array([0.3], np.float32), n_answers=3,
    )  # fmt: skip
    save_questions(path, encoded, {"provenance": ORIGIN})


def make_predictions(path: Path) -> None:
    save_predictions(path, [1, 2], ["yes", "no"], [0.5, 0.25], {"provenance": ORIGIN})


def make_score(path: Path) -> None:
    truths = [(annotation.question_id, annotation.multiple_choice_answer) for annotation in SET.annotations]
    path.write_text(json.dumps(score_predictions(SET.annotations, truths).as_json() | {"provenance": ORIGIN}))


ARTIFACTS: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "mask.safetensors": (make_mask, {"kind": "mask", "n_prunable": 7, "n_kept": 4, "sparsity": 3 / 7}),
    "weights.safetensors": (
        make_weights,
        {"kind": "weights", "n_parameters": 16, "n_prunable": 7, "n_zeros_among_prunable": 3, "sparsity": 3 / 7},
    ),
    "features.h5": (
        make_features,
        {"kind": "features", "n_images": 2, "n_regions": 3, "feature_dim": 5, "dtype": "float16"},
    ),
    "questions.h5": (
        make_questions,
        {"kind": "questions", "n_questions": 2, "n_answers": 3, "longest": 9, "labelled": True},
    ),
    "predictions.parquet": (make_predictions, {"kind": "predictions", "n_questions": 2}),
    "score.json": (make_score, {"kind": "score", "overall": 100.0}),
    "answers.json": (lambda path: write_answers(path, ["yes", "no"], ORIGIN), {"kind": "answers", "n_answers": 2}),
}
SOURCES: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "submission.json": (
        lambda path: write_submission(path, [1, 2], ["yes", "no"]),
        {"kind": "submission", "n_questions": 2},
    ),
    "vqa_questions.json": (
        lambda path: write_questions(path, "scenes", "val", SET.questions),
        {"kind": "vqa questions", "n_questions": 6, "data_type": "scenes", "data_subtype": "val"},
    ),
    "vqa_annotations.json": (
        lambda path: write_annotations(path, "scenes", "val", SET.annotations),
        {"kind": "vqa annotations", "n_annotations": 6, "data_subtype": "val"},
    ),
    "captions.json": (lambda path: write_captions(path, SET), {"kind": "captions", "n_captions": 8}),
    "boxes.json": (lambda path: write_boxes(path, SET), {"kind": "json"}),
    "scenes.json": (lambda path: write_scenes(path, SET), {"kind": "json"}),
    "tokenizer.json": (lambda path: save_tokenizer(path, train_tokenizer(["is it"], 40)), {"kind": "tokenizer"}),
}
ALL = ARTIFACTS | SOURCES


@pytest.mark.parametrize("name", ALL)
def test_inspection_says_what_a_file_is(tmp_path: Path, name: str) -> None:
    make, expected = ALL[name]
    make(tmp_path / name)
    found = inspect_file(tmp_path / name)
    assert {key: found[key] for key in expected} == expected
    assert found["provenance"] == (ORIGIN if name in ARTIFACTS else None)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("name", [name for name in ALL if name.endswith(".json")])
def test_lists_and_objects_in_json_are_counted_at_most_not_shown(tmp_path: Path, name: str) -> None:
    ALL[name][0](tmp_path / name)
    found = inspect_file(tmp_path / name)
    assert [key for key, value in found.items() if isinstance(value, list | dict) and key != "provenance"] == []
    assert any(key.startswith("n_") for key in found) is (found["kind"] not in {"json", "score"})


@pytest.mark.parametrize("name", ALL)
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    ALL[name][0](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for length in (0, len(whole) // 2, len(whole) - 3):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match=name):
            inspect_file(tmp_path / name)


@pytest.mark.parametrize("suffix", INSPECTORS)
def test_a_file_of_random_bytes_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(np.random.default_rng(0).bytes(1000))
    with pytest.raises(ArtifactError, match=f"a{suffix}"):
        inspect_file(tmp_path / f"a{suffix}")


def test_inspecting_a_mask_gives_the_sparsity_of_every_tensor(tmp_path: Path) -> None:
    make_mask(tmp_path / "mask.safetensors")
    assert inspect_file(tmp_path / "mask.safetensors")["tensors"] == {
        QUERY: {"shape": [2, 2], "n_prunable": 4, "n_kept": 2, "sparsity": 0.5},
        POOLER: {"shape": [1, 3], "n_prunable": 3, "n_kept": 2, "sparsity": 1 / 3},
    }


def test_a_sparsity_has_no_rounding_error(tmp_path: Path) -> None:
    save_mask(tmp_path / "a.safetensors", {QUERY: np.arange(10).reshape(2, 5) > 0}, ORIGIN)
    assert inspect_file(tmp_path / "a.safetensors")["sparsity"] == 0.1


def test_inspecting_weights_gives_their_architecture_and_the_zeros_among_prunable_ones(tmp_path: Path) -> None:
    make_weights(tmp_path / "weights.safetensors")
    found = inspect_file(tmp_path / "weights.safetensors")
    assert found["architecture"]["n_answers"] == 3
    assert found["tensors"] == {
        QUERY: {"shape": [2, 2], "dtype": "float32", "n_zeros": 2},
        POOLER: {"shape": [1, 3], "dtype": "float32", "n_zeros": 1},
        EMBEDDING: {"shape": [2, 2], "dtype": "float32"},
        BIAS: {"shape": [3], "dtype": "float32"},
        NORM: {"shape": [2], "dtype": "float32"},
    }


def test_prunable_weights_are_those_of_the_mask_beside_them_if_it_fits(tmp_path: Path) -> None:
    make_weights(tmp_path / "weights.safetensors")
    save_mask(tmp_path / "mask.safetensors", {POOLER: np.array([[True, False, True]])}, ORIGIN)
    found = inspect_file(tmp_path / "weights.safetensors")
    assert (found["n_prunable"], found["n_zeros_among_prunable"]) == (3, 1)
    assert [name for name, tensor in found["tensors"].items() if "n_zeros" in tensor] == [POOLER]
    save_mask(tmp_path / "mask.safetensors", {"of.another": np.ones((2, 2), dtype=bool)}, ORIGIN)
    assert inspect_file(tmp_path / "weights.safetensors")["n_prunable"] == 7
    (tmp_path / "mask.safetensors").write_bytes(b"damaged")
    assert inspect_file(tmp_path / "weights.safetensors")["n_prunable"] == 7  # the paper's prunable weights


def test_weights_from_elsewhere_are_inspected_too(tmp_path: Path) -> None:
    save_file({EMBEDDING: WEIGHTS[EMBEDDING]}, tmp_path / "hub.safetensors")
    found = inspect_file(tmp_path / "hub.safetensors")
    assert (found["kind"], found["n_prunable"], found["sparsity"]) == ("weights", 0, 0.0)
    assert found["provenance"] is found["architecture"] is None


def test_unknown_kinds_are_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", "other", WEIGHTS, {})
    with hdf5.writing(tmp_path / "a.h5", "other", {}):
        pass
    for name in ("a.safetensors", "a.h5"):
        with pytest.raises(ArtifactError, match=rf"{name}: is a other file"):
            inspect_file(tmp_path / name)


@pytest.mark.parametrize("text", ["3", "null", '"text"', "[1]", '["yes", "no"]', '[{"question_id": 1}, 2]'])
def test_json_of_no_known_kind_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"a\.json: is a JSON"):
        inspect_file(tmp_path / "a.json")


def test_json_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(ArtifactError, match=r"a\.json: cannot be read"):
        inspect_file(tmp_path / "a.json")


@pytest.mark.parametrize(("name", "found"), [("a.csv", "is a .csv file"), ("Snakefile", "is a file without a suffix")])
def test_other_files_are_refused_with_a_list_of_what_can_be_inspected(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ArtifactError, match=rf"{found}; expected one of \.safetensors, \.h5, \.parquet, \.json"):
        inspect_file(tmp_path / name)


@pytest.mark.parametrize("name", ["folder", "folder.json"])
def test_a_folder_is_refused_as_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ArtifactError, match=rf"{name}: is a folder; expected a file"):
        inspect_file(tmp_path / name)


@pytest.mark.parametrize("name", ["missing", "missing.csv", "missing.json"])
def test_a_missing_file_is_reported_as_missing_whatever_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match=rf"{name}: no such file"):
        inspect_file(tmp_path / name)


def test_a_broken_link_a_pipe_and_a_device_are_refused_as_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "loop.json").symlink_to("loop.json")
    os.mkfifo(tmp_path / "pipe.json")
    for path, found in (
        (tmp_path / "loop.json", "a broken link"),
        (tmp_path / "pipe.json", "a device or a pipe"),
        (os.devnull, "a device or a pipe"),
    ):
        with pytest.raises(ArtifactError, match=rf"{path}: is {found}; expected a file of an experiment"):
            inspect_file(path)


@pytest.mark.parametrize(("settings", "shown"), [("", None), ("official", hashlib.sha256(b"official").hexdigest())])
def test_a_file_made_without_settings_has_no_spec(tmp_path: Path, settings: str, shown: str | None) -> None:
    save_mask(tmp_path / "a.safetensors", MASK, provenance("prune_complement", settings, 0, []))
    assert inspect_file(tmp_path / "a.safetensors")["provenance"]["spec"] == shown

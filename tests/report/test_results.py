"""Scores of all networks become tidy tables; statistics over seeds are those of NumPy."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.evaluation.accuracy import Score
from lxmert_tickets.report.results import (
    collect_files,
    collect_question_types,
    collect_results,
    over_seeds,
    read_table,
)

SCORE = Score(
    overall=70.5,
    per_answer_type={"yes/no": 90.0, "number": 30.25, "other": 61.0},
    per_question_type={"what": 61.0, "is the": 90.0},
    per_question={1: 100.0},
)


def test_results_have_a_row_for_each_network_and_split_in_order() -> None:
    asked = list(product((0, 1), ("dense", "low_magnitude/s50"), ("val", "test")))
    found = collect_results((*which, SCORE) for which in asked)
    assert len(found) == len(asked)
    assert found.iloc[-1].to_dict() == {
        "subnetwork": "low_magnitude", "sparsity": 50.0, "seed": 1, "split": "test", "measure": "official",
        "overall": 70.5, "yes_no": 90.0, "number": 30.25, "other": 61.0,
    }  # fmt: skip
    assert found["split"].tolist() == [split for _, _, split in asked]


def test_an_answer_type_without_questions_is_left_empty() -> None:
    score = Score(overall=90.0, per_answer_type={"yes/no": 90.0}, per_question_type={}, per_question={})
    found = collect_results([(0, "dense", "val", score)])
    assert found[["number", "other"]].isna().all(axis=None)
    assert found["yes_no"].tolist() == [90.0]


def test_question_types_have_a_row_each() -> None:
    found = collect_question_types([(2, "random/s50", "val", SCORE)])
    assert found.to_dict("list") == {
        "subnetwork": ["random"] * 2, "sparsity": [50.0] * 2, "seed": [2] * 2, "split": ["val"] * 2,
        "question_type": ["is the", "what"], "accuracy": [90.0, 61.0],
    }  # fmt: skip


def test_files_are_stacked_and_labelled(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("epoch,loss\n1,0.5\n2,0.25\n")
    found = collect_files([(0, "dense", str(tmp_path / "a")), (1, "random/s97.5", str(tmp_path / "b"))])
    assert found.columns.tolist() == ["subnetwork", "sparsity", "seed", "epoch", "loss"]
    assert found.iloc[3].tolist() == ["random", 97.5, 1, 2, 0.25]
    assert found.index.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("names", [["2014"], ["NA"], ["2014", "NA", "null"]])
def test_names_that_look_like_numbers_or_missing_values_are_read_back_unchanged(
    tmp_path: Path, names: list[str]
) -> None:
    score = Score(50.0, SCORE.per_answer_type, dict.fromkeys(names, 50.0), per_question={})
    asked = [(seed, "nan/s50", split, score) for seed in (0, 1) for split in names]
    for table in (collect_results(asked), collect_question_types(asked)):
        table.to_csv(tmp_path / "a.csv", index=False)
        found = read_table(tmp_path / "a.csv")
        assert set(found["subnetwork"]) == {"nan"}
        pd.testing.assert_frame_equal(found, table)


def test_a_score_says_how_it_was_measured() -> None:
    score = Score(90.0, {}, {}, {}, measure="soft labels")
    assert collect_results([(0, "dense", "minival", score)])["measure"].tolist() == ["soft labels"]


@given(st.lists(st.floats(0, 100), min_size=2, max_size=6))
def test_mean_and_sample_deviation_over_seeds_are_those_of_numpy(accuracies: list[float]) -> None:
    table = pd.DataFrame({"subnetwork": "a", "seed": range(len(accuracies)), "overall": accuracies})
    found = over_seeds(table, ["subnetwork"], ["overall"]).loc["a", "overall"]
    assert found["mean"] == pytest.approx(np.mean(accuracies))
    assert found["std"] == pytest.approx(np.std(accuracies, ddof=1), abs=1e-6)
    assert (found["min"], found["max"], found["count"]) == (min(accuracies), max(accuracies), len(accuracies))


def test_the_deviation_of_one_seed_is_unknown_and_not_zero() -> None:
    table = pd.DataFrame({"subnetwork": ["a"], "overall": [50.0]})
    assert math.isnan(over_seeds(table, ["subnetwork"], ["overall"]).loc["a", ("overall", "std")])


def test_groups_do_not_mix() -> None:
    table = pd.DataFrame({"subnetwork": list("aabb"), "overall": [1.0, 3.0, 10.0, 30.0]})
    assert over_seeds(table, ["subnetwork"], ["overall"])["overall", "mean"].to_dict() == {"a": 2.0, "b": 20.0}


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ('subnetwork,sparsity,overall\nrandom,50.0,"30,5"\n', "overall"),
        ("subnetwork,sparsity,overall\nrandom,12. May,30.5\nrandom,50.0,30.5\n", "sparsity"),
        ("subnetwork;sparsity;overall\nrandom;50.0;30.5\n", "subnetwork;sparsity;overall"),
    ],
)
def test_a_table_that_a_spreadsheet_wrote_in_its_own_way_is_named_with_the_column(
    tmp_path: Path, content: str, column: str
) -> None:
    (tmp_path / "results.csv").write_text(content)
    with pytest.raises(ArtifactError, match=rf"results\.csv: no numbers in {column}; expected numbers.*Delete it"):
        read_table(tmp_path / "results.csv")


@pytest.mark.parametrize("content", [None, b"", b"a,b\n1,2,3,4\n1\n1,2,3,4,5\n", b"a,b\n\xff,1\n"])
def test_a_table_that_is_missing_or_cannot_be_read_is_named_with_the_remedy(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "history.csv").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"history\.csv: cannot be read.*; expected a table as CSV\. Delete it"):
        collect_files([(0, "dense", str(tmp_path / "history.csv"))])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("epoch,loss\n1,0.5\n2,0.2", "is cut off"),
        ("epoch,loss\n1,0.5\n2\n", "has an empty cell"),
        ("epoch,loss\n", "no numbers in epoch, loss"),
        ("garbage\n1\n", "columns garbage; expected epoch, loss, as in .*whole"),
    ],
)
def test_a_damaged_file_is_not_merged_with_the_others(tmp_path: Path, content: str, found: str) -> None:
    whole, damaged = tmp_path / "whole.csv", tmp_path / "damaged.csv"
    whole.write_text("epoch,loss\n1,0.5\n2,0.25\n")
    damaged.write_text(content)
    with pytest.raises(ArtifactError, match=rf"damaged\.csv: {found}"):
        collect_files([(0, "dense", str(whole)), (1, "dense", str(damaged))])

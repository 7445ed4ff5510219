"""EvalAI's results: every known layout is read, file names identify networks, and nothing is skipped silently."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lxmert_tickets.errors import DataError
from lxmert_tickets.evaluation.accuracy import Score
from lxmert_tickets.evaluation.evalai import (
    find_evalai_scores,
    older_than_submission,
    read_evalai,
    read_evalai_scores,
)

DEV = {"yes/no": 87.28, "number": 54.13, "other": 62.65, "overall": 71.83}
STD = {"yes/no": 87.41, "number": 53.8, "other": 62.86, "overall": 72.05}
BOTH = [{"test-dev": DEV}, {"test-standard": STD}]
SEEDS = (0, 1)
MODELS = ["dense", "low_magnitude/s10", "low_magnitude/s50", "low_magnitude/s5", "low_magnitude/s12.5", "random/s50"]


def score_of(figures: dict[str, float]) -> Score:
    types = {name: value for name, value in figures.items() if name != "overall"}
    return Score(figures["overall"], types, per_question_type={}, per_question={})


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "content",
    [
        BOTH,
        BOTH[::-1],
        {"result": BOTH},
        {"result": {"test-dev": DEV, "test-standard": STD}},
        {"test-dev": DEV, "test-standard": STD},
        [{"test-dev": DEV, "test-std": STD}],
        [{"test-dev2015": DEV}, {"test-std2015": STD}],
        [{"Test-Dev": DEV}, {"test_standard": STD}],
        [*BOTH, {"test-challenge": STD}, {"test-reserve": "no figures"}],
        [*BOTH, BOTH[0]],
    ],
)
def test_every_known_layout_gives_both_splits(tmp_path: Path, content: Any) -> None:
    found = read_evalai(put(tmp_path / "r.json", content))
    assert found == {"test-dev": score_of(DEV), "test-std": score_of(STD)}


@pytest.mark.parametrize(
    "figures",
    [
        {name: str(value) for name, value in DEV.items()},
        {name.title(): value for name, value in DEV.items()},
        {name.replace("/", "_"): value for name, value in DEV.items()},
    ],
)
def test_figures_may_be_text_and_names_may_differ_in_case_and_separators(
    tmp_path: Path, figures: dict[str, Any]
) -> None:
    assert read_evalai(put(tmp_path / "r.json", [{"test-dev": figures}])) == {"test-dev": score_of(DEV)}


def test_a_byte_order_mark_and_line_breaks_do_not_matter(tmp_path: Path) -> None:
    path = put(tmp_path / "r.json", "\ufeff" + json.dumps(BOTH, indent=4).replace("\n", "\r\n"))
    assert read_evalai(path)["test-std"].overall == 72.05


@pytest.mark.parametrize("figures", [(0, 0.02, 0.04, 0.02), (100, 100, 100, 100)])
def test_accuracies_are_read_down_to_those_of_no_answer_and_up_to_those_of_all(
    tmp_path: Path, figures: tuple[float, ...]
) -> None:
    given = dict(zip(DEV, figures, strict=True))
    assert read_evalai(put(tmp_path / "r.json", [{"test-standard": given}])) == {"test-std": score_of(given)}


@pytest.mark.parametrize("overall", [49.99, 50.0, 50.02])
def test_an_overall_accuracy_may_differ_by_rounding(tmp_path: Path, overall: float) -> None:
    figures = {"yes/no": 50.0, "number": 50.01, "other": 50.0, "overall": overall}
    assert read_evalai(put(tmp_path / "r.json", [{"test-dev": figures}]))["test-dev"].overall == overall


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "truncated"),
        (str(BOTH), r"r\.json:1:3: not valid JSON .*not stdout"),  # Python's quotes: what EvalAI prints to stdout
        ("[" * 100_000, "nested deeper"),
        ('[{"test-dev": {"overall": ' + "9" * 500 + "}}]", "'overall' is 9999"),
        ('[{"test-dev": {"overall": ' + "9" * 5000 + "}}]", "out of range"),
        ([], "neither test-dev nor test-standard"),
        ({}, "neither test-dev nor test-standard"),
        ([{"test-challenge": DEV}], "neither test-dev nor test-standard"),
        ([87.28, 54.13, 62.65, 71.83], "a number"),
        ({"result": [87.28, 54.13]}, "a number"),
        ([{"test-dev": 71.83}], "a number"),
        ([{"test-dev": "71.83"}], "a string"),
        ([{"test-dev": True}], "true or false"),
        ([{"test-dev": None}], "null"),
        ([[BOTH]], "a list"),
        ([{"test-de": DEV}], "the split 'test-de'.*did you mean 'test-dev'"),
        ([{"test-dev": DEV}, {"val": DEV}], r"r\.json at \$\[1\]: the split 'val'"),
        ({"val": DEV}, r"r\.json: the split 'val'"),
        ([{"test-dev": {"overall": 71.83}}], "no 'number', no 'other', no 'yes/no'"),
        ([{"test-dev": DEV | {"rank": 3}}], "also 'rank'"),
        ([{"test-dev": DEV | {"number": 101}}], "'number' is 101; expected a percentage from 0 to 100"),
        ([{"test-dev": DEV | {"number": -1}}], "'number' is -1"),
        ([{"test-dev": DEV | {"number": "nan"}}], "'number' is 'nan'"),
        ([{"test-dev": DEV | {"number": "54 %"}}], "'number' is '54 %'"),
        ([{"test-dev": DEV | {"number": True}}], "'number' is True"),
        ([{"test-dev": DEV | {"number": None}}], "'number' is None"),
        ([{"test-dev": DEV | {"overall": 90}}], "overall 90.0, which is not a mean of"),
        ([{"test-dev": DEV | {"overall": 54}}], "overall 54.0, which is not a mean of"),
        ([{"test-dev": DEV}, {"test_dev": STD}], "test-dev twice, with different figures"),
    ],
)
def test_anything_else_is_refused_and_the_layout_shown(tmp_path: Path, content: Any, found: str) -> None:
    with pytest.raises(DataError, match=found) as refused:
        read_evalai(put(tmp_path / "r.json", content))
    assert '{"yes/no": 87.28, "number": 54.13, "other": 62.65, "overall": 71.83}' in str(refused.value)
    assert str(tmp_path / "r.json") in refused.value.place


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_content_is_read_or_refused_with_a_data_error(tmp_path: Path, data: st.DataObject) -> None:
    leaves = st.sampled_from([DEV, STD, 5, "x", None, True, 2**70, float("inf"), 1e308]) | st.text(max_size=3)
    names = st.sampled_from(["test-dev", "test-standard", "result", "overall", "yes/no", ""]) | st.text(max_size=3)
    nested = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=6
    )
    with suppress(DataError):
        found = read_evalai(put(tmp_path / "r.json", data.draw(nested)))
        assert found.keys() <= {"test-dev", "test-std"}


def test_files_are_found_by_seed_and_network_and_their_names_may_say_more(tmp_path: Path) -> None:
    names = [
        "seed0/dense.json",
        "seed0/low_magnitude/s5.json",
        "seed0/low_magnitude/s50.json",
        "seed0/low_magnitude/s12.5.json",
        "seed1/dense.test-dev.json",
        "seed1/dense (1).json",
        "seed1/dense.results2.json",
        "seed1/random/s50_result.JSON",
    ]
    files = [put(tmp_path / name, [{"test-dev": DEV}]) for name in names]
    assert find_evalai_scores(tmp_path, SEEDS, MODELS) == sorted(files)
    found = read_evalai_scores(files, SEEDS, MODELS)
    assert [(seed, model, split) for seed, model, split, _ in found] == [
        (0, "dense", "test-dev"),
        (0, "low_magnitude/s12.5", "test-dev"),
        (0, "low_magnitude/s5", "test-dev"),
        (0, "low_magnitude/s50", "test-dev"),
        (1, "dense", "test-dev"),
        (1, "random/s50", "test-dev"),
    ]
    assert {score.overall for *_, score in found} == {71.83}


def test_dev_and_std_may_come_in_two_files(tmp_path: Path) -> None:
    files = [
        put(tmp_path / "seed0" / "dense.dev.json", [{"test-dev": DEV}]),
        put(tmp_path / "seed0" / "dense.std.json", BOTH),
    ]
    assert read_evalai_scores(files, SEEDS, MODELS) == [
        (0, "dense", "test-dev", score_of(DEV)),
        (0, "dense", "test-std", score_of(STD)),
    ]


def test_files_that_contradict_each_other_are_refused_naming_both(tmp_path: Path) -> None:
    first = put(tmp_path / "seed0" / "dense.json", [{"test-dev": DEV}])
    second = put(tmp_path / "seed0" / "dense.new.json", [{"test-dev": STD}])
    with pytest.raises(DataError, match=r"dense\.new\.json: overall 72.05 on test-dev, and 71.83 in") as refused:
        read_evalai_scores([first, second], SEEDS, MODELS)
    assert str(first) in refused.value.found


def test_results_older_than_the_submission_of_their_network_are_told_apart(tmp_path: Path) -> None:
    files = [
        put(tmp_path / f"evalai/seed0/{name}.json", BOTH) for name in ("dense", "low_magnitude/s50.dev", "random/s50")
    ]
    submission_of = {(0, model): tmp_path / f"submissions/seed0/{model}.json" for model in MODELS}
    for model, seconds in (("dense", 20), ("low_magnitude/s50", 30)):  # none for random/s50
        os.utime(put(submission_of[0, model], []), (seconds, seconds))
    for file in files:
        os.utime(file, (20, 20))
    old = (files[1], submission_of[0, "low_magnitude/s50"])
    assert older_than_submission(files, SEEDS, MODELS, submission_of) == [old]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("seed_1/dense.json", "'seed_1' is not a seed of this experiment.*did you mean 'seed1'"),
        ("seed01/dense.json", "'seed01' is not a seed of this experiment.*did you mean 'seed1'"),
        ("seed2_old/dense.json", "'seed2_old' is not a seed of this experiment"),
        ("dense.json", "'dense.json' is not a seed"),
        ("seed0.json", "'seed0.json' is not a seed"),
        ("seed0/dens.json", "'dens' is not a network of this experiment.*did you mean 'dense'"),
        ("seed0/dense2.json", "'dense2' is not a network"),
        ("seed0/low_magnitude/s500.json", "'low_magnitude/s500' is not a network"),
        ("seed0/low_magnitude/s50.5.json", "'low_magnitude/s50.5' is not a network"),
        ("seed0/low_magnitude/s50/test-dev.json", "'low_magnitude/s50/test-dev' is not a network"),
        ("seed0/dense_old/s50.json", "'dense_old/s50' is not a network"),
        ("seed0/s50.json", "'s50' is not a network"),
        ("seed0/dense.txt", r"no \.json file"),
        ("seed0/dense", r"no \.json file"),
    ],
)
def test_a_file_that_matches_no_network_is_refused_and_never_skipped(tmp_path: Path, name: str, found: str) -> None:
    put(tmp_path / "seed0" / "random" / "s50.json", BOTH)
    path = put(tmp_path / name, BOTH)
    with pytest.raises(DataError, match=found) as refused:
        find_evalai_scores(tmp_path, SEEDS, MODELS)
    assert refused.value.place == str(path)
    with pytest.raises(DataError, match=r" is not a |no \.json file"):
        read_evalai_scores([path], SEEDS, MODELS)


@pytest.mark.parametrize("model", ["seeded/s50", "seed1/s50", "dense"])
def test_names_that_begin_like_a_seed_are_not_taken_for_one(tmp_path: Path, model: str) -> None:
    file = put(tmp_path / "seed1" / "seed0" / f"{model}.json", [{"test-dev": DEV}])
    assert find_evalai_scores(tmp_path / "seed1", SEEDS, [model]) == [file]
    assert read_evalai_scores([file], SEEDS, [model]) == [(0, model, "test-dev", score_of(DEV))]


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "dense.json", BOTH)
    (tmp_path / "evalai").mkdir()
    (tmp_path / "evalai" / "seed0").symlink_to(tmp_path / "elsewhere")
    for name in "ab":
        (tmp_path / "evalai" / name).symlink_to(".")  # a cycle
    assert find_evalai_scores(tmp_path / "evalai", SEEDS, MODELS) == [tmp_path / "evalai" / "seed0" / "dense.json"]


def test_scores_of_seeds_that_are_not_run_now_are_ignored(tmp_path: Path) -> None:
    files = [put(tmp_path / f"seed{seed}" / "dense.json", BOTH) for seed in (0, 1, 2)]
    assert find_evalai_scores(tmp_path, SEEDS, MODELS) == files[:2]
    assert find_evalai_scores(tmp_path, (0, 1, 2), MODELS) == files
    assert find_evalai_scores(tmp_path, (2,), MODELS) == files[2:]


def test_a_missing_folder_hidden_files_and_a_readme_hold_no_scores(tmp_path: Path) -> None:
    put(tmp_path / ".DS_Store", "")
    put(tmp_path / "seed0" / "._dense.json", "")
    put(tmp_path / "README.md", "How these came about.")
    assert find_evalai_scores(tmp_path, SEEDS, MODELS) == []
    assert find_evalai_scores(tmp_path / "absent", SEEDS, MODELS) == []

"""Benchmarks make the right figures of what they measure, and report them as promised."""

import json
from itertools import cycle
from pathlib import Path

import pytest

from benchmarks import contenders, machine, networks
from benchmarks.bench import MEASURES, write
from benchmarks.contenders import PROJECT
from benchmarks.feature_reading import read_features
from benchmarks.figures import NAMES, Figure, file_stem, from_json, merged, table
from benchmarks.mask_selection import mask_base

FIELDS = {"name", "ours", "peer", "ratio", "unit", "floor", "share_of_floor"}


def test_every_name_has_a_measurement_and_every_measurement_a_name() -> None:
    assert tuple(MEASURES) == NAMES


def test_a_record_has_exactly_the_promised_fields_and_reads_back() -> None:
    bare = Figure("accuracy", 2.0, 3.0)
    assert bare.as_json().keys() == FIELDS
    noted = Figure("train_base", 6.0, 3.0, 12.0, "one thread")
    assert noted.as_json().keys() == FIELDS | {"note"}
    assert from_json(noted.as_json()) == noted


def test_a_ratio_above_one_means_that_ours_is_faster_in_rates_and_in_seconds() -> None:
    rate = Figure("train_base", ours=6.0, peer=3.0, floor=12.0)
    assert (rate.ratio, rate.share_of_floor) == (2.0, 0.5)
    seconds = Figure("mask_base", ours=2.0, peer=30.0, floor=0.5)
    assert (seconds.ratio, seconds.share_of_floor) == (15.0, 0.25)


def test_fields_that_were_not_measured_are_null() -> None:
    record = Figure("demo", ours=600.0).as_json()
    assert [record[field] for field in ("peer", "ratio", "floor", "share_of_floor")] == [None] * 4


def test_new_figures_replace_old_ones_and_every_name_appears_in_order() -> None:
    old = [Figure("demo", 600.0), Figure("startup", 9.0)]
    found = merged([Figure("startup", 3.0)], old)
    assert tuple(figure.name for figure in found) == NAMES
    assert {figure.name: figure.ours for figure in found if figure.ours} == {"demo": 600.0, "startup": 3.0}


def test_json_and_table_are_written_side_by_side(tmp_path: Path) -> None:
    figures = merged([Figure("accuracy", 0.5, 2.0, 0.25, "alike")], [])
    write(tmp_path / "this.json", figures, {"CPU": "Some CPU", "cores": "2"})
    records = json.loads((tmp_path / "this.json").read_text())
    assert [record["name"] for record in records] == list(NAMES)
    shown = (tmp_path / "this.md").read_text()
    assert "- CPU: Some CPU\n" in shown
    assert "| accuracy | 0.5 | 2 | s | 4 | 0.25 | 50 % |\n" in shown
    assert "- accuracy: alike.\n" in shown
    assert shown == table(figures, {"CPU": "Some CPU", "cores": "2"})


@pytest.mark.parametrize("path", sorted((PROJECT / "benchmarks/results").glob("*.json")), ids=lambda path: path.stem)
def test_published_results_have_every_name_and_are_consistent(path: Path) -> None:
    records = json.loads(path.read_text())
    assert tuple(record["name"] for record in records) == NAMES
    for record in records:
        again = from_json(record).as_json()
        assert again.keys() == record.keys()
        for field in ("ratio", "share_of_floor"):  # here from rounded figures
            assert again[field] == (record[field] and pytest.approx(record[field], rel=2e-3))


def test_a_results_file_is_named_after_the_processor_or_the_gpu() -> None:
    assert file_stem({"CPU": "AMD EPYC 9B45 (Turin)", "cores": "2"}) == "amd-epyc-9b45-turin-2-cores"
    assert file_stem({"CPU": "AMD EPYC", "cores": "16", "GPU": "NVIDIA H200"}) == "nvidia-h200-16-cores"
    assert {"CPU", "cores", "memory", "torch"} <= machine.describe().keys()


def measured(monkeypatch: pytest.MonkeyPatch, numbers: dict[str, list[dict[str, float]]]) -> None:
    """Let contenders return these `numbers`, in turn."""
    rounds = {contender: cycle(found) for contender, found in numbers.items()}
    monkeypatch.setattr(
        contenders, "run", lambda module, contender, *_, **__: next(rounds.get(module) or rounds[contender])
    )


def test_rates_are_the_best_of_all_rounds_and_their_floor_is_the_peak_over_the_needed_flops(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rates = {
        "own_engine": [{"rate": 2.0, "peak_bytes": 1e9}, {"rate": 3.0, "peak_bytes": 1e9}],
        "peer_engine": [{"rate": 1.5}, {"rate": 1.0}],
        "machine": [{"flops": 10.0}, {"flops": 20.0}],
        "needed_flops": [{"train": 5.0, "evaluate": 2.0}],
        "made_up_data": [{}],
    }
    measured(monkeypatch, rates)
    train, evaluate = (networks.measure(work, "base", tmp_path) for work in ("train", "evaluate"))
    assert (train.ours, train.peer, train.floor) == (3, 1.5, 20 / 5)
    assert (evaluate.ours, evaluate.peer, evaluate.floor) == (3, 1.5, 20 / 2)


def test_seconds_are_the_least_of_all_rounds_and_their_floor_is_reading_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times = {
        "ours": [{"seconds": s, "extra_bytes": 1e9, "floor_seconds": s / 2, "rate": s} for s in (4.0, 2.0)],
        "peer": [{"seconds": s, "extra_bytes": 1e9, "floor_seconds": s / 2, "rate": s / 12} for s in (18.0, 36.0)],
        "made_up_data": [{}],
        "prune_round": [{"peak": 1.5}],
        "prepare": [{"images": 100}],
        "read_bandwidth": [{"bytes": 36 * 2048 * 2 * 8.0}],
    }
    measured(monkeypatch, times)
    mask = mask_base(tmp_path)
    assert (mask.ours, mask.peer, mask.floor) == (2, 18, 1)
    (tmp_path / "features_of_vqa2.h5").touch()
    features = read_features(tmp_path)
    assert (features.ours, features.peer, features.floor) == (4, 3, 8)


def test_the_peak_counts_a_multiplication_and_an_addition_for_each_product(monkeypatch: pytest.MonkeyPatch) -> None:
    for width in ("MATRIX", "MATRIX_OF_GPU"):
        monkeypatch.setattr(machine, width, 8)
    monkeypatch.setattr(machine, "_quickest", lambda work: 2.0)
    assert machine.matrix_peak() == {"flops": 2 * 8**3 / 2}

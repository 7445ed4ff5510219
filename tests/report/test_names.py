"""A network has the same name wherever it is shown."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lxmert_tickets.configuration import read_experiment
from lxmert_tickets.report.names import label_of, row_label, shown_models, subnetwork_of

SHIPPED: dict[str, Any] = yaml.safe_load((Path(__file__).resolve().parents[2] / "config.yaml").read_text())


@pytest.mark.parametrize(
    ("model", "expected"), [("dense", ("dense", 0.0)), ("random/s50", ("random", 50.0)), ("s/s97.5", ("s", 97.5))]
)
def test_the_folder_of_a_network_gives_its_subnetwork_and_sparsity(model: str, expected: tuple[str, float]) -> None:
    assert subnetwork_of(model) == expected


@pytest.mark.parametrize(
    ("name", "row", "label"),
    [
        ("dense", "Full", "full model"),
        ("low_magnitude", "Low-magnitude pruned", "low-magnitude pruned"),
        ("random", "Random pruned", "random pruned"),
    ],
)
def test_a_network_has_a_name_in_tables_and_one_in_legends(name: str, row: str, label: str) -> None:
    assert (row_label(name), label_of(name)) == (row, label)


def test_the_networks_shown_are_dense_those_of_the_table_and_the_sparsest_by_magnitude() -> None:
    expected = ("dense", "low_magnitude/s50", "low_magnitude/s90", "high_magnitude/s50", "random/s50")
    assert shown_models(read_experiment(SHIPPED)) == expected


def test_of_two_subnetworks_found_by_magnitude_the_sparsest_of_the_first_is_shown() -> None:
    other = {"keep": "largest", "rounds": "one_shot", "sparsities": [50, 80]}
    both = SHIPPED | {"subnetworks": {"low_magnitude": SHIPPED["subnetworks"]["low_magnitude"], "one_shot": other}}
    expected = ("dense", "low_magnitude/s50", "low_magnitude/s90", "one_shot/s50")
    assert shown_models(read_experiment(both)) == expected


def test_at_a_sparsity_that_only_one_subnetwork_has_only_it_and_dense_are_shown() -> None:
    at_90 = SHIPPED | {"report": SHIPPED["report"] | {"table_sparsity": 90}}
    assert shown_models(read_experiment(at_90)) == ("dense", "low_magnitude/s90")


def test_without_magnitude_pruning_the_others_are_shown() -> None:
    fewer = SHIPPED | {"subnetworks": {"random": SHIPPED["subnetworks"]["random"]}}
    assert shown_models(read_experiment(fewer)) == ("dense", "random/s50")

"""A network has the same name wherever it is shown."""

import pytest
from shipped import experiment

from lxmert_tickets.report.names import label_of, row_label, shown_models, subnetwork_of


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
    assert shown_models(experiment()) == expected


def test_of_two_subnetworks_found_by_magnitude_the_sparsest_of_the_first_is_shown() -> None:
    other = {"keep": "largest", "rounds": "one_shot", "sparsities": [50, 80]}
    both = experiment(subnetworks={"high_magnitude": None, "random": None, "one_shot": other})
    assert shown_models(both) == ("dense", "low_magnitude/s50", "low_magnitude/s90", "one_shot/s50")


def test_at_a_sparsity_that_only_one_subnetwork_has_only_it_and_dense_are_shown() -> None:
    assert shown_models(experiment(report={"table_sparsity": 90})) == ("dense", "low_magnitude/s90")


def test_without_magnitude_pruning_the_others_are_shown() -> None:
    fewer = experiment(subnetworks={"low_magnitude": None, "high_magnitude": None})
    assert shown_models(fewer) == ("dense", "random/s50")

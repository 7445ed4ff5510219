"""An experiment is typed and frozen; its stages, models and rounds follow from it."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shipped import SECTIONS, SHIPPED, STAGES, experiment, with_value

from lxmert_tickets.configuration.experiment import (
    ComplementSubnetwork,
    MagnitudeSubnetwork,
    RandomSubnetwork,
    one_of,
    percent_text,
)
from lxmert_tickets.configuration.reading import read_experiment, read_running
from lxmert_tickets.errors import ConfigError


def test_no_part_of_an_experiment_can_be_assigned_to() -> None:
    found = experiment()
    for part in (found, found.training, found.scenes.sets["val"], found.subnetworks["random"]):
        with pytest.raises(AttributeError):
            setattr(part, msgspec.structs.fields(part)[0].name, 1)


CHANGES = [
    ("scenes.seed", 1), ("scenes.sets.val.images", 7), ("text.max_length", 19), ("model.n_heads", 2),
    ("pretraining.steps", 9), ("training.eps", 1e-8), ("pruning.prunable", ["*"]), ("report.figure_dpi", 50),
    ("splits.test", ["test-std"]),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value"), CHANGES)
def test_a_change_in_one_section_changes_the_text_of_that_stage_alone(place: str, value: object) -> None:
    before, after = experiment(), read_experiment(with_value(place, value))
    assert [name for name in STAGES if before.stage(name) != after.stage(name)] == [place.partition(".")[0]]


def test_the_text_of_a_stage_does_not_depend_on_how_the_file_is_written() -> None:
    turned = {key: dict(reversed(value.items())) if key in SECTIONS else value for key, value in SHIPPED.items()}
    turned["scenes"]["sets"] = dict(reversed(turned["scenes"]["sets"].items()))
    turned["training"] |= {"clip_norm": 5, "weight_decay": 1.0e-2}
    for name in STAGES:
        assert read_experiment(turned).stage(name) == experiment().stage(name)


def test_the_checkpoint_interval_is_not_part_of_the_experiment() -> None:
    slower = with_value("checkpoints.interval_minutes", 60)
    assert read_experiment(slower) == read_experiment(SHIPPED)
    assert [read_running(each).checkpoints.interval_minutes for each in (slower, SHIPPED)] == [60, 10]


def test_a_stage_can_be_read_back_from_its_text() -> None:
    found = experiment()
    assert msgspec.json.decode(found.stage("training"), type=type(found.training)) == found.training


def test_an_image_set_depends_on_its_own_size_and_on_what_all_sets_share() -> None:
    before = experiment()
    other = read_experiment(with_value("scenes.sets.val.images", 7))
    assert {name for name in before.scenes.sets if before.image_set(name) != other.image_set(name)} == {"val"}
    reseeded = read_experiment(with_value("scenes.seed", 7))
    assert all(before.image_set(name) != reseeded.image_set(name) for name in before.scenes.sets)


def test_an_overlay_removes_a_subnetwork_with_null() -> None:
    assert list(experiment(subnetworks={"random": None}).subnetworks) == ["low_magnitude", "high_magnitude"]


def test_subnetworks_are_found_by_their_kind() -> None:
    kinds = (MagnitudeSubnetwork, RandomSubnetwork, ComplementSubnetwork)
    assert [experiment().names_of(kind) for kind in kinds] == [("low_magnitude",), ("random",), ("high_magnitude",)]


def test_the_models_are_the_dense_network_and_every_subnetwork_at_every_sparsity() -> None:
    found = experiment(subnetworks={"random": {"sparsities": [50, 97.5]}, "low_magnitude": {"sparsities": [50]}})
    assert found.models() == ("dense", "low_magnitude/s50", "high_magnitude/s50", "random/s50", "random/s97.5")


def test_the_evaluated_splits_are_the_one_that_epochs_are_chosen_on_and_the_test_splits() -> None:
    assert experiment().evaluated_splits == ("val", "test-dev", "test-std")


def test_an_iterative_round_prunes_the_network_of_the_round_before() -> None:
    found = experiment(subnetworks={"low_magnitude": {"sparsities": [12.5, 50, 75]}})
    assert [found.previous_sparsity("low_magnitude", text) for text in ("12.5", "50", "75")] == [None, "12.5", "50"]
    assert [found.n_rounds_after("low_magnitude", text) for text in ("12.5", "50", "75")] == [2, 1, 0]


def test_one_shot_always_prunes_the_dense_network() -> None:
    found = experiment(subnetworks={"low_magnitude": {"rounds": "one_shot"}})
    assert {found.previous_sparsity("low_magnitude", text) for text in ("10", "50", "90")} == {None}
    assert {found.n_rounds_after("low_magnitude", text) for text in ("10", "50", "90")} == {0}


@pytest.mark.parametrize("name", ["low_magnitude", "high_magnitude", "random"])
@pytest.mark.parametrize("sparsity", ["60", "50.0", "100"])
def test_an_undeclared_sparsity_is_refused_with_a_list_of_those_declared(name: str, sparsity: str) -> None:
    found = experiment(subnetworks={kind: {"sparsities": [25, 50, 75]} for kind in ("low_magnitude", "random")})
    declared = "50" if name == "high_magnitude" else "25, 50, 75"
    told = rf"subnetworks\.{name}: requested at {sparsity} %; expected one of those declared: {declared}\."
    for ask in (found.previous_sparsity, found.n_rounds_after):
        with pytest.raises(ConfigError, match=told):
            ask(name, sparsity)


def test_the_architecture_combines_the_configured_sizes_with_those_set_by_the_data() -> None:
    found = experiment().model.architecture(n_answers=3, vocab_size=70, feature_dim=5)
    assert (found.n_answers, found.vocab_size, found.feature_dim) == (3, 70, 5)
    assert found.hidden_size == experiment().model.hidden_size


def test_sparsities_below_one_percent_are_not_taken_for_fractions_beside_larger_ones() -> None:
    subnetworks = {"random": {"sparsities": [0.5]}, "low_magnitude": {"sparsities": [50, 99.5]}}
    found = experiment(subnetworks=subnetworks | {"high_magnitude": {"sparsities": [0.5, 50]}})
    assert found.subnetworks["random"].sparsities == (0.5,)
    assert found.subnetworks["high_magnitude"].sparsities == (0.5, 50)


def test_a_complement_mirrors_its_parent_to_the_last_digit() -> None:
    for mirror, percent in ((0.1, 99.9), (50, 50), (86.5782272, 13.4217728)):
        fine = {"low_magnitude": {"sparsities": [mirror]}, "high_magnitude": {"sparsities": [percent]}}
        found = experiment(subnetworks=fine, report={"table_sparsity": percent})
        assert found.mirrored("high_magnitude", f"{percent}") == ("low_magnitude", f"{mirror}")


@pytest.mark.parametrize(
    ("percent", "text"), [(50.0, "50"), (97.5, "97.5"), (86.5782272, "86.5782272"), (0.00001, "0.00001"), (10.0, "10")]
)
def test_a_percentage_in_a_path_has_no_needless_digits(percent: float, text: str) -> None:
    assert percent_text(percent) == text


@given(st.floats(0, 100, exclude_min=True, exclude_max=True))
def test_a_percentage_in_a_path_reads_back_as_the_same_number(percent: float) -> None:
    assert float(percent_text(percent)) == percent
    assert set(percent_text(percent)) <= set("0123456789.")


def test_a_wildcard_matches_only_the_names_it_is_given() -> None:
    found = [name for name in ("test-dev", "a.b", "axb", "test") if re.fullmatch(one_of(["test-dev", "a.b"]), name)]
    assert found == ["test-dev", "a.b"]
    assert not re.search(one_of([]), "")

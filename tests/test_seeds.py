"""Seeds for one purpose say nothing about those for another, and never change."""

from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.seeds import derive_seed


def test_seeds_equal_those_of_existing_results() -> None:
    assert derive_seed(0, "classifier") == 5512570965100621470
    assert derive_seed(2026, "val", "images") == 6028719663003734108


@given(st.integers(), st.text(), st.integers())
def test_a_seed_has_63_bits_and_depends_on_its_arguments_alone(seed: int, purpose: str, step: int) -> None:
    found = derive_seed(seed, purpose, step)
    assert 0 <= found < 2**63
    assert found == derive_seed(seed, purpose, step)


def test_every_run_and_every_purpose_has_its_own_seed() -> None:
    purposes = [("classifier",), ("data_order",), ("data_order", 1), ("data_order", 2), ("random_mask", 5, 0), ()]
    seeds = {derive_seed(seed, *purpose) for seed in (0, 1, -1, 10) for purpose in purposes}
    assert len(seeds) == 4 * len(purposes)

"""Seeds for one purpose say nothing about those for another, and never change."""

from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.seeds import derive_seed


def test_seeds_are_those_of_results_that_exist() -> None:
    assert derive_seed(0, "classifier") == 5512570965100621470
    assert derive_seed(2026, "val", "images") == 6028719663003734108


@given(st.integers(), st.text(), st.integers())
def test_a_seed_is_a_pure_63_bit_number(seed: int, purpose: str, step: int) -> None:
    found = derive_seed(seed, purpose, step)
    assert 0 <= found < 2**63
    assert found == derive_seed(seed, purpose, step)


def test_runs_and_purposes_have_seeds_of_their_own() -> None:
    purposes = [("classifier",), ("data_order",), ("data_order", 1), ("data_order", 2), ("random_mask", 5, 0), ()]
    seeds = {derive_seed(seed, *purpose) for seed in (0, 1, -1, 10) for purpose in purposes}
    assert len(seeds) == 4 * len(purposes)

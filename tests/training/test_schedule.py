"""The learning rate rises from 0 to its peak and falls to 0, both linearly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import RECIPE, changed

from lxmert_tickets.training.schedule import learning_rate, warmup_linear


@pytest.mark.parametrize(
    ("step", "factor"), [(0, 0), (1, 0.1), (5, 0.5), (10, 1), (55, 0.5), (91, 0.1), (99, 1 / 90), (100, 0)]
)
def test_the_rate_warms_up_for_a_tenth_of_the_steps_and_then_decays(step: int, factor: float) -> None:
    assert warmup_linear(step, 100, 0.1) == pytest.approx(factor)


@given(st.integers(20, 500), st.floats(0.1, 0.9))
def test_the_rate_rises_with_the_steps_done_and_falls_with_the_steps_left(n_steps: int, warmup: float) -> None:
    factors = [warmup_linear(step, n_steps, warmup) for step in range(n_steps)]
    assert factors[0] == 0
    assert factors == pytest.approx(
        [min(step / (n_steps * warmup), (n_steps - step) / (n_steps * (1 - warmup))) for step in range(n_steps)]
    )
    assert max(factors) <= 1


def test_peak_and_warm_up_are_those_of_the_recipe() -> None:
    recipe = changed(RECIPE, learning_rate=2.0, warmup_fraction=0.5)
    assert [learning_rate(recipe, step, 4) for step in range(4)] == [0, 1, 2, 1]


def test_without_warm_up_the_rate_starts_at_its_peak() -> None:
    assert [warmup_linear(step, 4, 0.0) for step in range(5)] == [1, 0.75, 0.5, 0.25, 0]

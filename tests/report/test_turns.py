"""Kinds take turns: each gives its first before any gives its second."""

import pytest

from lxmert_tickets.report.turns import in_turn

EXAMPLES = [("a", 1), ("a", 2), ("b", 3), ("a", 4), ("c", 5), ("b", 6)]


@pytest.mark.parametrize(("n_examples", "expected"), [(0, []), (2, [1, 3]), (4, [1, 3, 5, 2]), (9, [1, 3, 5, 2, 6, 4])])
def test_kinds_take_turns_in_order_of_first_appearance_until_there_are_enough(
    n_examples: int, expected: list[int]
) -> None:
    assert in_turn(EXAMPLES, n_examples) == expected

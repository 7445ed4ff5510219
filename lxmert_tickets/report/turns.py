"""Takes kinds in turn, so that a few examples show many kinds."""

from collections import defaultdict
from collections.abc import Iterable
from typing import TypeVar

Example = TypeVar("Example")


def in_turn(examples: Iterable[tuple[str, Example]], n_examples: int) -> list[Example]:
    """Return the first of each kind, then the second of each, ... up to `n_examples`, from (kind, example)."""
    by_kind: dict[str, list[Example]] = defaultdict(list)
    for kind, example in examples:
        by_kind[kind].append(example)
    turns = [one for k in range(n_examples) for group in by_kind.values() for one in group[k : k + 1]]
    return turns[:n_examples]

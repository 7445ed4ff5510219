"""A stream's rows laid out by attention head, for batched products on the CPU.

A piece is one head's part of a row. Queries have the T places of their sequence. Keys and values have K places, which
is T but at least 16: torch's softmax takes a seventh of the time over 16 that it takes over 12, since it is made for
whole vectors. Attention ignores the extra places, as it does padding.

Shapes: B sequences, T places, K keys; n rows.
"""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from lxmert_tickets.model.places import Places

LEAST_KEYS = 16


@dataclass(frozen=True)
class HeadLayout:
    """The pieces of all heads, for rows in `places`.

    `kinds` names the parts of a joint projection, such as "qkv" or "q": queries, keys, values.
    """

    places: Places
    n_heads: int
    _known: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def n_keys(self) -> int:
        return max(self.places.n_places, LEAST_KEYS)

    def at_heads(self, rows: Tensor, kinds: str) -> list[Tensor]:
        """Return rows (n, parts * H) as (B * heads, T or K, H / heads) of each part; padding is arbitrary.

        Padding that has no row reads the last row, which is padding too: gradients of rows thus give 0 there.
        """
        pieces = rows.reshape(rows.shape[0] * len(kinds) * self.n_heads, -1)
        return self.views(pieces.index_select(0, self._indices(kinds)[0]), kinds)

    def to_rows(self, pieces: Tensor, kinds: str) -> Tensor:
        """Return the pieces of all parts as rows (n, parts * H) of `places.apart`."""
        width = len(kinds) * self.n_heads * pieces.shape[-1]
        return pieces.view(-1, pieces.shape[-1]).index_select(0, self._indices(kinds)[1]).view(-1, width)

    def empty(self, like: Tensor, kinds: str) -> tuple[Tensor, list[Tensor]]:
        """Return uninitialised pieces, as wide as those of `like`, and a view of each part."""
        pieces = like.new_empty(sum(self._sizes(kinds)), like.shape[-1])
        return pieces, self.views(pieces, kinds)

    def views(self, pieces: Tensor, kinds: str) -> list[Tensor]:
        """Return the pieces of each part as (B * heads, T or K, H / heads)."""
        shape = self.places.n_sequences * self.n_heads, -1, pieces.shape[-1]
        if len(kinds) == 1:
            return [pieces.view(shape)]
        return [part.view(shape) for part in torch.split_with_sizes(pieces, self._sizes(kinds))]

    @cached_property
    def absent(self) -> Tensor | None:
        """What to add to logits, float32: -inf at keys to ignore, 0 at others; None if there are none to ignore.

        Shape: (B * heads, 1, K), or (1, 1, K) where no place is padding.
        """
        present, n_places = self.places.present, self.places.n_places
        if present is None and n_places == self.n_keys:
            return None
        of_each = np.ones((1, n_places), np.bool_) if present is None else present.numpy()
        bias = np.full((len(of_each), 1 if present is None else self.n_heads, self.n_keys), -np.inf, np.float32)
        bias[:, :, :n_places] = np.where(of_each, 0, -np.inf)[:, None]
        return torch.from_numpy(bias).view(-1, 1, self.n_keys)

    def _length(self, kind: str) -> int:
        return self.places.n_places if kind == "q" else self.n_keys

    def _sizes(self, kinds: str) -> list[int]:
        return [self.places.n_sequences * self.n_heads * self._length(kind) for kind in kinds]

    def _indices(self, kinds: str) -> tuple[Tensor, Tensor]:
        """Return int64 indices: of pieces of rows, for `at_heads`, and of pieces of heads, for `to_rows`."""
        if kinds not in self._known:
            self._known[kinds] = self._pieces_of_rows(kinds), self._pieces_of_heads(kinds)
        return self._known[kinds]

    # NumPy's operators have less overhead than torch's, and there are many small ones here.

    def _pieces_of_rows(self, kinds: str) -> Tensor:
        n_parts, n_places = len(kinds), self.places.n_places
        first = self._row_at * (n_parts * self.n_heads)
        heads = np.arange(n_parts * self.n_heads).reshape(n_parts, self.n_heads, 1)
        parts = [
            (first[:, :, :n_places] if kind == "q" else first) + head for kind, head in zip(kinds, heads, strict=True)
        ]
        return torch.from_numpy(np.concatenate([part.ravel() for part in parts]))

    def _pieces_of_heads(self, kinds: str) -> Tensor:
        ends = accumulate(self._sizes(kinds), initial=0)
        parts = [self._piece_of_row["q" if kind == "q" else "k"] + end for kind, end in zip(kinds, ends, strict=False)]
        return torch.from_numpy(np.concatenate(parts, axis=1).ravel())

    @cached_property
    def _row_at(self) -> np.ndarray:
        """The row at every place, int64 (B, 1, K); any row at the extra places of keys."""
        n_sequences, n_places = self.places.n_sequences, self.places.n_places
        rows = np.zeros((n_sequences, 1, self.n_keys), np.int64)
        rows[:, 0, :n_places] = self.places.row_at().numpy().reshape(n_sequences, n_places)
        return rows

    @cached_property
    def _piece_of_row(self) -> dict[str, np.ndarray]:
        """The piece of every row and head, int64 (n, heads), among those of queries alone, and of keys alone."""
        n_places, rows = self.places.n_places, self.places.rows
        at = np.arange(self.places.n_sequences * n_places) if rows is None else rows.numpy()
        sequence, found = at // n_places, {}
        for kind, length in ("q", n_places), ("k", self.n_keys):
            # Before it are the pieces of all heads of the sequences before, and of the heads and places before.
            first = sequence * (self.n_heads * length - n_places) + at
            found[kind] = first[:, None] + np.arange(self.n_heads) * length
        return found


def layout_of(places: Places, n_heads: int) -> HeadLayout:
    """Return the layout of `places`, the same for every layer."""
    if places.rows is None and places.present is None and places.source is None:
        return _where_all_are_rows(places.n_sequences, places.n_places, n_heads)
    if n_heads not in places.layouts:
        places.layouts[n_heads] = HeadLayout(places, n_heads)
    return places.layouts[n_heads]  # type: ignore[no-any-return]


@lru_cache(maxsize=64)
def _where_all_are_rows(n_sequences: int, n_places: int, n_heads: int) -> HeadLayout:
    return HeadLayout(Places(n_sequences, n_places), n_heads)

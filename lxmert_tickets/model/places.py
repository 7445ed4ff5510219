"""The places of a stream's rows. A stream is rows (n, H) of B sequences of T places; padding need not have a row."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

ROWS_STEP = 16
"""Packed rows are a multiple of this: oneDNN generates code for each new shape (0.2 to 1.4 ms)."""


def rows_for(n_tokens: int, step: int) -> int:
    """Return how many rows `n_tokens` are packed into: a multiple of `step`, at least one of them padding."""
    return (n_tokens // step + 1) * step


@dataclass(frozen=True)
class Places:
    """Rows of `n_sequences` sequences of `n_places` places.

    `rows` int64 (n): the place, of B * T, of each row; None where every place has a row, in order. The last of `rows`
    is padding: it is computed, but nothing reads it. `present` bool (B, T): True = a token, not padding; None = all
    are. `source` int64 (B): the sequence, of the `n_sources` that have rows, whose rows each sequence reads, as
    questions read their image's; None = each has its own. Where it is given, every place has a row.
    """

    n_sequences: int
    n_places: int
    rows: Tensor | None = None
    present: Tensor | None = None
    source: Tensor | None = None
    n_sources: int = 0
    # Cached for all layers: layouts of `head_layout` by number of heads, and what `sequences` returns.
    layouts: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)
    _sequences: list[Tensor] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def of(cls, n_sequences: int, n_places: int, present: Tensor | None, n_rows: int | None = None) -> "Places":
        """Return the places of padded sequences, packed into `n_rows` rows (see `rows_for`).

        With None, the CPU counts them; a GPU would have to be waited for, so there every place has a row.
        """
        if present is None:
            return cls(n_sequences, n_places)
        if n_rows is None and present.device.type == "cpu":
            n_rows = rows_for(int(present.sum()), ROWS_STEP)
        if n_rows is None or n_rows >= present.numel():
            return cls(n_sequences, n_places, None, present)
        # Tokens in order, then some padding to fill up. A GPU cannot sort bool.
        rows = present.logical_not().flatten().to(torch.uint8).argsort(stable=True)[:n_rows]
        return cls(n_sequences, n_places, rows, present)

    @property
    def n_rows(self) -> int:
        if self.source is not None:
            return self.n_sources * self.n_places
        return self.n_sequences * self.n_places if self.rows is None else self.rows.shape[0]

    def shared_by(self, source: Tensor) -> "Places":
        """Return the places of B sequences, each of which reads the rows of one of these, `source` (B)."""
        return Places(len(source), self.n_places, source=source, n_sources=self.n_sequences)

    @property
    def apart(self) -> "Places":
        """The same places where each sequence has rows of its own."""
        return self if self.source is None else Places(self.n_sequences, self.n_places)

    def to_apart(self, rows: Tensor) -> Tensor:
        """Return rows (n, ...) as those of `apart`: shared ones are repeated."""
        return rows if self.source is None else rows.index_select(0, self.row_at())

    def from_apart(self, gradient: Tensor) -> Tensor:
        """Return the gradient of rows, from that of `to_apart` of them."""
        if self.source is None:
            return gradient
        return gradient.new_zeros(self.n_rows, *gradient.shape[1:]).index_add_(0, self.row_at(), gradient)

    def row_at(self) -> Tensor:
        """Return the row, int64 (B * T), at every place; the last one where there is none."""
        if self.source is not None:
            return (self.source[:, None] * self.n_places + _up_to(self.n_places, self.source)).flatten()
        if self.rows is None:
            return torch.arange(self.n_sequences * self.n_places)
        last = self.n_rows - 1
        found = self.rows.new_full((self.n_sequences * self.n_places,), last)
        return found.index_copy_(0, self.rows, _up_to(last + 1, self.rows))

    def pack(self, padded: Tensor) -> Tensor:
        """Return the rows (n, ...) out of values at every place (B * T, ...)."""
        return padded if self.rows is None else padded.index_select(0, self.rows)

    def pad(self, rows: Tensor) -> Tensor:
        """Return rows (n, ...) at their places (B * T, ...), and 0 where there is none."""
        if self.rows is None:
            return self.to_apart(rows)
        padded = rows.new_zeros(self.n_sequences * self.n_places, *rows.shape[1:])
        return padded.index_copy_(0, self.rows, rows)

    def heads(self, rows: Tensor, n_heads: int) -> Tensor:
        """Return rows (n, H) as (B, heads, T, H / heads)."""
        return self.pad(rows).view(self.n_sequences, self.n_places, n_heads, -1).transpose(1, 2)

    def sequences(self, device: torch.device) -> tuple[Tensor, Tensor, int]:
        """Return each sequence's first row and number of tokens, int32 (B), and the most tokens that one can have."""
        if not self._sequences:
            if self.present is None:
                lengths = torch.full((self.n_sequences,), self.n_places, dtype=torch.int32, device=device)
            else:
                lengths = self.present.sum(dim=1, dtype=torch.int32)
            if self.rows is None:
                starts = torch.arange(self.n_sequences, dtype=torch.int32, device=device) * self.n_places
            else:
                starts = lengths.cumsum(0, dtype=torch.int32) - lengths
            self._sequences.extend((starts, lengths))
        starts, lengths = self._sequences
        return starts, lengths, self.n_places

    def firsts(self, device: torch.device) -> Tensor:
        """Return the row, int64 (B), of the first place of every sequence: [CLS]."""
        if self.rows is None or self.present is None:
            return torch.arange(0, self.n_sequences * self.n_places, self.n_places, device=device)
        lengths = self.present.sum(dim=1)
        return lengths.cumsum(0) - lengths

    def read(self, device: torch.device) -> "Read":
        """Return the first places, which are read if nothing else is asked for."""
        return Read(Places(self.n_sequences, 1), self.firsts(device))

    def read_also(self, asked: Tensor) -> tuple["Read", Tensor]:
        """Return the first places and those `asked` for, bool (B, T); and which rows are of the latter, bool (n)."""
        read = asked.index_fill(1, asked.new_zeros(1, dtype=torch.int64), True)
        counts = read.sum(dim=1)
        longest = int(counts.max())
        places = read.byte().argsort(dim=1, descending=True, stable=True)[:, :longest]  # (B, K), ascending
        present = _up_to(longest, places) < counts[:, None]
        of_read = Places.of(self.n_sequences, longest, present)
        at = of_read.pack((places + self.n_places * _up_to(len(places), places)[:, None]).flatten())
        rows = at if self.rows is None else self.row_at().index_select(0, at)
        return Read(of_read, rows), of_read.pack(asked.gather(1, places).flatten())


class Read(NamedTuple):
    """What is read of the sequences in the end: places, and the row, int64 (k), at each of them."""

    places: Places
    rows: Tensor


def rows_of_each(rows: Tensor, every: Sequence[Places]) -> Sequence[Tensor]:
    """Return the rows of each stream, one or two, that `rows` concatenates."""
    return [rows] if len(every) == 1 else torch.split_with_sizes(rows, [places.n_rows for places in every])


def _up_to(n: int, like: Tensor) -> Tensor:
    return torch.arange(n, device=like.device)

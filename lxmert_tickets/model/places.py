"""Where the rows of a stream stand. A stream is rows (n, H) of B sequences of T places; padding need not be a row."""

from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

ROWS_STEP = 32
"""Packed rows are a multiple of this: oneDNN generates code for each new shape (0.2 to 1.4 ms)."""


def rows_for(n_tokens: int, step: int) -> int:
    """Return how many rows `n_tokens` are packed into: a multiple of `step`, at least one of them padding."""
    return (n_tokens // step + 1) * step


@dataclass(frozen=True)
class Places:
    """Rows of `n_sequences` sequences of `n_places` places.

    `rows` int64 (n): the place, of B * T, where each row stands; None where every place is a row, in order. The last of
    them is padding: it is computed, and nothing reads it. `present` bool (B, T): True = a token, not padding; None =
    all are.
    """

    n_sequences: int
    n_places: int
    rows: Tensor | None = None
    present: Tensor | None = None
    # By number of parts and heads: what every layer asks for.
    _known: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False, compare=False)
    _absent: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)
    _sequences: list[Tensor] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def of(cls, n_sequences: int, n_places: int, present: Tensor | None, n_rows: int | None = None) -> "Places":
        """Return the places of padded sequences, packed into `n_rows`, of `rows_for`.

        None: on the CPU that is counted; a GPU would have to be waited for, so every place is a row.
        """
        if present is None:
            return cls(n_sequences, n_places)
        if n_rows is None and present.device.type == "cpu":
            n_rows = rows_for(int(present.sum()), ROWS_STEP)
        if n_rows is None or n_rows >= present.numel():
            return cls(n_sequences, n_places, None, present)
        # Tokens in order, then some padding to fill up. A GPU sorts no bool.
        rows = present.logical_not().flatten().to(torch.uint8).argsort(stable=True)[:n_rows]
        return cls(n_sequences, n_places, rows, present)

    @property
    def n_rows(self) -> int:
        return self.n_sequences * self.n_places if self.rows is None else self.rows.shape[0]

    def pack(self, padded: Tensor) -> Tensor:
        """Return the rows (n, ...) of what stands at every place (B * T, ...)."""
        return padded if self.rows is None else padded.index_select(0, self.rows)

    def pad(self, rows: Tensor) -> Tensor:
        """Return rows (n, ...) at their places (B * T, ...), and 0 where there is none."""
        if self.rows is None:
            return rows
        padded = rows.new_zeros(self.n_sequences * self.n_places, *rows.shape[1:])
        return padded.index_copy_(0, self.rows, rows)

    def heads(self, rows: Tensor, n_heads: int) -> Tensor:
        """Return rows (n, H) as (B, heads, T, H / heads)."""
        return self.pad(rows).view(self.n_sequences, self.n_places, n_heads, -1).transpose(1, 2)

    def to_heads(self, rows: Tensor, n_parts: int, n_heads: int) -> Tensor:
        """Return rows (n, parts * H) as (parts, B * heads, T, H / heads); what stands at padding means nothing.

        Padding that is no row reads the last row. So gradients of rows give gradients that are 0 there.
        """
        pieces = rows.reshape(rows.shape[0] * n_parts * n_heads, -1)
        found = pieces.index_select(0, self._pieces(n_parts, n_heads)[0])
        return found.view(n_parts, self.n_sequences * n_heads, self.n_places, -1)

    def to_rows(self, heads: Tensor, n_heads: int) -> Tensor:
        """Return (parts, B * heads, T, H / heads) as rows (n, parts * H)."""
        pieces = heads.view(-1, heads.shape[-1]).index_select(0, self._pieces(heads.shape[0], n_heads)[1])
        return pieces.view(self.n_rows, -1)

    def _pieces(self, n_parts: int, n_heads: int) -> tuple[Tensor, Tensor]:
        """Return int64 indices: of pieces of rows, for `to_heads`, and of pieces of heads, for `to_rows`."""
        if self.rows is None:
            return _pieces_where_all_are_rows(self.n_sequences, self.n_places, n_parts, n_heads)
        if (n_parts, n_heads) not in self._known:
            self._known[n_parts, n_heads] = _pieces_at(self.rows, self.n_sequences, self.n_places, n_parts, n_heads)
        return self._known[n_parts, n_heads]

    def absent(self, n_heads: int) -> Tensor | None:
        """Return what to add to logits over these places: float32 (B * heads, 1, T), -inf at padding; None for none."""
        if self.present is None:
            return None
        if n_heads not in self._absent:
            bias = torch.zeros(self.present.shape).masked_fill_(~self.present, -torch.inf)
            self._absent[n_heads] = bias.repeat_interleave(n_heads, dim=0)[:, None]
        return self._absent[n_heads]

    def sequences(self, device: torch.device) -> tuple[Tensor, Tensor, int]:
        """Return the first row of each sequence, its number of tokens, int32 (B), and the most there can be."""
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

    def first(self, rows: Tensor) -> Tensor:
        """Return the row (B, H) of the first place of every sequence: [CLS]."""
        if self.rows is None or self.present is None:
            return rows.view(self.n_sequences, self.n_places, -1)[:, 0]
        lengths = self.present.sum(dim=1)
        return rows.index_select(0, lengths.cumsum(0) - lengths)


def _pieces_at(rows: Tensor, n_sequences: int, n_places: int, n_parts: int, n_heads: int) -> tuple[Tensor, Tensor]:
    """Return the indices of `Places._pieces` for rows that stand at the places `rows`."""
    n_rows, n_at_all = rows.shape[0], n_sequences * n_places
    row_at = torch.full((n_at_all,), n_rows - 1).index_copy_(0, rows, torch.arange(n_rows))
    part, head = torch.arange(n_parts)[:, None], torch.arange(n_heads)
    to_heads = row_at.view(n_sequences, 1, n_places) * (n_parts * n_heads) + (part * n_heads + head)[:, None, :, None]
    first = rows.div(n_places, rounding_mode="floor") * (n_heads * n_places) + rows.remainder(n_places)
    to_rows = first[:, None, None] + part * (n_at_all * n_heads) + head * n_places
    return to_heads.flatten(), to_rows.flatten()


@lru_cache(maxsize=64)
def _pieces_where_all_are_rows(n_sequences: int, n_places: int, n_parts: int, n_heads: int) -> tuple[Tensor, Tensor]:
    return _pieces_at(torch.arange(n_sequences * n_places), n_sequences, n_places, n_parts, n_heads)

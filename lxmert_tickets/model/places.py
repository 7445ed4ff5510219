"""Where the rows of a stream stand. A stream is rows (n, H) of B sequences of T places; padding need not be a row."""

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS_STEP = 32
"""Packed rows are a multiple of this: oneDNN generates code for each new shape (0.2 to 1.4 ms)."""


@dataclass(frozen=True)
class Places:
    """Rows of `n_sequences` sequences of `n_places` places.

    `rows` int64 (n): the place, of B * T, where each row stands; None where every place is a row, in order. `present`
    bool (B, T): True = a token, not padding; None = all are.
    """

    n_sequences: int
    n_places: int
    rows: Tensor | None = None
    present: Tensor | None = None

    @classmethod
    def of(cls, n_sequences: int, n_places: int, present: Tensor | None) -> "Places":
        """Return the places of padded sequences: packed on the CPU, where it pays; a GPU wants few shapes instead."""
        if present is None or present.device.type != "cpu":
            return cls(n_sequences, n_places, None, present)
        n_rows = -(-int(present.sum()) // ROWS_STEP) * ROWS_STEP
        if n_rows >= present.numel():
            return cls(n_sequences, n_places, None, present)
        # Tokens in order, then some padding to fill up: it is computed, and nothing reads it.
        rows = present.flatten().argsort(descending=True, stable=True)[:n_rows]
        return cls(n_sequences, n_places, rows, present)

    @property
    def n_rows(self) -> int:
        return self.n_sequences * self.n_places if self.rows is None else len(self.rows)

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

    def absent(self, n_heads: int) -> Tensor | None:
        """Return what to add to logits over these places: float32 (B * heads, 1, T), -inf at padding; None for none."""
        if self.present is None:
            return None
        bias = torch.zeros(self.present.shape).masked_fill_(~self.present, -torch.inf)
        return bias.repeat_interleave(n_heads, dim=0)[:, None]

    def first(self, rows: Tensor) -> Tensor:
        """Return the row (B, H) of the first place of every sequence: [CLS]."""
        if self.rows is None or self.present is None:
            return rows.view(self.n_sequences, self.n_places, -1)[:, 0]
        lengths = self.present.sum(dim=1)
        return rows.index_select(0, lengths.cumsum(0) - lengths)

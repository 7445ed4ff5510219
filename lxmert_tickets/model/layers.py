"""The layers of LXMERT, with the parameter names of `transformers`. A stream goes through them as rows (`places`).

Shapes: B questions, T tokens, R regions, H hidden; n rows of language, m = B * R of vision.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.operators import (
    attend,
    attention_sublayer,
    feed_forward,
    make_neighbours,
    project,
    residual_output,
)
from lxmert_tickets.model.places import Places

LAYER_NORM_EPS = 1e-12


@dataclass(frozen=True)
class Dropouts:
    """Probabilities of dropout, while training: on what a sublayer gives, and on attention weights."""

    hidden: float = 0.0
    attention: float = 0.0


@dataclass(frozen=True)
class Stream:
    """Language or vision on its way through the layers."""

    rows: Tensor  # (n, H)
    places: Places

    def becomes(self, rows: Tensor) -> "Stream":
        """Return the stream with other rows in the same places."""
        return Stream(rows, self.places)

    def of_sequences(self, chosen: Tensor) -> "Stream":
        """Return the stream of the sequences `chosen` (B); all their places are rows."""
        shaped = self.rows.view(self.places.n_sequences, self.places.n_places, -1)
        return Stream(shaped.index_select(0, chosen).flatten(0, 1), Places(len(chosen), self.places.n_places))


class Attention(nn.Module):
    """The projections of multi-head attention."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.n_heads = arch.n_heads
        self.query = nn.Linear(arch.hidden_size, arch.hidden_size)
        self.key = nn.Linear(arch.hidden_size, arch.hidden_size)
        self.value = nn.Linear(arch.hidden_size, arch.hidden_size)
        make_neighbours([self.query, self.key, self.value])
        self.dropouts = dropouts

    @property
    def dropout(self) -> float:
        return self.dropouts.attention if self.training else 0.0

    def sublayer(self, rows: Tensor, places_of_each: tuple[Places, ...], output: "ResidualOutput") -> Tensor:
        """Return the rows of attention within one stream, or from each of two to the other, after `output`."""
        return attention_sublayer(
            rows,
            places_of_each,
            [self.query, self.key, self.value],
            output.dense,
            output.LayerNorm,
            self.n_heads,
            (output.dropout, self.dropout),
        )

    def one_way(self, stream: Stream, context: Stream) -> Tensor:
        """Return the rows (n, H) of attention from `stream` to `context`."""
        queries, projected = project(stream.rows, [self.query]), project(context.rows, [self.key, self.value])
        return attend(queries, projected, stream.places, context.places, self.n_heads, self.dropout)


class ResidualOutput(nn.Module):
    """LayerNorm(residual + dropout(dense(hidden))): how every sublayer ends."""

    def __init__(self, n_inputs: int, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.dense = nn.Linear(n_inputs, arch.hidden_size)
        self.LayerNorm = nn.LayerNorm(arch.hidden_size, eps=LAYER_NORM_EPS)
        self.dropouts = dropouts

    @property
    def dropout(self) -> float:
        return self.dropouts.hidden if self.training else 0.0

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        return residual_output(hidden, residual, self.dense, self.LayerNorm, self.dropout)


class SelfAttentionLayer(nn.Module):
    """Attention within one stream."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.self = Attention(arch, dropouts)
        self.output = ResidualOutput(arch.hidden_size, arch, dropouts)

    def forward(self, stream: Stream) -> Stream:
        return stream.becomes(self.self.sublayer(stream.rows, (stream.places,), self.output))

    def first_only(self, stream: Stream) -> Stream:
        """Return the first place of every sequence alone, after it attended to all of them."""
        first = Stream(stream.places.first(stream.rows), Places(stream.places.n_sequences, 1))
        return first.becomes(self.output(self.self.one_way(first, stream), first.rows))


class CrossAttentionLayer(nn.Module):
    """Attention from one stream to the other; one set of weights serves both directions."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.att = Attention(arch, dropouts)
        self.output = ResidualOutput(arch.hidden_size, arch, dropouts)

    def forward(self, language: Stream, vision: Stream) -> tuple[Stream, Stream]:
        """Return both streams; what shares its weights is computed for the rows of both at once."""
        rows = torch.cat([language.rows, vision.rows])  # (n + m, H)
        crossed = self.att.sublayer(rows, (language.places, vision.places), self.output)
        of_language, of_vision = torch.split(crossed, [language.places.n_rows, vision.places.n_rows])
        return language.becomes(of_language), vision.becomes(of_vision)

    def language_only(self, language: Stream, vision: Stream) -> Stream:
        """Return the language stream alone."""
        return language.becomes(self.output(self.att.one_way(language, vision), language.rows))


class Intermediate(nn.Module):
    """First half of a feed-forward sublayer: dense, whose output goes through erf-GELU."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.dense = nn.Linear(arch.hidden_size, arch.intermediate_size)


class Layer(nn.Module):
    """Transformer layer of a single stream, language or vision."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.attention = SelfAttentionLayer(arch, dropouts)
        self.intermediate = Intermediate(arch)
        self.output = ResidualOutput(arch.intermediate_size, arch, dropouts)

    def forward(self, stream: Stream) -> Stream:
        return _fed_forward(self.attention(stream), self.intermediate, self.output)


class CrossLayer(nn.Module):
    """Cross-attention both ways, then self-attention and feed-forward within each stream."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.visual_attention = CrossAttentionLayer(arch, dropouts)
        self.lang_self_att = SelfAttentionLayer(arch, dropouts)
        self.visn_self_att = SelfAttentionLayer(arch, dropouts)
        self.lang_inter = Intermediate(arch)
        self.lang_output = ResidualOutput(arch.intermediate_size, arch, dropouts)
        self.visn_inter = Intermediate(arch)
        self.visn_output = ResidualOutput(arch.intermediate_size, arch, dropouts)

    def forward(self, language: Stream, vision: Stream) -> tuple[Stream, Stream]:
        language, vision = self.visual_attention(language, vision)
        return (
            _fed_forward(self.lang_self_att(language), self.lang_inter, self.lang_output),
            _fed_forward(self.visn_self_att(vision), self.visn_inter, self.visn_output),
        )

    def language_only(self, language: Stream, vision: Stream, first_only: bool) -> Stream:
        """Return the language stream, or its first places: what a last layer is needed for."""
        crossed = self.visual_attention.language_only(language, vision)
        attended = self.lang_self_att.first_only(crossed) if first_only else self.lang_self_att(crossed)
        return _fed_forward(attended, self.lang_inter, self.lang_output)


def _fed_forward(stream: Stream, inner: Intermediate, output: ResidualOutput) -> Stream:
    return stream.becomes(feed_forward(stream.rows, inner.dense, output.dense, output.LayerNorm, output.dropout))

"""The layers of LXMERT, with the parameter names of `transformers`. A stream goes through them as rows (`places`).

Shapes: B questions, T tokens, R regions, H hidden; n rows of language, m = B * R of vision.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.operators import Attending, Feeding, make_neighbours, one_way, sublayers
from lxmert_tickets.model.places import Places, Reading

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

    def through(self, *parts: Attending | Feeding) -> "Stream":
        """Return the stream after sublayers of its own."""
        return self.becomes(sublayers(self.rows, (self.places,), parts))

    def shared_by(self, source: Tensor) -> "Stream":
        """Return the stream of the sequences `source` (B), which share rows: cross-attention then takes them apart."""
        return Stream(self.rows, self.places.shared_by(source))


class Attention(nn.Module):
    """The projections of multi-head attention."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.n_heads = arch.n_heads
        self.query = nn.Linear(arch.hidden_size, arch.hidden_size)
        self.key = nn.Linear(arch.hidden_size, arch.hidden_size)
        self.value = nn.Linear(arch.hidden_size, arch.hidden_size)
        self.dropouts = dropouts
        self._join()

    def _join(self) -> None:
        make_neighbours([self.query, self.key, self.value])

    def _apply(self, *arguments: Any, **options: Any) -> "Attention":
        """Move to another device or dtype, as torch's `to`, `cuda` and `double` do it: neighbours stay neighbours."""
        super()._apply(*arguments, **options)  # type: ignore[no-untyped-call]
        self._join()
        return self

    @property
    def dropout(self) -> float:
        return self.dropouts.attention if self.training else 0.0

    def before(self, output: "ResidualOutput") -> Attending:
        """Return the whole sublayer, that `output` ends."""
        projections = self.query, self.key, self.value
        return Attending(projections, output.dense, output.LayerNorm, self.n_heads, (output.dropout, self.dropout))


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


class SelfAttentionLayer(nn.Module):
    """Attention within one stream."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.self = Attention(arch, dropouts)
        self.output = ResidualOutput(arch.hidden_size, arch, dropouts)

    def whole(self) -> Attending:
        return self.self.before(self.output)

    def read_only(self, stream: Stream, reading: Reading | None) -> Stream:
        """Return the places that are read alone, None for the first ones, after they attended to all of them."""
        places = stream.places
        if reading is None:
            rows, of_read = places.first(stream.rows), Places(places.n_sequences, 1)
        else:
            of_read = Places.of(places.n_sequences, reading.places.shape[1], reading.present)
            rows = places.at(stream.rows, of_read.pack(reading.flat(places.n_places)))
        return Stream(one_way(rows, stream.rows, of_read, places, self.whole()), of_read)


class CrossAttentionLayer(nn.Module):
    """Attention from one stream to the other; one set of weights serves both directions."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.att = Attention(arch, dropouts)
        self.output = ResidualOutput(arch.hidden_size, arch, dropouts)

    def forward(self, language: Stream, vision: Stream) -> tuple[Stream, Stream]:
        """Return both streams; what shares its weights is computed for the rows of both at once."""
        rows = torch.cat([language.rows, vision.rows])  # (n + m, H)
        crossed = sublayers(rows, (language.places, vision.places), [self.att.before(self.output)])
        apart = language.places.apart, vision.places.apart
        of_language, of_vision = torch.split(crossed, [places.n_rows for places in apart])
        return Stream(of_language, apart[0]), Stream(of_vision, apart[1])

    def language_only(self, language: Stream, vision: Stream) -> Stream:
        """Return the language stream alone."""
        whole = self.att.before(self.output)
        return language.becomes(one_way(language.rows, vision.rows, language.places, vision.places, whole))


class Intermediate(nn.Module):
    """First half of a feed-forward sublayer: dense, whose output goes through erf-GELU."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.dense = nn.Linear(arch.hidden_size, arch.intermediate_size)

    def before(self, output: ResidualOutput) -> Feeding:
        """Return the whole sublayer, that `output` ends."""
        return Feeding(self.dense, output.dense, output.LayerNorm, output.dropout)


class Layer(nn.Module):
    """Transformer layer of a single stream, language or vision."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.attention = SelfAttentionLayer(arch, dropouts)
        self.intermediate = Intermediate(arch)
        self.output = ResidualOutput(arch.intermediate_size, arch, dropouts)

    def forward(self, stream: Stream) -> Stream:
        return stream.through(self.attention.whole(), self.intermediate.before(self.output))


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
            language.through(self.lang_self_att.whole(), self.lang_inter.before(self.lang_output)),
            vision.through(self.visn_self_att.whole(), self.visn_inter.before(self.visn_output)),
        )

    def read_only(self, language: Stream, vision: Stream, reading: Reading | None) -> Stream:
        """Return the places of language that are read alone, None for the first ones: what a last layer is for."""
        crossed = self.visual_attention.language_only(language, vision)
        return self.lang_self_att.read_only(crossed, reading).through(self.lang_inter.before(self.lang_output))

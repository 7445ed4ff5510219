"""The layers of LXMERT, with the parameter names of `transformers`. A stream passes through them as rows (`places`).

Shapes: B questions, T tokens, R regions, H hidden; n rows of language, m = B * R of vision.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.operators import one_way, select, sublayers
from lxmert_tickets.model.places import Places, Read
from lxmert_tickets.model.sublayers import Attending, Feeding, make_neighbours

LAYER_NORM_EPS = 1e-12


@dataclass(frozen=True)
class Dropouts:
    """Dropout probabilities in training: of a sublayer's output, and of attention weights."""

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
        """Return the stream after its own sublayers, `parts`."""
        [rows] = sublayers([self.rows], [self.places], parts)
        return self.becomes(rows)

    def shared_by(self, source: Tensor) -> "Stream":
        """Return B sequences that read the rows of sequences `source` (B); cross-attention gives each its own rows."""
        return Stream(self.rows, self.places.shared_by(source))


class Attention(nn.Module):
    """The projections of multi-head attention."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.n_heads = arch.n_heads
        self.query = nn.Linear(arch.hidden_size, arch.hidden_size)
        self.key = nn.Linear(arch.hidden_size, arch.hidden_size)
        self.value = nn.Linear(arch.hidden_size, arch.hidden_size)
        self._join()

    def _join(self) -> None:
        make_neighbours([self.query, self.key, self.value])

    def _apply(self, *arguments: Any, **options: Any) -> "Attention":
        """Move to another device or dtype, as `to`, `cuda` and `double` do; projections stay adjacent in memory."""
        super()._apply(*arguments, **options)  # type: ignore[no-untyped-call]
        self._join()
        return self


class ResidualOutput(nn.Module):
    """LayerNorm(residual + dropout(dense(hidden))): how every sublayer ends."""

    def __init__(self, n_inputs: int, arch: Architecture) -> None:
        super().__init__()
        self.dense = nn.Linear(n_inputs, arch.hidden_size)
        self.LayerNorm = nn.LayerNorm(arch.hidden_size, eps=LAYER_NORM_EPS)


class SelfAttentionLayer(nn.Module):
    """Attention within one stream."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.self = Attention(arch)
        self.output = ResidualOutput(arch.hidden_size, arch)
        self._whole = _attending(self.self, self.output, dropouts)

    def whole(self) -> Attending:
        return self._whole[self.training]

    def read_only(self, stream: Stream, read: Read) -> Stream:
        """Return only the places that are read, after they have attended to all places."""
        rows = select(stream.rows, read.rows)
        return Stream(one_way(rows, stream.rows, read.places, stream.places, self.whole()), read.places)


class CrossAttentionLayer(nn.Module):
    """Attention from one stream to the other; one set of weights serves both directions."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.att = Attention(arch)
        self.output = ResidualOutput(arch.hidden_size, arch)
        self._whole = _attending(self.att, self.output, dropouts)

    def forward(self, language: Stream, vision: Stream) -> tuple[Stream, Stream]:
        """Return both streams; the shared weights are applied to the rows of both at once."""
        rows, every = [language.rows, vision.rows], [language.places, vision.places]
        of_language, of_vision = sublayers(rows, every, [self._whole[self.training]])
        return Stream(of_language, language.places.apart), Stream(of_vision, vision.places.apart)

    def language_only(self, language: Stream, vision: Stream) -> Stream:
        """Return the language stream alone."""
        whole = self._whole[self.training]
        return language.becomes(one_way(language.rows, vision.rows, language.places, vision.places, whole))


class Intermediate(nn.Module):
    """First half of a feed-forward sublayer: dense, whose output goes through erf-GELU."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.dense = nn.Linear(arch.hidden_size, arch.intermediate_size)


def _attending(attention: Attention, output: ResidualOutput, dropouts: Dropouts) -> dict[bool, Attending]:
    """Return the whole sublayer, which `output` ends, for training (True) and evaluation (False)."""
    made_of = (attention.query, attention.key, attention.value), output.dense, output.LayerNorm, attention.n_heads
    return {True: Attending(*made_of, (dropouts.hidden, dropouts.attention)), False: Attending(*made_of, (0.0, 0.0))}


def _feeding(intermediate: Intermediate, output: ResidualOutput, dropouts: Dropouts) -> dict[bool, Feeding]:
    """Return the whole sublayer, which `output` ends, for training (True) and evaluation (False)."""
    made_of = intermediate.dense, output.dense, output.LayerNorm
    return {True: Feeding(*made_of, dropouts.hidden), False: Feeding(*made_of, 0.0)}


class Layer(nn.Module):
    """Transformer layer of a single stream, language or vision."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.attention = SelfAttentionLayer(arch, dropouts)
        self.intermediate = Intermediate(arch)
        self.output = ResidualOutput(arch.intermediate_size, arch)
        self._fed = _feeding(self.intermediate, self.output, dropouts)

    def parts(self) -> tuple[Attending, Feeding]:
        """Return its sublayers; those of all layers of a stream are computed as one function."""
        return self.attention.whole(), self._fed[self.training]


class CrossLayer(nn.Module):
    """Cross-attention both ways, then self-attention and feed-forward within each stream."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.visual_attention = CrossAttentionLayer(arch, dropouts)
        self.lang_self_att = SelfAttentionLayer(arch, dropouts)
        self.visn_self_att = SelfAttentionLayer(arch, dropouts)
        self.lang_inter = Intermediate(arch)
        self.lang_output = ResidualOutput(arch.intermediate_size, arch)
        self.visn_inter = Intermediate(arch)
        self.visn_output = ResidualOutput(arch.intermediate_size, arch)
        self._lang_fed = _feeding(self.lang_inter, self.lang_output, dropouts)
        self._visn_fed = _feeding(self.visn_inter, self.visn_output, dropouts)

    def forward(self, language: Stream, vision: Stream) -> tuple[Stream, Stream]:
        language, vision = self.visual_attention(language, vision)
        return (
            language.through(self.lang_self_att.whole(), self._lang_fed[self.training]),
            vision.through(self.visn_self_att.whole(), self._visn_fed[self.training]),
        )

    def read_only(self, language: Stream, vision: Stream, read: Read) -> Stream:
        """Return only the language places that are read: all that the last layer has to compute."""
        crossed = self.visual_attention.language_only(language, vision)
        return self.lang_self_att.read_only(crossed, read).through(self._lang_fed[self.training])

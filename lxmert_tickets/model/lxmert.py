"""LXMERT for visual question answering (Tan & Bansal, EMNLP 2019), with the parameter names of `transformers`.

Hub checkpoints load here, and weights saved here load in `transformers.LxmertForQuestionAnswering`. The numbers are
the same; less is computed: nothing that the answer does not depend on. The answer head reads the language [CLS]
alone, so the last cross layer computes no vision branch, and nothing but [CLS] once its cross-attention is done.
A stream goes through the layers as rows, so that on the CPU padding is no row (`places`).

Shapes: B questions, T tokens, R regions, H hidden, A answers; n rows of language, m = B * R of vision.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
INITIAL_STD = 0.02


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


class Embeddings(nn.Module):
    """Word + position + token-type embeddings, normalised."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        # Index 0 is padding in all three tables, as published: position 0 and type 0 then never get a gradient.
        self.word_embeddings = nn.Embedding(arch.vocab_size, arch.hidden_size, padding_idx=0)
        self.position_embeddings = nn.Embedding(arch.max_positions, arch.hidden_size, padding_idx=0)
        self.token_type_embeddings = nn.Embedding(2, arch.hidden_size, padding_idx=0)
        self.LayerNorm = nn.LayerNorm(arch.hidden_size, eps=LAYER_NORM_EPS)
        self.dropouts = dropouts

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> Stream:
        places = Places.of(len(input_ids), input_ids.shape[1], attention_mask)
        positions = places.pack(torch.arange(input_ids.shape[1], device=input_ids.device).repeat(len(input_ids)))
        # A question is one segment, so all token types are 0.
        types = torch.zeros_like(positions)
        embedded = (
            self.word_embeddings(places.pack(input_ids.flatten()))
            + self.position_embeddings(positions)
            + self.token_type_embeddings(types)
        )
        return Stream(F.dropout(self.LayerNorm(embedded), self.dropouts.hidden, self.training), places)


class VisualEmbeddings(nn.Module):
    """Mean of the normalised projections of region features and region boxes."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.visn_fc = nn.Linear(arch.feature_dim, arch.hidden_size)
        self.visn_layer_norm = nn.LayerNorm(arch.hidden_size, eps=LAYER_NORM_EPS)
        self.box_fc = nn.Linear(4, arch.hidden_size)
        self.box_layer_norm = nn.LayerNorm(arch.hidden_size, eps=LAYER_NORM_EPS)
        self.dropouts = dropouts

    def forward(self, features: Tensor, boxes: Tensor) -> Stream:
        of_features = self.visn_layer_norm(project(features.flatten(0, 1), [self.visn_fc]))
        of_boxes = self.box_layer_norm(self.box_fc(boxes.flatten(0, 1)))
        embedded = F.dropout((of_features + of_boxes) / 2, self.dropouts.hidden, self.training)
        return Stream(embedded, Places(*features.shape[:2]))


class Encoder(nn.Module):
    """Language layers and vision (relational) layers apart, then cross layers over both."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.visn_fc = VisualEmbeddings(arch, dropouts)
        self.layer = nn.ModuleList(Layer(arch, dropouts) for _ in range(arch.n_language_layers))
        self.r_layers = nn.ModuleList(Layer(arch, dropouts) for _ in range(arch.n_vision_layers))
        self.x_layers = nn.ModuleList(CrossLayer(arch, dropouts) for _ in range(arch.n_cross_layers))

    def read(self, language: Stream) -> Stream:
        """Return embedded questions after the layers that know nothing of images."""
        for layer in self.layer:
            language = layer(language)
        return language

    def see(self, features: Tensor, boxes: Tensor) -> Stream:
        """Return images after the layers that know nothing of questions."""
        vision = self.visn_fc(features, boxes)
        for layer in self.r_layers:
            vision = layer(vision)
        return vision  # type: ignore[no-any-return]

    def cross(self, language: Stream, vision: Stream, first_only: bool = False) -> Stream:
        """Return the language stream, or its first places, after the layers over both."""
        *earlier, last = self.x_layers
        for layer in earlier:
            language, vision = layer(language, vision)
        return last.language_only(language, vision, first_only)  # type: ignore[operator,no-any-return]


class Pooler(nn.Module):
    """tanh(dense([CLS]))."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.dense = nn.Linear(arch.hidden_size, arch.hidden_size)

    def forward(self, first: Tensor) -> Tensor:
        return torch.tanh(self.dense(first))


class Lxmert(nn.Module):
    """Backbone: token ids and regions in, language states and their pooled [CLS] out."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.embeddings = Embeddings(arch, dropouts)
        self.encoder = Encoder(arch, dropouts)
        self.pooler = Pooler(arch)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None, features: Tensor, boxes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return language states (B, T, H), 0 or meaningless where there is padding, and the pooled [CLS] (B, H)."""
        language = self.encoder.cross(self.read(input_ids, attention_mask), self.encoder.see(features, boxes))
        padded = language.places.pad(language.rows).view(*input_ids.shape, -1)
        return padded, self.pooler(padded[:, 0])

    def read(self, input_ids: Tensor, attention_mask: Tensor | None) -> Stream:
        """Return questions before they meet an image."""
        return self.encoder.read(self.embeddings(input_ids, attention_mask))

    def pooled(self, language: Stream, vision: Stream) -> Tensor:
        """Return the pooled [CLS] (B, H) of questions that were read and images that were seen."""
        return self.pooler(self.encoder.cross(language, vision, first_only=True).rows)  # type: ignore[no-any-return]


class AnswerHead(nn.Module):
    """Pooled [CLS] (B, H) to answer logits (B, A); no dropout, as published."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        width = 2 * arch.hidden_size
        self.logit_fc = nn.Sequential(
            nn.Linear(arch.hidden_size, width),
            nn.GELU(),
            nn.LayerNorm(width, eps=LAYER_NORM_EPS),
            nn.Linear(width, arch.n_answers),
        )

    def forward(self, pooled: Tensor) -> Tensor:
        return self.logit_fc(pooled)  # type: ignore[no-any-return]


class LxmertForVqa(nn.Module):
    """LXMERT with its answer head."""

    def __init__(self, arch: Architecture, *, hidden_dropout: float = 0.0, attention_dropout: float = 0.0) -> None:
        super().__init__()
        self.architecture = arch
        dropouts = Dropouts(hidden_dropout, attention_dropout)
        self.lxmert = Lxmert(arch, dropouts)
        self.answer_head = AnswerHead(arch)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        features: Tensor,
        boxes: Tensor,
        image_of: Tensor | None = None,
    ) -> Tensor:
        """Return answer logits (B, A), before the sigmoid.

        Args:
            input_ids: int (B, T), [CLS] first, padded with 0.
            attention_mask: bool (B, T), True = a token; None = no padding anywhere.
            features: float (B, R, feature_dim), raw.
            boxes: float (B, R, 4), x1 y1 x2 y2 in 0..1.
            image_of: int64 (B), where questions share images: the image, of the U that `features` and `boxes` then
                have. What depends on the image alone is computed once for each, dropout too.
        """
        language = self.lxmert.read(input_ids, attention_mask)
        vision = self.lxmert.encoder.see(features, boxes)
        if image_of is not None:
            vision = vision.of_sequences(image_of)
        return self.answer_head(self.lxmert.pooled(language, vision))  # type: ignore[no-any-return]


def vqa_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return binary cross-entropy summed over answers and averaged over the batch, 0 for none; `targets` (B, A): 0..1.

    LXMERT's code writes it as the mean over everything times the number of answers.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum") / max(len(targets), 1)


def initialise(module: nn.Module, generator: torch.Generator, std: float = INITIAL_STD) -> None:
    """Draw `module`'s parameters as BERT does: matrices N(0, `std`), biases 0, LayerNorm 1 and 0, padding rows 0."""
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=std, generator=generator)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=std, generator=generator)
            if part.padding_idx is not None:
                with torch.no_grad():
                    part.weight[part.padding_idx].zero_()

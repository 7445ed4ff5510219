"""LXMERT for visual question answering (Tan & Bansal, EMNLP 2019), with the parameter names of `transformers`.

Hub checkpoints load here, and weights saved here load in `transformers.LxmertForQuestionAnswering`. The numbers are
the same; less is computed: nothing that the answer does not depend on. The answer head reads the language [CLS]
alone, so the last cross layer computes no vision branch, and nothing but [CLS] once its cross-attention is done.

Shapes: B questions, T tokens, R regions, H hidden, A answers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lxmert_tickets.model.architecture import Architecture

LAYER_NORM_EPS = 1e-12
INITIAL_STD = 0.02


@dataclass(frozen=True)
class Dropouts:
    """Probabilities of dropout, while training: on what a sublayer gives, and on attention weights."""

    hidden: float = 0.0
    attention: float = 0.0


class Attention(nn.Module):
    """Multi-head attention from `hidden` (queries) to `context` (keys and values)."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.n_heads = arch.n_heads
        self.query = nn.Linear(arch.hidden_size, arch.hidden_size)
        self.key = nn.Linear(arch.hidden_size, arch.hidden_size)
        self.value = nn.Linear(arch.hidden_size, arch.hidden_size)
        self.dropouts = dropouts

    def forward(self, hidden: Tensor, context: Tensor, attention_mask: Tensor | None) -> Tensor:
        attended = F.scaled_dot_product_attention(
            self._split_heads(self.query(hidden)),  # (B, heads, T, H / heads)
            self._split_heads(self.key(context)),
            self._split_heads(self.value(context)),
            attn_mask=attention_mask,
            dropout_p=self.dropouts.attention if self.training else 0.0,
        )
        return attended.transpose(1, 2).flatten(2)  # (B, T, H)

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.n_heads, -1).transpose(1, 2)


class ResidualOutput(nn.Module):
    """LayerNorm(residual + dropout(dense(hidden))): how every sublayer ends."""

    def __init__(self, n_inputs: int, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.dense = nn.Linear(n_inputs, arch.hidden_size)
        self.LayerNorm = nn.LayerNorm(arch.hidden_size, eps=LAYER_NORM_EPS)
        self.dropouts = dropouts

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        projected = F.dropout(self.dense(hidden), self.dropouts.hidden, self.training)
        return self.LayerNorm(projected + residual)  # type: ignore[no-any-return]


class SelfAttentionLayer(nn.Module):
    """Attention within one stream."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.self = Attention(arch, dropouts)
        self.output = ResidualOutput(arch.hidden_size, arch, dropouts)

    def forward(self, hidden: Tensor, attention_mask: Tensor | None, n_queries: int | None = None) -> Tensor:
        """Return the first `n_queries` positions (default: all) after attending to every position of `hidden`."""
        queries = hidden[:, :n_queries]
        return self.output(self.self(queries, hidden, attention_mask), queries)  # type: ignore[no-any-return]


class CrossAttentionLayer(nn.Module):
    """Attention from one stream to the other; one set of weights serves both directions."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.att = Attention(arch, dropouts)
        self.output = ResidualOutput(arch.hidden_size, arch, dropouts)

    def forward(self, hidden: Tensor, context: Tensor, attention_mask: Tensor | None) -> Tensor:
        return self.output(self.att(hidden, context, attention_mask), hidden)  # type: ignore[no-any-return]


class Intermediate(nn.Module):
    """First half of a feed-forward sublayer: dense and erf-GELU."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.dense = nn.Linear(arch.hidden_size, arch.intermediate_size)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.gelu(self.dense(hidden))


class Layer(nn.Module):
    """Transformer layer of a single stream, language or vision."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.attention = SelfAttentionLayer(arch, dropouts)
        self.intermediate = Intermediate(arch)
        self.output = ResidualOutput(arch.intermediate_size, arch, dropouts)

    def forward(self, hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
        attended = self.attention(hidden, attention_mask)
        return self.output(self.intermediate(attended), attended)  # type: ignore[no-any-return]


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

    def forward(self, language: Tensor, vision: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        crossed = self.visual_attention(vision, language, attention_mask)
        attended = self.visn_self_att(crossed, None)
        return self.language_only(language, vision, attention_mask), self.visn_output(
            self.visn_inter(attended), attended
        )

    def language_only(
        self, language: Tensor, vision: Tensor, attention_mask: Tensor | None, n_queries: int | None = None
    ) -> Tensor:
        """Return the language stream alone, its first `n_queries` positions: what a last layer is needed for."""
        crossed = self.visual_attention(language, vision, None)
        attended = self.lang_self_att(crossed, attention_mask, n_queries)
        return self.lang_output(self.lang_inter(attended), attended)  # type: ignore[no-any-return]


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

    def forward(self, input_ids: Tensor) -> Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        # A question is one segment, so all token types are 0.
        types = torch.zeros_like(positions)
        embedded = (
            self.word_embeddings(input_ids) + self.position_embeddings(positions) + self.token_type_embeddings(types)
        )
        return F.dropout(self.LayerNorm(embedded), self.dropouts.hidden, self.training)


class VisualEmbeddings(nn.Module):
    """Mean of the normalised projections of region features and region boxes."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.visn_fc = nn.Linear(arch.feature_dim, arch.hidden_size)
        self.visn_layer_norm = nn.LayerNorm(arch.hidden_size, eps=LAYER_NORM_EPS)
        self.box_fc = nn.Linear(4, arch.hidden_size)
        self.box_layer_norm = nn.LayerNorm(arch.hidden_size, eps=LAYER_NORM_EPS)
        self.dropouts = dropouts

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        embedded = (self.visn_layer_norm(self.visn_fc(features)) + self.box_layer_norm(self.box_fc(boxes))) / 2
        return F.dropout(embedded, self.dropouts.hidden, self.training)


class Encoder(nn.Module):
    """Language layers and vision (relational) layers apart, then cross layers over both."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.visn_fc = VisualEmbeddings(arch, dropouts)
        self.layer = nn.ModuleList(Layer(arch, dropouts) for _ in range(arch.n_language_layers))
        self.r_layers = nn.ModuleList(Layer(arch, dropouts) for _ in range(arch.n_vision_layers))
        self.x_layers = nn.ModuleList(CrossLayer(arch, dropouts) for _ in range(arch.n_cross_layers))

    def forward(
        self, language: Tensor, features: Tensor, boxes: Tensor, attention_mask: Tensor | None, n_queries: int | None
    ) -> Tensor:
        vision = self.visn_fc(features, boxes)  # (B, R, H)
        for layer in self.layer:
            language = layer(language, attention_mask)
        for layer in self.r_layers:
            vision = layer(vision, None)
        *earlier, last = self.x_layers
        for layer in earlier:
            language, vision = layer(language, vision, attention_mask)
        return last.language_only(language, vision, attention_mask, n_queries)  # type: ignore[operator,no-any-return]


class Pooler(nn.Module):
    """tanh(dense([CLS]))."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.dense = nn.Linear(arch.hidden_size, arch.hidden_size)

    def forward(self, language: Tensor) -> Tensor:
        return torch.tanh(self.dense(language[:, 0]))


class Lxmert(nn.Module):
    """Backbone: token ids and regions in, language states and their pooled [CLS] out."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.embeddings = Embeddings(arch, dropouts)
        self.encoder = Encoder(arch, dropouts)
        self.pooler = Pooler(arch)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        features: Tensor,
        boxes: Tensor,
        n_queries: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return language states (B, `n_queries` or T, H) and the pooled [CLS] (B, H)."""
        keys_only = None if attention_mask is None else attention_mask[:, None, None, :]  # (B, 1, 1, T)
        language = self.encoder(self.embeddings(input_ids), features, boxes, keys_only, n_queries)
        return language, self.pooler(language)


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

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, features: Tensor, boxes: Tensor) -> Tensor:
        """Return answer logits (B, A), before the sigmoid.

        Args:
            input_ids: int (B, T), [CLS] first, padded with 0.
            attention_mask: bool (B, T), True = a token; None = no padding anywhere.
            features: float (B, R, feature_dim), raw.
            boxes: float (B, R, 4), x1 y1 x2 y2 in 0..1.
        """
        _, pooled = self.lxmert(input_ids, attention_mask, features, boxes, n_queries=1)
        return self.answer_head(pooled)  # type: ignore[no-any-return]


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

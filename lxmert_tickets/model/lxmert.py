"""LXMERT for visual question answering (Tan & Bansal, EMNLP 2019), with the parameter names of `transformers`.

Hub checkpoints load here, and weights saved here load in `transformers.LxmertForQuestionAnswering`. The results are
the same, but nothing is computed that the answer does not depend on. The answer head reads only the language [CLS], so
the last cross layer computes no vision branch, and after its cross-attention only [CLS] (pretraining reads masked
words too). A stream passes through the layers as rows, most padding left out (`places`).

Shapes: B questions, T tokens, R regions, H hidden, A answers; n rows of language, m = B * R of vision.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.layers import LAYER_NORM_EPS, CrossLayer, Dropouts, Layer, Stream
from lxmert_tickets.model.operators import dense, together
from lxmert_tickets.model.places import Places, Read
from lxmert_tickets.model.sublayers import Attending, Feeding

INITIAL_STD = 0.02
ROWS_AT_ONCE = 1024
"""Most rows that a GPU looks up in an embedding table: the gradient of more (up to 3,072) may lose or double rows, as a
warp may read the next 1,024 numbers while another still needs the previous ones (PyTorch pull request 187687)."""


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

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, n_rows: int | None = None) -> Stream:
        places = Places.of(len(input_ids), input_ids.shape[1], attention_mask, n_rows)
        positions = places.pack(torch.arange(input_ids.shape[1], device=input_ids.device).repeat(len(input_ids)))
        # A question is one segment, so all token types are 0.
        types = torch.zeros_like(positions)
        at_once = ROWS_AT_ONCE if input_ids.device.type == "cuda" else None
        embedded = (
            _looked_up(self.word_embeddings, places.pack(input_ids.flatten()), at_once)
            + _looked_up(self.position_embeddings, positions, at_once)
            + self.token_type_embeddings(types)
        )
        return Stream(F.dropout(self.LayerNorm(embedded), self.dropouts.hidden, self.training), places)


def _looked_up(table: nn.Embedding, numbers: Tensor, at_once: int | None) -> Tensor:
    """Return the rows (n, H) of `table` at indices `numbers` (n), looked up `at_once` at a time; None = all."""
    if at_once is None or len(numbers) <= at_once:
        return table(numbers)  # type: ignore[no-any-return]
    return torch.cat([table(part) for part in torch.split(numbers, at_once)])


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
        of_features = self.visn_layer_norm(dense(features.flatten(0, 1), self.visn_fc))
        of_boxes = self.box_layer_norm(self.box_fc(boxes.flatten(0, 1)))
        embedded = F.dropout((of_features + of_boxes) / 2, self.dropouts.hidden, self.training)
        return Stream(embedded, Places(*features.shape[:2]))


class Encoder(nn.Module):
    """Separate language layers and vision (relational) layers, then cross layers over both."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.n_heads = arch.n_heads
        self.visn_fc = VisualEmbeddings(arch, dropouts)
        self.layer = nn.ModuleList(Layer(arch, dropouts) for _ in range(arch.n_language_layers))
        self.r_layers = nn.ModuleList(Layer(arch, dropouts) for _ in range(arch.n_vision_layers))
        self.x_layers = nn.ModuleList(CrossLayer(arch, dropouts) for _ in range(arch.n_cross_layers))

    def forward(
        self, questions: Stream, images: Stream, read: Read | None = None, image_of: Tensor | None = None
    ) -> Stream:
        """Return the places `read`, None for the first ones, of embedded questions that have attended to their images.

        `image_of` int64 (B) gives the image of each question, where questions share images.
        """
        read = read or questions.places.read(questions.rows.device)

        def run(of_language: Tensor, of_vision: Tensor) -> list[Tensor]:
            vision = images.becomes(of_vision).through(*parts_of(self.r_layers))
            if image_of is not None:
                vision = vision.shared_by(image_of)
            language = questions.becomes(of_language).through(*parts_of(self.layer))
            *earlier, last = self.x_layers
            for layer in earlier:
                language, vision = layer(language, vision)
            return [last.read_only(language, vision, read).rows]  # type: ignore[operator]

        every = questions.places, images.places
        [rows] = together(run, every, self.n_heads, questions.rows, images.rows)
        return Stream(rows, read.places)


def parts_of(layers: nn.ModuleList) -> list[Attending | Feeding]:
    """Return the sublayers of a stream's own `layers`, in order."""
    return [part for layer in layers for part in layer.parts()]  # type: ignore[operator]


class Pooler(nn.Module):
    """tanh(dense([CLS]))."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.dense = nn.Linear(arch.hidden_size, arch.hidden_size)

    def forward(self, first: Tensor) -> Tensor:
        return torch.tanh(self.dense(first))


class Lxmert(nn.Module):
    """Backbone: questions and images, encoded separately and then together."""

    def __init__(self, arch: Architecture, dropouts: Dropouts) -> None:
        super().__init__()
        self.embeddings = Embeddings(arch, dropouts)
        self.encoder = Encoder(arch, dropouts)
        self.pooler = Pooler(arch)

    def forward(self, questions: Stream, images: Stream, image_of: Tensor | None = None) -> Tensor:
        """Return the pooled [CLS] (B, H) of embedded questions; `image_of` as in `Encoder`."""
        read = self.encoder(questions, images, image_of=image_of)
        return self.pooler(read.rows)  # type: ignore[no-any-return]

    def states(self, questions: Stream, images: Stream, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states (N, H) of the tokens that are `asked` for, bool (B, T), in order, and the pooled [CLS]."""
        read, are_asked = questions.places.read_also(asked)
        states = self.encoder(questions, images, read)
        return states.rows[are_asked], self.pooler(states.rows[states.places.firsts(asked.device)])


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
        n_rows: int | None = None,
    ) -> Tensor:
        """Return answer logits (B, A), before the sigmoid.

        Args:
            input_ids: int (B, T), [CLS] first, padded with 0.
            attention_mask: bool (B, T), True = a token; None = no padding anywhere.
            features: float (B, R, feature_dim), raw.
            boxes: float (B, R, 4), x1 y1 x2 y2 in 0..1.
            image_of: int64 (B), where questions share images: each question's image, of the U that `features` and
                `boxes` then have. What depends on the image alone is computed once per image, dropout included: the
                vision layers, and the attention projections in the first cross layer.
            n_rows: how many rows the tokens are packed into (`places.rows_for`); None = counted on the CPU, one per
                place on a GPU.
        """
        questions = self.lxmert.embeddings(input_ids, attention_mask, n_rows)
        images = self.lxmert.encoder.visn_fc(features, boxes)
        return self.answer_head(self.lxmert(questions, images, image_of))  # type: ignore[no-any-return]


def vqa_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return binary cross-entropy summed over answers and averaged over the batch, 0 if empty; `targets` (B, A): 0..1.

    LXMERT's code writes this as the mean over everything times the number of answers.
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

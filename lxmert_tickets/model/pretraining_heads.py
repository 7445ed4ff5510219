"""The heads of pretraining besides answers: masked words and image-text matching; dropped afterwards."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.layers import LAYER_NORM_EPS
from lxmert_tickets.model.lxmert import LxmertForVqa


class WordHead(nn.Module):
    """Language states to word logits, with the word embeddings as output weights."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.dense = nn.Linear(arch.hidden_size, arch.hidden_size)
        self.LayerNorm = nn.LayerNorm(arch.hidden_size, eps=LAYER_NORM_EPS)
        self.bias = nn.Parameter(torch.zeros(arch.vocab_size))

    def forward(self, language: Tensor, word_embeddings: Tensor) -> Tensor:
        return F.linear(self.LayerNorm(F.gelu(self.dense(language))), word_embeddings, self.bias)


class LxmertForPretraining(nn.Module):
    """LXMERT with the heads for masked words, image-text matching and answers."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.vqa = LxmertForVqa(arch)
        self.words = WordHead(arch)
        self.seq_relationship = nn.Linear(arch.hidden_size, 2)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None, features: Tensor, boxes: Tensor, asked: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return word logits (N, vocabulary), matching logits (B, 2; index 1 = belongs together), answers (B, A).

        Words are those of the N tokens that are `asked` for, bool (B, T), in order.
        """
        backbone = self.vqa.lxmert
        questions, images = backbone.embeddings(input_ids, attention_mask), backbone.encoder.visn_fc(features, boxes)
        states, pooled = backbone.states(questions, images, asked)
        words = self.words(states, backbone.embeddings.word_embeddings.weight)
        return words, self.seq_relationship(pooled), self.vqa.answer_head(pooled)

"""The pretraining heads compute what the published ones compute."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from toys import TINY, random_inputs
from transformers import LxmertConfig, LxmertForPreTraining

from lxmert_tickets.model.lxmert import initialise, parts_of
from lxmert_tickets.model.operators import together
from lxmert_tickets.model.pretraining_heads import LxmertForPretraining

PUBLISHED = {"words.bias": "cls.predictions.bias", "seq_relationship": "cls.seq_relationship"}
PUBLISHED |= {"words": "cls.predictions.transform", "vqa.": ""}


def published_name(name: str) -> str:
    ours = next(prefix for prefix in PUBLISHED if name.startswith(prefix))
    return PUBLISHED[ours] + name.removeprefix(ours)


def test_logits_of_words_matching_and_answers_are_those_of_transformers() -> None:
    ours = LxmertForPretraining(TINY)
    initialise(ours, torch.Generator().manual_seed(0), std=0.3)
    torch.nn.init.normal_(ours.words.bias, generator=torch.Generator().manual_seed(1))
    ours.double().eval()
    theirs = LxmertForPreTraining(LxmertConfig(**TINY.transformers_config(), task_obj_predict=False)).double().eval()
    tensors = {published_name(name): tensor for name, tensor in ours.state_dict().items()}
    tensors["cls.predictions.decoder.weight"] = tensors["lxmert.embeddings.word_embeddings.weight"]
    theirs.load_state_dict(tensors)

    ids, attention_mask, features, boxes = random_inputs(TINY, (6, 3))
    expected = theirs(ids, features, boxes, attention_mask.long())
    words, matching, answers = ours(ids, attention_mask, features, boxes, asked=attention_mask)
    assert torch.allclose(words, expected.prediction_logits[attention_mask], rtol=1e-9, atol=1e-9)
    assert torch.allclose(matching, expected.cross_relationship_score, rtol=1e-9, atol=1e-9)
    assert torch.allclose(answers, expected.question_answering_score, rtol=1e-9, atol=1e-9)


def all_states(network: LxmertForPretraining, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return the language states (B, T, H) of all tokens, computed in full in every layer."""
    ids, attention_mask, features, boxes = inputs
    backbone, encoder = network.vqa.lxmert, network.vqa.lxmert.encoder
    questions, images = backbone.embeddings(ids, attention_mask), encoder.visn_fc(features, boxes)

    def run(of_language: Tensor, of_vision: Tensor) -> list[Tensor]:
        language = questions.becomes(of_language).through(*parts_of(encoder.layer))
        vision = images.becomes(of_vision).through(*parts_of(encoder.r_layers))
        *earlier, last = encoder.x_layers
        for layer in earlier:
            language, vision = layer(language, vision)
        crossed = last.visual_attention.language_only(language, vision)
        return [crossed.through(last.lang_self_att.whole(), last._lang_fed[True]).rows]

    every = questions.places, images.places
    [rows] = together(run, every, encoder.n_heads, questions.rows, images.rows)
    return questions.places.pad(rows).view(*ids.shape, -1)


def gradients(network: LxmertForPretraining, outputs: Sequence[Tensor]) -> list[Tensor | None]:
    """Return the gradients of all parameters."""
    network.zero_grad()
    sum(output.square().sum() for output in outputs).backward()
    return [parameter.grad for parameter in network.parameters()]


@pytest.mark.parametrize("rows_step", [1, 8, 2**20], ids=["packed", "packed in eights", "padded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_reading_only_what_is_asked_for_gives_the_outputs_and_gradients_of_reading_all(
    share: float, dtype: torch.dtype, rows_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lxmert_tickets.model.places.ROWS_STEP", rows_step)
    network = LxmertForPretraining(TINY)
    initialise(network, torch.Generator().manual_seed(0), std=0.3)
    network.to(dtype)
    ids, attention_mask, features, boxes = random_inputs(TINY, (6, 3, 8, 1, 5))
    inputs = ids, attention_mask, features.to(dtype), boxes.to(dtype)
    asked = attention_mask & (torch.rand(ids.shape, generator=torch.Generator().manual_seed(1)) < share)

    states = all_states(network, inputs)
    pooled = network.vqa.lxmert.pooler(states[:, 0])
    embeddings = network.vqa.lxmert.embeddings.word_embeddings.weight
    everything = (
        network.words(states[asked], embeddings),
        network.seq_relationship(pooled),
        network.vqa.answer_head(pooled),
    )
    read = network(*inputs, asked)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    for one, other in zip(read, everything, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=tolerance, atol=tolerance)
    found, expected = (gradients(network, outputs) for outputs in (read, everything))
    for (name, _), one, other in zip(network.named_parameters(), found, expected, strict=True):
        assert (one is None) == (other is None), name
        assert one is None or (one - other).abs().max() <= tolerance * (1 + other.abs().max()), name

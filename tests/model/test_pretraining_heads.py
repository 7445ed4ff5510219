"""The heads of pretraining compute what the published ones compute."""

import torch
from toys import TINY, random_inputs
from transformers import LxmertConfig, LxmertForPreTraining

from lxmert_tickets.model.lxmert import initialise
from lxmert_tickets.model.pretraining_heads import LxmertForPretraining

PUBLISHED = {"words.bias": "cls.predictions.bias", "seq_relationship": "cls.seq_relationship"}
PUBLISHED |= {"words": "cls.predictions.transform", "vqa.": ""}


def published_name(name: str) -> str:
    ours = next(prefix for prefix in PUBLISHED if name.startswith(prefix))
    return PUBLISHED[ours] + name.removeprefix(ours)


def test_words_matching_and_answers_are_those_of_transformers() -> None:
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

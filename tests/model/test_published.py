"""Published checkpoints give the weights of our network, or a list of what does not fit."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_checkpoints import original_name, random_pretrained, write_hub_repository, write_original_checkpoint
from torch import Tensor
from toys import TINY, changed, random_inputs
from transformers import LxmertConfig, LxmertForPreTraining

from lxmert_tickets.errors import DataError
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.foreign import read_tensors
from lxmert_tickets.model.published import our_name, published_weights

N_ANSWERS = 11
LIKE_PRETRAINING = changed(TINY, n_answers=N_ANSWERS)
TENSORS = random_pretrained(TINY, N_ANSWERS, std=0.2)
POOLER = "lxmert.pooler.dense.weight"


def old_norm(name: str) -> str:
    """Return the name that a LayerNorm's parameter had in TensorFlow and in early ports."""
    if "LayerNorm" not in name and "layer_norm" not in name:
        return name
    return name.replace(".weight", ".gamma").replace(".bias", ".beta")


NAMINGS = {
    "hub": lambda name: name,
    "hub, several GPUs": lambda name: "module." + name,
    "original": lambda name: original_name(name, ""),
    "original, several GPUs": original_name,
    "old norms": old_norm,
    "original, old norms": lambda name: old_norm(original_name(name)),
}


@pytest.mark.parametrize("naming", NAMINGS.values(), ids=NAMINGS)
def test_every_layout_gives_the_same_weights(naming) -> None:
    stored = {naming(name): tensor for name, tensor in TENSORS.items()}
    assert naming("lxmert.embeddings.LayerNorm.weight") in stored
    published = published_weights(stored, TINY, n_pretraining_answers=N_ANSWERS)
    weights = published.encoder | published.answer_head
    assert weights.keys() == build_network(weights, LIKE_PRETRAINING).state_dict().keys()
    assert all(np.array_equal(tensor, TENSORS[name].numpy()) for name, tensor in weights.items())
    assert all(name.startswith("lxmert.") for name in published.encoder)
    assert all(name.startswith("answer_head.") for name in published.answer_head)


@pytest.mark.parametrize("layout", ["original", "hub"])
def test_outputs_match_transformers_on_the_same_file(tmp_path: Path, layout: str) -> None:
    if layout == "original":
        path = tmp_path / "model_LXRT.pth"
        theirs = write_original_checkpoint(path, TINY, N_ANSWERS)
    else:
        path = tmp_path / "hub/pytorch_model.bin"
        theirs = write_hub_repository(path.parent, TINY, N_ANSWERS)
    config = LxmertConfig(**TINY.transformers_config() | {"num_qa_labels": N_ANSWERS})
    network = LxmertForPreTraining(config).double().eval()
    network.load_state_dict(theirs, strict=True)

    published = published_weights(read_tensors(path), TINY, n_pretraining_answers=N_ANSWERS)
    ours = build_network(published.encoder | published.answer_head, LIKE_PRETRAINING).double().eval()
    ids, attention_mask, features, boxes = random_inputs(TINY, (6, 3))
    expected = network(ids, features, boxes, attention_mask.long()).question_answering_score
    assert torch.allclose(ours(ids, attention_mask, features, boxes), expected, rtol=1e-9, atol=1e-9)


def test_the_answer_head_may_be_of_any_size_or_absent_when_it_is_not_wanted() -> None:
    encoder = {name: tensor for name, tensor in TENSORS.items() if name.startswith("lxmert.")}
    for stored in (TENSORS, encoder, random_pretrained(TINY, 5, std=0.2)):
        published = published_weights(stored, TINY)
        assert not published.answer_head
        assert published.encoder.keys() == encoder.keys()


def test_position_id_buffers_are_ignored() -> None:
    positions = {"lxmert.embeddings.position_ids": torch.arange(12)[None]}
    assert (
        published_weights(TENSORS | positions, TINY).encoder.keys() == published_weights(TENSORS, TINY).encoder.keys()
    )


def message(stored: dict[str, Tensor], n_pretraining_answers: int | None = N_ANSWERS) -> str:
    with pytest.raises(DataError) as refusal:
        published_weights(stored, TINY, n_pretraining_answers=n_pretraining_answers, place="model_LXRT.pth")
    return str(refusal.value)


def test_unknown_missing_and_wrong_shaped_tensors_are_listed_in_order_of_their_names() -> None:
    stored = TENSORS | {"lxmert.extra.weight": torch.ones(1), POOLER: torch.ones(16, 64)}
    del stored["answer_head.logit_fc.0.bias"]
    found = message(stored)
    problems = [
        "answer_head.logit_fc.0.bias is missing",
        "lxmert.extra.weight is unknown",
        "lxmert.pooler.dense.weight is (16, 64), not (32, 32)",
    ]
    assert found.startswith("model_LXRT.pth: " + "; ".join(problems) + "; expected the ")
    assert "model section" in found


def test_a_long_list_of_problems_ends_with_the_number_omitted() -> None:
    found = message({})
    assert found.count("is missing") == 20
    assert f"; and {len(published_weights(TENSORS, LIKE_PRETRAINING).encoder) + 6 - 20} more; expected" in found
    assert "lxmert.embeddings.LayerNorm.bias is missing; lxmert.embeddings.LayerNorm.weight is missing" in found


def test_a_network_with_more_or_fewer_layers_is_refused() -> None:
    deeper = random_pretrained(changed(TINY, n_language_layers=3), N_ANSWERS)
    assert "lxmert.encoder.layer.2.attention.output.LayerNorm.bias is unknown" in message(deeper)
    shallower = random_pretrained(changed(TINY, n_cross_layers=1), N_ANSWERS)
    assert "lxmert.encoder.x_layers.1.lang_inter.dense.bias is missing" in message(shallower)


def test_an_answer_head_for_another_number_of_answers_is_refused() -> None:
    found = message(TENSORS, N_ANSWERS - 1)
    assert "answer_head.logit_fc.3.bias is (11,), not (10,)" in found
    assert "answer_head.logit_fc.3.weight is (11, 64), not (10, 64)" in found


def test_an_extra_tensor_in_the_answer_head_is_refused_only_if_the_head_is_wanted() -> None:
    stored = TENSORS | {"answer_head.logit_fc.4.weight": torch.ones(1)}
    assert "answer_head.logit_fc.4.weight is unknown" in message(stored)
    assert published_weights(stored, TINY).encoder


def test_a_checkpoint_fine_tuned_by_the_original_code_is_refused_by_its_tensor_names() -> None:
    stored = {"lxrt_encoder.model." + original_name(name, ""): tensor for name, tensor in TENSORS.items()}
    assert "and " in message(stored)
    assert "lxrt_encoder.model.bert.pooler.dense.weight is unknown" in message(
        {"lxrt_encoder.model.bert.pooler.dense.weight": TENSORS[POOLER]}
        | {n: t for n, t in TENSORS.items() if n != POOLER}
    )


@pytest.mark.parametrize("twin", ["module." + POOLER, "bert.pooler.dense.weight", "module.bert.pooler.dense.weight"])
def test_two_tensors_of_one_name_are_refused(twin: str) -> None:
    assert f"{POOLER} appears twice, as {POOLER} and {twin}" in message(TENSORS | {twin: TENSORS[POOLER]})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_values_that_are_not_finite_are_refused(value: float, dtype: torch.dtype) -> None:
    spoilt = TENSORS[POOLER].clone()
    spoilt[7, 3] = value
    assert f"{POOLER} has values that are not finite numbers;" in message(TENSORS | {POOLER: spoilt.to(dtype)})


def test_a_head_that_is_left_out_may_hold_anything() -> None:
    spoilt = {"cls.predictions.bias": torch.full((30,), float("nan")), "answer_head.logit_fc.0.bias": torch.ones(9)}
    assert published_weights(TENSORS | spoilt, TINY).encoder


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.bool, torch.int8])
def test_dtypes_other_than_floats_of_up_to_32_bits_are_refused(dtype: torch.dtype) -> None:
    found = message(TENSORS | {POOLER: TENSORS[POOLER].to(dtype)})
    assert f"{POOLER} is {str(dtype)[6:]}, not float32, float16 or bfloat16" in found


@pytest.mark.parametrize(("dtype", "name"), [(torch.float16, "float16"), (torch.bfloat16, "bfloat16")])
def test_half_precision_becomes_float32_exactly_and_the_log_says_so(
    dtype: torch.dtype, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    stored = {key: tensor.to(dtype) if key != POOLER else tensor for key, tensor in TENSORS.items()}
    with caplog.at_level(logging.INFO, "lxmert_tickets"):
        published = published_weights(stored, TINY, place="model_LXRT.pth")
    assert f"model_LXRT.pth: {len(published.encoder) - 1} of {len(published.encoder)} tensors are {name}" in caplog.text
    assert published.stored_as == {name: len(published.encoder) - 1, "float32": 1}
    for key, tensor in published.encoder.items():
        assert tensor.dtype == np.float32
        assert np.array_equal(tensor, stored[key].double().numpy())


def test_float32_is_used_without_a_copy_and_without_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lxmert_tickets"):
        published = published_weights(TENSORS, TINY)
    assert "made float32" not in caplog.text
    assert np.shares_memory(published.encoder[POOLER], TENSORS[POOLER].numpy())


def test_transposed_or_expanded_tensors_come_out_contiguous() -> None:
    stored = TENSORS | {
        POOLER: TENSORS[POOLER].t().contiguous().t(),
        "lxmert.pooler.dense.bias": torch.ones(1).expand(32),
    }
    published = published_weights(stored, TINY)
    assert np.array_equal(published.encoder[POOLER], TENSORS[POOLER].numpy())
    assert published.encoder[POOLER].flags.c_contiguous
    assert published.encoder["lxmert.pooler.dense.bias"].tolist() == [1.0] * 32


@given(st.sampled_from(sorted(TENSORS)), st.sampled_from(sorted(NAMINGS)))
def test_our_name_undoes_every_naming(name: str, naming: str) -> None:
    assert our_name(NAMINGS[naming](name)) == name
    assert our_name(name) == name


@settings(max_examples=30)
@given(st.sampled_from(sorted(name for name in TENSORS if name.startswith(("lxmert.", "answer_head.")))))
def test_any_single_missing_tensor_is_named(name: str) -> None:
    assert message({key: tensor for key, tensor in TENSORS.items() if key != name}).startswith(
        f"model_LXRT.pth: {name} is missing; expected"
    )

"""Weights survive a round trip to disk, transformers reads them, and files that do not fit are refused by name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from toys import TINY, changed, random_inputs, random_weights
from transformers import LxmertConfig, LxmertForQuestionAnswering

from lxmert_tickets.artifacts import save_tensors
from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.checkpoints import load_weights, save_weights

POOLER = "lxmert.pooler.dense.weight"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_weights(tmp_path / "weights.safetensors", random_weights(), TINY, {"rule": "finetune"})
    return tmp_path / "weights.safetensors"


def test_weights_and_architecture_come_back_bit_for_bit(saved: Path) -> None:
    weights, architecture = load_weights(saved)
    expected = random_weights()
    assert architecture == TINY
    assert weights.keys() == expected.keys()
    assert all(np.array_equal(weights[name].view(np.uint32), expected[name].view(np.uint32)) for name in expected)


def test_equal_weights_give_equal_bytes_in_any_order(saved: Path, tmp_path: Path) -> None:
    reordered = dict(reversed(random_weights().items()))
    save_weights(tmp_path / "again.safetensors", reordered, TINY, {"rule": "finetune"})
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_transformers_loads_our_weights_strictly_and_answers_the_same(saved: Path) -> None:
    weights, architecture = load_weights(saved)
    theirs = LxmertForQuestionAnswering(LxmertConfig(**architecture.transformers_config())).eval()
    theirs.load_state_dict(load_file(saved), strict=True)
    ids, attention_mask, features, boxes = random_inputs(TINY, (6, 3))
    found = theirs(ids, features.float(), boxes.float(), attention_mask.long()).question_answering_score
    ours = build_network(weights, architecture).eval()
    assert torch.allclose(ours(ids, attention_mask, features.float(), boxes.float()), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused_by_name(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtifactError, match=r"weights\.safetensors: damaged or truncated"):
        load_weights(saved)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"absent\.safetensors: no such file"):
        load_weights(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("dtype", "found"),
    [
        (torch.float32, "not an architecture .*; expected weights written by this workflow"),
        (torch.bfloat16, "cannot be read .*bfloat16.*; expected a weights file of this workflow"),
    ],
)
def test_weights_from_elsewhere_are_refused(tmp_path: Path, dtype: torch.dtype, found: str) -> None:
    save_file({POOLER: torch.ones(2, 2, dtype=dtype)}, tmp_path / "hub.safetensors")
    with pytest.raises(ArtifactError, match=r"hub\.safetensors: " + found):
        load_weights(tmp_path / "hub.safetensors")


def test_an_artifact_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "mask.safetensors", "mask", {"a": np.zeros(1, dtype=np.uint8)}, {})
    with pytest.raises(ArtifactError, match="is a mask file; expected a weights file"):
        load_weights(tmp_path / "mask.safetensors")


def test_an_architecture_with_unknown_sizes_is_refused(tmp_path: Path) -> None:
    about = {"architecture": {"n_answers": 3, "n_experts": 8}}
    save_tensors(tmp_path / "later.safetensors", "weights", {"a": np.zeros(1, dtype=np.float32)}, about)
    with pytest.raises(ArtifactError, match=r"later\.safetensors: not an architecture.*n_experts"):
        load_weights(tmp_path / "later.safetensors")


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (changed(TINY, n_answers=8), r"answer_head\.logit_fc\.3\.weight is \(7, 64\), not \(8, 64\)"),
        (changed(TINY, n_cross_layers=3), r"x_layers\.2\.visual_attention\.att\.query\.weight is missing.*more"),
        (changed(TINY, n_vision_layers=0), r"r_layers\.0\.\S+ is unknown; .*r_layers\.0\.\S+ is unknown"),
        (changed(TINY, feature_dim=5), r"visn_fc\.visn_fc\.weight is \(32, 6\), not \(32, 5\)"),
    ],
)
def test_weights_of_another_network_are_refused_naming_file_and_tensor(
    saved: Path, other: Architecture, found: str
) -> None:
    weights, _ = load_weights(saved)
    with pytest.raises(ArtifactError, match=r"weights\.safetensors: .*" + found):
        build_network(weights, other, place=saved)


def test_weights_of_another_precision_are_refused() -> None:
    weights = random_weights() | {POOLER: random_weights()[POOLER].astype(np.float16)}
    with pytest.raises(ArtifactError, match=r"pooler\.dense\.weight is float16, not float32"):
        build_network(weights, TINY)


def test_a_network_copies_its_weights_and_all_of_them_are_trainable() -> None:
    weights = random_weights()
    network = build_network(weights, TINY)
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad
        assert np.array_equal(parameter.detach().numpy(), weights[name])
        torch.nn.init.zeros_(parameter)
    assert all(np.array_equal(weights[name], expected) for name, expected in random_weights().items())

"""The network computes what the published one computes, in outputs and in gradients, and nothing besides."""

import gc
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from toys import TINY, changed, random_inputs, random_weights, tiny_network
from transformers import LxmertConfig, LxmertForQuestionAnswering

from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.lxmert import LxmertForVqa, _looked_up, initialise, vqa_loss
from lxmert_tickets.pruning.prunable import PAPER, prunable_names

BASE = Architecture(n_answers=3129)
LAST_VISION = "lxmert.encoder.x_layers.1.visn_"  # of TINY


def published(architecture: Architecture, **config: float) -> LxmertForQuestionAnswering:
    """Return the network of transformers, without weights."""
    with torch.device("meta"):
        return LxmertForQuestionAnswering(LxmertConfig(**architecture.transformers_config(), **config))


def published_logits(network: LxmertForQuestionAnswering, inputs: tuple[Tensor, ...]) -> Tensor:
    ids, attention_mask, features, boxes = inputs
    return network(
        input_ids=ids, attention_mask=attention_mask.long(), visual_feats=features, visual_pos=boxes
    ).question_answering_score


def pair(architecture: Architecture) -> tuple[LxmertForVqa, LxmertForQuestionAnswering]:
    """Return our network and the published one with the same weights, in float64, so that only mistakes differ."""
    ours = build_network(random_weights(architecture), architecture).double().eval()
    theirs = published(architecture)
    theirs.load_state_dict({name: tensor.clone() for name, tensor in ours.state_dict().items()}, assign=True)
    return ours, theirs.eval()


def gradients(network: nn.Module, logits: Tensor) -> dict[str, Tensor | None]:
    """Return the gradient of the loss by name; None where the loss does not depend on a parameter."""
    targets = torch.linspace(0, 1, logits.numel(), dtype=logits.dtype).view_as(logits)
    loss = F.binary_cross_entropy_with_logits(logits, targets) * logits.shape[1]
    network.zero_grad()
    loss.backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


sizes = st.builds(
    Architecture,
    n_answers=st.integers(1, 5),
    vocab_size=st.just(20),
    hidden_size=st.sampled_from([8, 16]),
    n_heads=st.sampled_from([1, 2, 4]),
    intermediate_size=st.integers(1, 12),
    n_language_layers=st.integers(1, 3),
    n_vision_layers=st.integers(1, 3),
    n_cross_layers=st.integers(1, 3),
    feature_dim=st.integers(1, 6),
    max_positions=st.integers(8, 10),
)


@settings(max_examples=25, deadline=None)
@given(sizes, st.lists(st.integers(1, 8), min_size=1, max_size=3), st.integers(1, 5))
def test_logits_and_all_gradients_match_transformers(
    architecture: Architecture, lengths: list[int], n_regions: int
) -> None:
    ours, theirs = pair(architecture)
    inputs = random_inputs(architecture, tuple(lengths), n_regions)
    logits, expected = ours(*inputs), published_logits(theirs, inputs)
    assert torch.allclose(logits, expected, rtol=1e-9, atol=1e-9)
    found = gradients(ours, logits)
    for name, gradient in gradients(theirs, expected).items():
        if gradient is None:
            assert found[name] is None, name
        else:
            assert torch.allclose(found[name], gradient, rtol=1e-8, atol=1e-9), name


def test_the_base_network_agrees_with_transformers_to_float32_rounding() -> None:
    # All 9/5/5 layers at width 768, but few words and answers: their tables work the same at any length.
    base = changed(BASE, vocab_size=50, n_answers=40)
    ours = LxmertForVqa(base)
    initialise(ours, torch.Generator().manual_seed(0))
    theirs = published(base)
    theirs.load_state_dict(ours.state_dict(), assign=True)
    ids, attention_mask, features, boxes = random_inputs(base, (7, 4), n_regions=36)
    inputs = ids, attention_mask, features.float().abs(), boxes.float()
    expected = published_logits(theirs.eval(), inputs)
    gradients_there = gradients(theirs, expected)
    logits = ours.eval()(*inputs)
    assert torch.allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert logits.std() > 0.05
    found = gradients(ours, logits)
    largest = max(float(gradient.abs().max()) for gradient in gradients_there.values() if gradient is not None)
    for name, gradient in gradients_there.items():
        assert (found[name] is None) == (gradient is None), name
        assert gradient is None or (found[name] - gradient).abs().max() <= 1e-4 * gradient.abs().max() + 1e-7 * largest
    del ours, theirs, found, gradients_there
    gc.collect()


def test_names_shapes_and_counts_of_parameters_are_the_published_ones() -> None:
    with torch.device("meta"):
        ours = LxmertForVqa(BASE).state_dict()
    theirs = published(BASE).state_dict()
    assert {name: tensor.shape for name, tensor in ours.items()} == {name: t.shape for name, t in theirs.items()}
    assert len(ours) == 455
    assert sum(tensor.numel() for tensor in ours.values()) == 213_930_297
    assert sum(ours[name].numel() for name in prunable_names(ours, PAPER)) == 182_255_616


def test_extra_padding_changes_nothing_whatever_token_it_holds() -> None:
    network = tiny_network().double().eval()
    ids, attention_mask, features, boxes = random_inputs(TINY, (5, 3))
    longer = torch.cat([ids, torch.full((2, 4), 9)], dim=1)
    padded_more = torch.cat([attention_mask, torch.zeros(2, 4, dtype=torch.bool)], dim=1)
    expected = network(ids, attention_mask, features, boxes)
    assert torch.allclose(network(longer, padded_more, features, boxes), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_cross_layers", [1, 2, 3])
def test_questions_that_share_an_image_get_the_same_results_as_with_copies_of_it(
    n_cross_layers: int, dtype: torch.dtype
) -> None:
    architecture = changed(TINY, n_cross_layers=n_cross_layers)
    network = build_network(random_weights(architecture), architecture).to(dtype).eval()
    ids, attention_mask, features, boxes = random_inputs(architecture, (5, 3, 8, 6))
    images, image_of = (features[:2].to(dtype), boxes[:2].to(dtype)), torch.tensor([1, 0, 1, 1])
    shared = network(ids, attention_mask, *images, image_of)
    apart = network(ids, attention_mask, *(regions[image_of] for regions in images))
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    assert torch.allclose(shared, apart, rtol=tolerance, atol=tolerance)
    expected = gradients(network, apart)
    for name, gradient in gradients(network, shared).items():
        if expected[name] is None:
            assert gradient is None, name
        else:
            assert torch.allclose(gradient, expected[name], rtol=tolerance, atol=tolerance), name
    with torch.inference_mode():
        answered = network(ids, attention_mask, *images, image_of)
    assert torch.allclose(answered, apart, rtol=tolerance, atol=tolerance)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(1, 31))
def test_embeddings_and_their_gradient_do_not_depend_on_how_many_are_looked_up_at_once(
    chosen: list[int], at_once: int
) -> None:
    table, numbers = nn.Embedding(7, 4, padding_idx=0).double(), torch.tensor(chosen)
    found = _looked_up(table, numbers, at_once)
    assert torch.equal(found, table(numbers))
    weights = torch.arange(found.numel(), dtype=torch.float64).reshape(found.shape)
    [together] = torch.autograd.grad((_looked_up(table, numbers, None) * weights).sum(), table.weight)
    [in_parts] = torch.autograd.grad((found * weights).sum(), table.weight)
    assert torch.allclose(in_parts, together, rtol=1e-12)


def test_no_attention_mask_means_that_every_position_is_a_token() -> None:
    network = tiny_network().double().eval()
    ids, everything, features, boxes = random_inputs(TINY, (5, 5))
    assert torch.allclose(
        network(ids, None, features, boxes), network(ids, everything, features, boxes), rtol=1e-12, atol=1e-12
    )


def test_the_last_vision_branch_gets_no_gradient_and_changes_no_answer() -> None:
    network = tiny_network().double().eval()
    inputs = random_inputs(TINY, (5, 3))
    before = network(*inputs)
    found = gradients(network, before)
    assert {name for name, gradient in found.items() if gradient is None} == {n for n in found if LAST_VISION in n}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if LAST_VISION in name:
                parameter.mul_(-3)
    assert torch.equal(network(*inputs), before)


def test_every_word_and_every_regions_box_can_change_the_answer() -> None:
    network = tiny_network().double().eval()
    ids, attention_mask, features, boxes = random_inputs(TINY, (5,))
    before = network(ids, attention_mask, features, boxes)
    for position in range(5):
        other = ids.clone()
        other[0, position] = ids[0, position] % 20 + 1
        assert not torch.allclose(network(other, attention_mask, features, boxes), before, atol=1e-6)
    for region in range(features.shape[1]):
        moved = boxes.clone()
        moved[0, region] += 0.5
        assert not torch.allclose(network(ids, attention_mask, features, moved), before, atol=1e-6)


def fake_dropout(hidden: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Scale instead of dropping: deterministic, and yet every use of dropout shows in the result."""
    del inplace
    return hidden * (1 + p) if training else hidden


def test_dropout_is_applied_where_transformers_applies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tiny_network(hidden_dropout=0.2, attention_dropout=0.3).double()
    theirs = published(TINY, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.3)
    theirs.load_state_dict(ours.state_dict(), assign=True)
    monkeypatch.setattr(F, "dropout", fake_dropout)
    attention = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F,
        "scaled_dot_product_attention",
        lambda *args, dropout_p, **options: fake_dropout(attention(*args, **options), dropout_p),
    )
    inputs = random_inputs(TINY, (5, 3))
    for network in (ours, theirs):
        network.train()
    assert torch.allclose(ours(*inputs), published_logits(theirs, inputs), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dropouts", [{"hidden_dropout": 0.5}, {"attention_dropout": 0.5}])
def test_dropout_is_random_while_training_and_absent_otherwise(dropouts: dict[str, float]) -> None:
    network = tiny_network(**dropouts).double()
    inputs = random_inputs(TINY, (5, 3))
    assert torch.equal(network.eval()(*inputs), tiny_network().double().eval()(*inputs))
    network.train()
    assert not torch.allclose(network(*inputs), network(*inputs), atol=1e-3)


def test_the_loss_is_the_mean_cross_entropy_times_the_number_of_answers() -> None:
    logits = torch.linspace(-4, 4, 15).view(3, 5)
    targets = torch.tensor([0.0, 0.3, 0.6, 0.9, 1.0]).repeat(3, 1)
    probability = logits.double().sigmoid()
    by_hand = -(targets * probability.log() + (1 - targets) * (1 - probability).log()).mean() * 5
    assert vqa_loss(logits, targets).item() == pytest.approx(by_hand.item(), rel=1e-6)
    assert vqa_loss(torch.zeros(2, 5), torch.ones(2, 5)).item() == pytest.approx(5 * math.log(2))


def test_the_loss_of_half_precision_logits_is_computed_in_float32() -> None:
    logits = torch.linspace(-4, 4, 15).view(3, 5).bfloat16()
    loss = vqa_loss(logits, torch.ones(3, 5))
    assert loss.dtype == torch.float32
    assert loss == vqa_loss(logits.float(), torch.ones(3, 5))


def test_weights_are_initialised_like_berts_and_depend_on_the_generator() -> None:
    wide = changed(TINY, hidden_size=64, intermediate_size=128)
    networks = [LxmertForVqa(wide) for _ in range(3)]
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        initialise(network, torch.Generator().manual_seed(seed), std=0.05)
    drawn, again, other = (network.state_dict() for network in networks)
    for name, tensor in drawn.items():
        assert torch.equal(tensor, again[name])
        if tensor.ndim == 2:
            assert not torch.equal(tensor, other[name])
            assert tensor.std().item() == pytest.approx(0.05, rel=0.2 if tensor.numel() > 300 else 0.6), name
            assert bool((tensor[0] == 0).all()) == ("_embeddings" in name)
        else:
            assert bool((tensor == float(name.endswith("weight"))).all()), name

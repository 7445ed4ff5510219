"""The initial weights of a run: the pretrained encoder unchanged, and the run's own classifier."""

import numpy as np
import pytest
from toys import TINY, changed, random_weights

from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.initial import initial_weights, random_classifier

WIDE = changed(TINY, hidden_size=64, n_answers=100)
MATRICES = ("answer_head.logit_fc.0.weight", "answer_head.logit_fc.3.weight")


def test_the_encoder_is_the_pretrained_one_and_the_head_is_new() -> None:
    pretrained = random_weights()
    initial = initial_weights(pretrained, TINY, 0, "random")
    assert initial.keys() == pretrained.keys()
    for name, tensor in initial.items():
        assert (tensor is pretrained[name]) == (not name.startswith("answer_head.")), name


def test_a_pretrained_head_for_other_answers_is_left_out() -> None:
    pretrained = random_weights(changed(TINY, n_answers=99)) | {"answer_head.other.weight": np.ones(1)}
    assert build_network(initial_weights(pretrained, TINY, 0, "random"), TINY).architecture == TINY


def test_the_classifier_depends_on_its_seed_alone() -> None:
    first, again, other = (random_classifier(TINY, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not any(np.array_equal(first[name], other[name]) for name in MATRICES)


def test_the_classifier_is_initialised_like_berts() -> None:
    head = random_classifier(WIDE, seed=0)
    assert all(tensor.dtype == np.float32 for tensor in head.values())
    for name in MATRICES:
        assert head[name].std() == pytest.approx(0.02, rel=0.05)
        assert abs(head[name].mean()) < 0.001
    assert not np.array_equal(head[MATRICES[0]].ravel()[:50], head[MATRICES[1]].ravel()[:50])
    constants = {name: set(tensor.tolist()) for name, tensor in head.items() if name not in MATRICES}
    assert constants == {
        "answer_head.logit_fc.0.bias": {0.0},
        "answer_head.logit_fc.2.weight": {1.0},
        "answer_head.logit_fc.2.bias": {0.0},
        "answer_head.logit_fc.3.bias": {0.0},
    }


def encoder_of(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: tensor for name, tensor in weights.items() if not name.startswith("answer_head.")}


def test_a_random_start_is_drawn_whether_or_not_there_is_a_pretrained_head() -> None:
    expected = encoder_of(random_weights()) | random_classifier(TINY, seed=1)
    for pretrained in (random_weights(), encoder_of(random_weights())):
        initial = initial_weights(pretrained, TINY, 1, "random")
        assert initial.keys() == expected.keys()
        assert all(np.array_equal(initial[name], tensor) for name, tensor in expected.items())


def test_a_pretrained_start_is_the_same_for_every_seed() -> None:
    pretrained = random_weights()
    for seed in (0, 1):
        initial = initial_weights(pretrained, TINY, seed, "pretrained")
        assert initial.keys() == pretrained.keys()
        assert all(initial[name] is tensor for name, tensor in pretrained.items())


@pytest.mark.parametrize(
    ("pretrained", "found"),
    [
        (encoder_of(random_weights()), "no answer head"),
        (random_weights(changed(TINY, n_answers=9)), "another answer head"),
        (encoder_of(random_weights()) | {MATRICES[0]: random_weights()[MATRICES[0]]}, "another answer head"),
    ],
)
def test_a_pretrained_start_needs_a_head_for_these_answers(pretrained: dict[str, np.ndarray], found: str) -> None:
    with pytest.raises(ArtifactError, match=rf"w\.safetensors: {found}; expected the pretrained one for 7 answers"):
        initial_weights(pretrained, TINY, 0, "pretrained", "w.safetensors")

"""A network's answer is its most probable one, question by question, in order."""

import numpy as np
import pytest
import torch
from toys import CPU, N_REGIONS, TINY, tiny_network, toy_data, toy_features, toy_questions

from lxmert_tickets.training import answering
from lxmert_tickets.training.answering import answer_all, batch_size
from lxmert_tickets.training.batches import VqaData
from lxmert_tickets.training.regions import Regions


def test_every_question_gets_its_most_probable_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "BATCH_SIZE", 5)
    network, data = tiny_network(), toy_data(13)
    labels, probabilities = answer_all(network, data, "float32")
    assert labels.shape == probabilities.shape == (13,)
    for row in range(13):
        alone = network(*data.batch(np.array([row]))).detach().sigmoid()[0]
        assert labels[row] == int(alone.argmax())
        assert probabilities[row] == pytest.approx(float(alone.max()), rel=1e-5)
    assert len(set(labels.tolist())) > 1


@pytest.mark.parametrize("shift", [30.0, -200.0])
def test_answers_whose_probabilities_round_to_the_same_number_are_told_apart(shift: float) -> None:
    network, data = tiny_network(), toy_data(13)
    expected, _ = answer_all(network, data, "float32")
    with torch.no_grad():
        network.answer_head.logit_fc[3].bias += shift
    labels, probabilities = answer_all(network, data, "float32")
    assert np.array_equal(labels, expected)
    assert set(probabilities.tolist()) == {1.0 if shift > 0 else 0.0}


def test_answering_no_questions_gives_empty_arrays() -> None:
    labels, probabilities = answer_all(tiny_network(), toy_data(0), "float32")
    assert labels.shape == probabilities.shape == (0,)


def test_batches_are_nearly_equal_in_size_and_never_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_network()
    for n, most, size in ((13, 5, 5), (12, 5, 4), (11, 10, 6), (10, 10, 10), (3, 10, 3), (0, 10, 1)):
        monkeypatch.setattr(answering, "BATCH_SIZE", most)
        assert batch_size(network, toy_data(n)) == size
    monkeypatch.setattr(answering, "BATCH_SIZE", 100)
    bytes_each = 4 * N_REGIONS * TINY.intermediate_size
    monkeypatch.setattr(answering, "LARGEST_BYTES", 7 * bytes_each + 1)
    assert batch_size(network, toy_data(14)) == 7
    monkeypatch.setattr(answering, "LARGEST_BYTES", 1)
    assert batch_size(network, toy_data(14)) == 1
    on_gpu = VqaData(toy_questions(2050, 4), Regions(toy_features(4), CPU), torch.device("meta"))
    assert batch_size(network, on_gpu) == 684  # three of at most 1,024


def test_answers_do_not_depend_on_dropout_or_chance() -> None:
    network, data = tiny_network(hidden_dropout=0.5, attention_dropout=0.5).train(), toy_data(13)
    labels, probabilities = answer_all(network, data, "float32")
    expected, expected_probabilities = answer_all(tiny_network(), data, "float32")
    assert np.array_equal(labels, expected)
    assert np.array_equal(probabilities, expected_probabilities)


def test_in_bfloat16_probabilities_are_still_float32() -> None:
    _, probabilities = answer_all(tiny_network(), toy_data(13), "bfloat16")
    _, exact = answer_all(tiny_network(), toy_data(13), "float32")
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities, exact, atol=0.05)
    assert not np.array_equal(probabilities, exact)


def test_answering_builds_no_graph_and_changes_no_weight() -> None:
    network = tiny_network()
    answer_all(network, toy_data(13), "float32")
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(tensor, tiny_network().state_dict()[name]) for name, tensor in network.state_dict().items())
    assert network.architecture == TINY

"""Benchmarks give both sides equal work, and make the right figures of what they measure."""

from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from toys import CPU, TINY, changed, random_weights, toy_questions

from benchmarks import contenders, machine, needed_flops, networks, peer_engine
from benchmarks.feature_reading import read_features
from benchmarks.made_up_data import sizes, write_features
from benchmarks.mask_selection import mask_base
from benchmarks.needed_flops import answering_flops, count, training_flops, vision_flops
from benchmarks.own_engine import network_of
from lxmert_tickets.data.questions import save_questions
from lxmert_tickets.model.checkpoints import save_weights
from lxmert_tickets.model.lxmert import vqa_loss
from lxmert_tickets.training.batches import open_vqa_data


def test_ours_and_the_peer_compute_the_same_loss_of_the_same_questions(tmp_path: Path) -> None:
    save_questions(tmp_path / "train.h5", toy_questions(12, 4), {})
    write_features(tmp_path / "features.h5", 4, 3, TINY.feature_dim)
    longer = changed(TINY, max_positions=20)
    save_weights(tmp_path / "start.safetensors", random_weights(longer), longer, {})
    batch = next(iter(DataLoader(peer_engine.Questions(tmp_path, "train"), batch_size=12)))
    labels = batch.pop("labels")
    outputs = peer_engine._network(tmp_path).eval()(**batch)
    data = open_vqa_data(tmp_path / "train.h5", tmp_path / "features.h5", CPU, TINY.vocab_size)
    logits = network_of(tmp_path).to(CPU).eval()(*data.batch(np.arange(12)).inputs())
    assert torch.allclose(logits, outputs.question_answering_score, rtol=1e-4, atol=1e-5)
    expected = vqa_loss(logits, data.targets(np.arange(12)))
    assert torch.allclose(peer_engine.loss_of(outputs, labels), expected, rtol=1e-5)


def measured(monkeypatch: pytest.MonkeyPatch, numbers: dict[str, list[dict[str, float]]]) -> None:
    """Let contenders return these `numbers`, in turn."""
    rounds = {contender: cycle(found) for contender, found in numbers.items()}
    monkeypatch.setattr(
        contenders, "run", lambda module, contender, *_, **__: next(rounds.get(module) or rounds[contender])
    )


def test_rates_are_the_best_of_all_rounds_and_their_floor_is_the_peak_over_the_needed_flops(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rates = {
        "own_engine": [{"rate": 2.0, "peak_bytes": 1e9}, {"rate": 3.0, "peak_bytes": 1e9}],
        "peer_engine": [{"rate": 1.5}, {"rate": 1.0}],
        "machine": [{"flops": 10.0}, {"flops": 20.0}],
        "needed_flops": [{"train": 5.0, "evaluate": 2.0}],
        "made_up_data": [{}],
    }
    measured(monkeypatch, rates)
    train, evaluate = (networks.measure(work, "base", tmp_path) for work in ("train", "evaluate"))
    assert (train.ours, train.peer, train.floor) == (3, 1.5, 20 / 5)
    assert (evaluate.ours, evaluate.peer, evaluate.floor) == (3, 1.5, 20 / 2)


def test_seconds_are_the_least_of_all_rounds_and_their_floor_is_reading_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times = {
        "ours": [{"seconds": s, "extra_bytes": 1e9, "floor_seconds": s / 2, "rate": s} for s in (4.0, 2.0)],
        "peer": [{"seconds": s, "extra_bytes": 1e9, "floor_seconds": s / 2, "rate": s / 12} for s in (18.0, 36.0)],
        "made_up_data": [{}],
        "prune_round": [{"peak": 1.5}],
        "prepare": [{"images": 100}],
        "read_bandwidth": [{"bytes": 36 * 2048 * 2 * 8.0}],
    }
    measured(monkeypatch, times)
    mask = mask_base(tmp_path)
    assert (mask.ours, mask.peer, mask.floor) == (2, 18, 1)
    (tmp_path / "features_of_vqa2.h5").touch()
    features = read_features(tmp_path)
    assert (features.ours, features.peer, features.floor) == (4, 3, 8)


def test_an_image_is_seen_once_for_all_its_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "evaluate"):
        save_questions(tmp_path / f"{split}.h5", toy_questions(6, 2), {})
    save_weights(tmp_path / "start.safetensors", random_weights(), TINY, {})
    monkeypatch.setattr(needed_flops, "QUESTIONS_PER_IMAGE", 4)
    n_regions, lengths = sizes()["base"].n_regions, toy_questions(6, 2).length
    found = count(str(tmp_path), "base")
    apart = np.mean([answering_flops(TINY, int(length), n_regions) for length in lengths])
    assert found["evaluate"] == pytest.approx(apart - 3 / 4 * vision_flops(TINY, n_regions))
    assert found["train"] == pytest.approx(np.mean([training_flops(TINY, int(n), n_regions) for n in lengths]))


def test_the_peak_counts_a_multiplication_and_an_addition_for_each_product(monkeypatch: pytest.MonkeyPatch) -> None:
    for width in ("MATRIX", "MATRIX_OF_GPU"):
        monkeypatch.setattr(machine, width, 8)
    monkeypatch.setattr(machine, "_quickest", lambda work: 2.0)
    assert machine.matrix_peak() == {"flops": 2 * 8**3 / 2}

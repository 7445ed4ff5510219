"""Where a mask prunes: parts add up, and what never reaches an answer is flagged."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import TINY, changed, random_inputs, random_weights, tiny_network

from lxmert_tickets.model.lxmert import vqa_loss
from lxmert_tickets.pruning.masks import Mask, keep_all, keep_largest, n_kept, n_prunable
from lxmert_tickets.pruning.prunable import PAPER, prunable_names
from lxmert_tickets.pruning.sparsity import layer_of, sparsity_report, stream_of, write_sparsity_report


def tiny_mask(sparsity_percent: float = 30) -> Mask:
    weights = random_weights()
    return keep_largest(weights, keep_all(weights, prunable_names(weights, PAPER)), sparsity_percent)


@pytest.mark.parametrize("part", ["tensor", "layer", "stream", "total"])
def test_the_lines_of_every_part_add_up_to_the_mask(part: str) -> None:
    mask = tiny_mask()
    lines = [line for line in sparsity_report(mask, TINY.n_cross_layers) if line.part == part]
    assert sum(line.n_prunable for line in lines) == n_prunable(mask)
    assert sum(line.n_pruned for line in lines) == n_prunable(mask) - n_kept(mask)
    assert len({line.name for line in lines}) == len(lines)


def test_a_tensors_line_counts_its_own_weights() -> None:
    mask = tiny_mask()
    for line in sparsity_report(mask, TINY.n_cross_layers):
        if line.part == "tensor":
            assert (line.n_prunable, line.n_pruned) == (mask[line.name].size, int((~mask[line.name]).sum()))
            assert line.sparsity_percent == pytest.approx(100 * (1 - mask[line.name].mean()))


def test_layers_and_streams_are_those_of_the_network() -> None:
    lines = sparsity_report(tiny_mask(), TINY.n_cross_layers)
    assert {line.name for line in lines if line.part == "stream"} == {"language", "vision", "cross", "pooler"}
    assert {line.name: line.stream for line in lines if line.part == "layer"} == {
        "language 0": "language",
        "language 1": "language",
        "vision 0": "vision",
        **{f"cross {k} {branch}": "cross" for k in (0, 1) for branch in ("attention", "language", "vision")},
        "pooler": "pooler",
    }
    assert [(line.name, line.stream) for line in lines if line.part == "total"] == [("total", "all")]


def test_exactly_the_weights_without_a_gradient_are_flagged_as_reaching_no_answer() -> None:
    network = tiny_network().double()
    vqa_loss(network(*random_inputs(TINY, (5, 3))), torch.full((2, TINY.n_answers), 0.5)).backward()
    lines = [line for line in sparsity_report(tiny_mask(), TINY.n_cross_layers) if line.part == "tensor"]
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert {line.name: line.reaches_answer for line in lines} == {
        line.name: gradients[line.name] is not None for line in lines
    }
    assert not all(line.reaches_answer for line in lines)


def test_among_layers_and_streams_only_the_dead_branch_is_flagged() -> None:
    lines = sparsity_report(tiny_mask(), TINY.n_cross_layers)
    dead = [line.name for line in lines if line.part != "tensor" and not line.reaches_answer]
    assert dead == ["cross 1 vision"]


def test_with_more_than_ten_cross_layers_the_dead_branch_is_still_in_the_last() -> None:
    names = [f"lxmert.encoder.x_layers.{k}.visn_inter.dense.weight" for k in range(11)]
    lines = sparsity_report({name: np.ones((2, 2), dtype=bool) for name in names}, 11)
    assert [line.name for line in lines if line.part == "tensor" and not line.reaches_answer] == [names[-1]]


def test_a_mask_without_the_last_cross_layer_has_no_dead_branch() -> None:
    mask = {"lxmert.encoder.x_layers.0.visn_inter.dense.weight": np.ones((2, 2), dtype=bool)}
    assert all(line.reaches_answer for line in sparsity_report(mask, n_cross_layers=2))


@pytest.mark.parametrize(
    ("name", "stream", "layer"),
    [
        ("lxmert.encoder.layer.11.attention.self.query.weight", "language", "language 11"),
        ("lxmert.encoder.r_layers.0.output.dense.weight", "vision", "vision 0"),
        ("lxmert.encoder.x_layers.4.visual_attention.att.key.weight", "cross", "cross 4 attention"),
        ("lxmert.encoder.x_layers.0.lang_self_att.output.dense.weight", "cross", "cross 0 language"),
        ("lxmert.encoder.x_layers.0.visn_inter.dense.weight", "cross", "cross 0 vision"),
        ("lxmert.pooler.dense.weight", "pooler", "pooler"),
        ("lxmert.encoder.visn_fc.visn_fc.weight", "other", "other"),
        ("answer_head.logit_fc.0.weight", "other", "other"),
    ],
)
def test_every_tensor_has_a_stream_and_a_layer(name: str, stream: str, layer: str) -> None:
    assert (stream_of(name), layer_of(name)) == (stream, layer)


def test_the_csv_says_what_the_report_says(tmp_path: Path) -> None:
    write_sparsity_report(tmp_path / "sparsity.csv", tiny_mask(), TINY.n_cross_layers)
    with open(tmp_path / "sparsity.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    lines = sparsity_report(tiny_mask(), TINY.n_cross_layers)
    assert [(row["part"], row["name"], int(row["n_pruned"])) for row in rows] == [
        (line.part, line.name, line.n_pruned) for line in lines
    ]
    assert all(int(row["n_pruned"]) + int(row["n_kept"]) == int(row["n_prunable"]) for row in rows)
    assert float(rows[-1]["sparsity_percent"]) == pytest.approx(30, abs=0.05)
    assert {row["reaches_answer"] for row in rows} == {"True", "False"}
    assert b"\r" not in (tmp_path / "sparsity.csv").read_bytes()


def test_a_network_of_one_cross_layer_has_a_dead_branch_too() -> None:
    weights = random_weights(changed(TINY, n_cross_layers=1))
    lines = sparsity_report(keep_all(weights, prunable_names(weights, PAPER)), 1)
    assert {line.name for line in lines if not line.reaches_answer and line.part == "layer"} == {"cross 0 vision"}

"""A subnetwork is written as a whole: its mask, start weights and report agree."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from toys import TINY, changed, random_weights

from lxmert_tickets.artifacts import read_metadata
from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.model.checkpoints import load_weights, save_weights
from lxmert_tickets.pruning.mask_files import load_mask
from lxmert_tickets.pruning.masks import Mask, keep_random
from lxmert_tickets.pruning.prunable import PAPER, prunable_names
from lxmert_tickets.pruning.subnetworks import save_subnetwork

PRUNED = ["lxmert.pooler.dense.weight"]
ORIGIN = {"rule": "prune_random"}


@pytest.fixture
def files(tmp_path: Path) -> SimpleNamespace:
    save_weights(tmp_path / "initial.safetensors", random_weights(), TINY, {})
    names = {"mask": "mask.safetensors", "start": "start.safetensors", "report": "sparsity.csv"}
    return SimpleNamespace(
        initial=tmp_path / "initial.safetensors", **{key: str(tmp_path / file) for key, file in names.items()}
    )


def half(seed: int = 0) -> Mask:
    return keep_random(random_weights(), PRUNED, 50, "global", seed)


def test_start_weights_are_the_initial_weights_times_the_mask_bit_for_bit(files: SimpleNamespace) -> None:
    save_subnetwork(files, half(), files.initial, ORIGIN)
    mask = load_mask(files.mask)
    assert all(np.array_equal(mask[name], kept) for name, kept in half().items())
    start, architecture = load_weights(files.start)
    assert architecture == TINY
    for name, tensor in random_weights().items():
        expected = np.where(mask[name], tensor, np.float32(0)) if name in mask else tensor
        assert start[name].tobytes() == expected.tobytes(), name


def test_the_files_of_a_subnetwork_come_from_one_job_and_count_the_same_weights(files: SimpleNamespace) -> None:
    save_subnetwork(files, half(), files.initial, ORIGIN)
    assert read_metadata(files.mask)["provenance"] == read_metadata(files.start)["provenance"] == ORIGIN
    assert Path(files.report).read_text().splitlines()[-1] == "total,total,all,1024,512,512,50.0000,True"


def test_the_report_knows_the_cross_layers_of_the_network(files: SimpleNamespace) -> None:
    deeper = changed(TINY, n_cross_layers=3)
    weights = random_weights(deeper)
    save_weights(files.initial, weights, deeper, {})
    save_subnetwork(files, keep_random(weights, prunable_names(weights, PAPER), 50, "global", 0), files.initial, ORIGIN)
    with open(files.report, newline="", encoding="utf-8") as handle:
        dead = [row["name"] for row in csv.DictReader(handle) if row["reaches_answer"] == "False"]
    assert [name for name in dead if name.startswith("cross")] == ["cross 2 vision"]


def test_a_mask_for_another_network_is_refused_and_nothing_is_written(files: SimpleNamespace) -> None:
    save_weights(files.initial, random_weights(changed(TINY, hidden_size=8)), changed(TINY, hidden_size=8), {})
    with pytest.raises(ArtifactError, match="another network"):
        save_subnetwork(files, half(), files.initial, ORIGIN)
    assert not any(Path(file).exists() for file in (files.mask, files.start, files.report))

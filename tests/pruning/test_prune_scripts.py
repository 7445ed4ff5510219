"""Pruning rules draw each random mask anew, and refuse sparsities that prune nothing or all of the network."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from script_runs import run_script
from toys import TINY, changed, random_weights

from lxmert_tickets.model.checkpoints import save_weights
from lxmert_tickets.pruning.mask_files import load_mask


@pytest.mark.parametrize("rule", ["prune_round", "prune_random"])
@pytest.mark.parametrize(("sparsity", "extreme"), [("0.0001", "none"), ("99.9999", "all")])
def test_a_sparsity_that_prunes_nothing_or_all_is_refused_before_anything_is_written(
    tmp_path: Path, rule: str, sparsity: str, extreme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_weights(tmp_path / "initial.safetensors", random_weights(), TINY, {})
    weights = str(tmp_path / "initial.safetensors")
    outputs = {name: str(tmp_path / "out" / name) for name in ("mask", "start", "report")}
    with pytest.raises(SystemExit):
        run_script(
            rule,
            tmp_path,
            {"weights": weights, "initial": weights, "mask": []},
            outputs,
            params={"prunable": '{"prunable": ["*"]}', "ranked": "global"},
            wildcards={"seed": 0, "subnetwork": "random", "sparsity": sparsity},
        )
    log = (tmp_path / f"{rule}.log").read_text(encoding="utf-8")
    assert f"subnetworks.random.sparsities: {sparsity} % of" in log
    assert f"is {extreme} of them" in log
    assert not (tmp_path / "out").exists()


def test_random_masks_of_other_seeds_subnetworks_and_sparsities_are_drawn_independently(tmp_path: Path) -> None:
    many_words = changed(TINY, vocab_size=4000)
    save_weights(tmp_path / "initial.safetensors", random_weights(many_words), many_words, {})
    one_matrix = '{"prunable": ["*.word_embeddings.weight"]}'  # so large that draws from one seed would be nested

    def drawn(seed: int, subnetwork: str, sparsity: str) -> np.ndarray:
        outputs = {
            name: str(tmp_path / f"{name}.{seed}.{subnetwork}.{sparsity}") for name in ("mask", "start", "report")
        }
        run_script(
            "prune_random",
            tmp_path,
            {"initial": str(tmp_path / "initial.safetensors")},
            outputs,
            params={"prunable": one_matrix, "ranked": "global"},
            wildcards={"seed": seed, "subnetwork": subnetwork, "sparsity": sparsity},
        )
        return np.concatenate([kept.ravel() for kept in load_mask(outputs["mask"]).values()])

    every = [
        drawn(*which) for which in [(0, "random", "50"), (1, "random", "50"), (0, "other", "50"), (0, "random", "75")]
    ]
    for one, other in itertools.combinations(every, 2):
        expected = one.mean() * other.mean()
        deviation = np.sqrt(expected * (1 - one.mean()) * (1 - other.mean()) / one.size)
        assert abs((one & other).mean() - expected) < 5 * deviation

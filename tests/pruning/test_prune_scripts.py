"""Pruning rules refuse sparsities that the configuration cannot check, as the data decide the number of weights."""

from pathlib import Path

import pytest
from script_runs import run_script
from toys import TINY, random_weights

from lxmert_tickets.model.checkpoints import save_weights


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
            params={"prunable": '{"prunable": ["*"]}', "ranked": "global", "n_cross_layers": TINY.n_cross_layers},
            wildcards={"seed": 0, "subnetwork": "random", "sparsity": sparsity},
        )
    log = (tmp_path / f"{rule}.log").read_text(encoding="utf-8")
    assert f"subnetworks.random.sparsities: {sparsity} % of" in log
    assert f"is {extreme} of them" in log
    assert not (tmp_path / "out").exists()

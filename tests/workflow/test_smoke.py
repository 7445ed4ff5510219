"""The invariants of the design, on the files that the real workflow wrote."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from workflow_runs import FORKS, ROOT, snakemake

from lxmert_tickets.artifacts import read_metadata
from lxmert_tickets.cli import main
from lxmert_tickets.configuration.files import read_configuration
from lxmert_tickets.configuration.reading import read_experiment
from lxmert_tickets.data.answers import soft_labels
from lxmert_tickets.data.vqa_json import read_annotations
from lxmert_tickets.evaluation.predictions import load_predictions
from lxmert_tickets.layout import Layout
from lxmert_tickets.pruning.mask_files import load_mask
from lxmert_tickets.pruning.masks import n_kept, n_prunable, n_pruned_at
from lxmert_tickets.report.names import shown_files

SEEDS = (0, 1)
ROUNDS = (25, 50, 75)
MODELS = ["dense", *(f"low_magnitude/s{s}" for s in ROUNDS), "high_magnitude/s50", "random/s50"]
PRUNED = MODELS[1:]


@pytest.fixture(scope="module")
def results(smoke: Path) -> Path:
    return smoke / "results" / "smoke"


@pytest.mark.parametrize("model", PRUNED)
def test_a_mask_prunes_exactly_what_its_folder_says(results: Path, model: str) -> None:
    for seed in SEEDS:
        mask = load_mask(results / f"seed{seed}" / model / "mask.safetensors")
        n = n_prunable(mask)
        assert n - n_kept(mask) == n_pruned_at(float(model.rsplit("/s", 1)[1]), n)


def test_pruning_rounds_only_remove_weights(results: Path) -> None:
    masks = [load_mask(results / f"seed0/low_magnitude/s{s}/mask.safetensors") for s in ROUNDS]
    for earlier, later in pairwise(masks):
        assert all(not (later[name] & ~earlier[name]).any() for name in earlier)


def test_each_round_prunes_the_network_that_the_round_before_retrained(results: Path) -> None:
    trained = load_file(results / "seed0/low_magnitude/s25/weights.safetensors")
    before = load_mask(results / "seed0/low_magnitude/s25/mask.safetensors")
    after = load_mask(results / "seed0/low_magnitude/s50/mask.safetensors")
    kept = np.concatenate([np.abs(trained[name])[after[name]] for name in after])
    removed = np.concatenate([np.abs(trained[name])[before[name] & ~after[name]] for name in after])
    assert kept.min() >= removed.max()


def test_high_magnitude_keeps_exactly_what_low_magnitude_prunes(results: Path) -> None:
    low = load_mask(results / "seed1/low_magnitude/s50/mask.safetensors")
    high = load_mask(results / "seed1/high_magnitude/s50/mask.safetensors")
    assert all(np.array_equal(low[name], ~high[name]) for name in low)
    assert n_kept(low) == n_kept(high)


@pytest.mark.parametrize("model", PRUNED)
def test_start_weights_are_the_initial_weights_times_the_mask(results: Path, model: str) -> None:
    initial = load_file(results / "seed0/initial.safetensors")
    start = load_file(results / "seed0" / model / "start.safetensors")
    mask = load_mask(results / "seed0" / model / "mask.safetensors")
    for name, tensor in initial.items():
        expected = np.where(mask[name], tensor, np.float32(0)) if name in mask else tensor
        assert start[name].tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("model", PRUNED)
def test_pruned_weights_are_zero_after_retraining_and_kept_ones_were_trained(results: Path, model: str) -> None:
    weights = load_file(results / "seed0" / model / "weights.safetensors")
    start = load_file(results / "seed0" / model / "start.safetensors")
    mask = load_mask(results / "seed0" / model / "mask.safetensors")
    assert all(not weights[name][~mask[name]].any() for name in mask)
    assert all(not np.array_equal(weights[name], start[name]) for name in mask if "x_layers.1.visn" not in name)


@pytest.mark.parametrize("model", MODELS)
def test_the_kept_epoch_is_the_best_on_the_validation_split(results: Path, model: str) -> None:
    folder = results / "seed0" / model
    by_epoch = pd.read_csv(folder / "history.csv")["val_accuracy_percent"]
    labels = {
        one.question_id: dict(soft_labels(one)) for one in read_annotations(results / "data/val/annotations.json")
    }
    predicted, _ = load_predictions(folder / "predictions.val.parquet")
    score = np.mean([labels[question].get(answer, 0.0) for question, answer in predicted.pairs()])
    assert by_epoch.max() == pytest.approx(100 * score)
    assert read_metadata(folder / "weights.safetensors")["provenance"]["epoch"] == 1 + by_epoch.argmax()


def test_seeds_share_the_pretrained_encoder_and_differ_in_the_classifier(results: Path) -> None:
    one, other = (load_file(results / f"seed{seed}/initial.safetensors") for seed in SEEDS)
    pretrained = load_file(results / "pretrained/weights.safetensors")
    for name, tensor in pretrained.items():
        same = np.array_equal(one[name], other[name])
        assert same == (not name.startswith("answer_head") or tensor.ndim == 1), name
        if not name.startswith("answer_head"):
            assert np.array_equal(one[name], tensor)


def test_results_have_a_row_for_each_network_and_split(results: Path) -> None:
    table = pd.read_csv(results / "results.csv")
    columns = ["subnetwork", "sparsity", "seed", "split", "measure", "overall", "yes_no", "number", "other"]
    assert list(table.columns) == columns
    assert len(table) == len(SEEDS) * len(MODELS) * 3
    assert not table.duplicated(["subnetwork", "sparsity", "seed", "split"]).any()
    dense = table[table["subnetwork"] == "dense"]
    assert dense["sparsity"].eq(0).all()


def test_a_score_equals_what_the_score_command_gives_for_the_submission(results: Path, tmp_path: Path) -> None:
    data = results / "data/test-dev"
    command = [
        sys.executable, "-m", "lxmert_tickets", "score", "--questions", data / "questions.json",
        "--annotations", data / "annotations.json", "--out", tmp_path / "score.json",
        "--predictions", results / "submissions/test-dev/seed1/low_magnitude/s50.json",
    ]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    alone = json.loads((tmp_path / "score.json").read_text())
    in_workflow = json.loads((results / "seed1/low_magnitude/s50/score.test-dev.json").read_text())
    in_workflow.pop("provenance")
    assert alone == in_workflow


def test_table_figures_and_submissions_exist(results: Path) -> None:
    for suffix in ("csv", "md", "tex", "html"):
        assert (results / f"tables/table1.{suffix}").stat().st_size > 100
    assert (results / "figures/figure1.png").read_bytes().startswith(b"\x89PNG")
    assert (results / "figures/figure1.pdf").read_bytes().startswith(b"%PDF")
    assert "<svg" in (results / "figures/figure1.svg").read_text()
    assert len(list(results.glob("submissions/*/seed*/**/*.json"))) == 2 * len(SEEDS) * len(MODELS)


def test_provenance_names_rule_seed_and_the_digests_of_the_inputs(results: Path) -> None:
    command = [sys.executable, "-m", "lxmert_tickets", "inspect", "--json"]
    file = results / "seed0/low_magnitude/s50/weights.safetensors"
    about = json.loads(subprocess.run([*command, file], check=True, capture_output=True, text=True).stdout)
    mask = results / "seed0/low_magnitude/s50/mask.safetensors"
    told = json.loads(subprocess.run([*command, mask], check=True, capture_output=True, text=True).stdout)
    assert about["provenance"]["rule"] == "retrain"
    assert about["provenance"]["seed"] == 0
    assert about["n_zeros_among_prunable"] == told["n_prunable"] - told["n_kept"]
    digests = about["provenance"]["parents"]
    assert "results/smoke/seed0/low_magnitude/s50/mask.safetensors" in digests
    assert all(len(digest) == 64 for digest in digests.values())


def test_one_shot_pruning_ranks_the_dense_network_within_each_tensor(
    smoke: Path, results: Path, overlay: Callable[[dict[str, Any]], Path]
) -> None:
    spec = {"keep": "largest", "rounds": "one_shot", "ranked": "per_tensor", "sparsities": [30, 60]}
    target = "results/smoke/seed0/one_shot/s60/mask.safetensors"
    run = snakemake(smoke, target, configs=(overlay({"subnetworks": {"one_shot": spec}}),))
    assert run.returncode == 0, run.stdout + run.stderr
    weights = load_file(results / "seed0/dense/weights.safetensors")
    for name, kept in load_mask(smoke / target).items():
        magnitude = np.abs(weights[name])
        assert abs(int(kept.sum()) - 0.4 * kept.size) <= 1
        assert magnitude[kept].min() >= magnitude[~kept].max()
    shutil.rmtree(results / "seed0/one_shot")


def test_a_second_run_does_nothing(smoke: Path) -> None:
    run = snakemake(smoke)
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout + run.stderr


def test_the_same_configuration_gives_the_same_bytes_in_forks_and_in_separate_processes(
    results: Path, tmp_path: Path
) -> None:
    again = tmp_path / "results" / "smoke"
    for part in ("data", "pretrained"):
        shutil.copytree(results / part, again / part)
    run = snakemake(tmp_path, "results/smoke/seed0/low_magnitude/s25/weights.safetensors")
    assert run.returncode == 0, run.stdout + run.stderr
    assert FORKS not in run.stderr  # its jobs are too few
    made = [path for path in again.glob("seed0/**/*") if path.is_file() and ".resume" not in path.parts]
    assert len(made) == 10  # of the dense network and a subnetwork, with their metrics
    for path in made:
        assert path.read_bytes() == (results / path.relative_to(again)).read_bytes(), path


def status(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, int | None], dict[str, Any]]:
    configs = [str(ROOT / "config.yaml"), str(ROOT / "configs" / "smoke.yaml")]
    assert main(["status", "--json", "--directory", str(folder), "--configfile", *configs]) == 0
    return {(entry["name"], entry["seed"]): entry for entry in json.loads(capsys.readouterr().out)}


def test_status_reports_all_of_a_finished_grid_as_done(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = status(smoke, capsys)
    assert {name for name, seed in found if seed == 1} == {"initial", *MODELS}
    assert {entry["state"] for entry in found.values()} == {"done"}


@pytest.mark.parametrize(
    ("log", "missing"),
    [
        ("finetune.0.log", "seed0/dense/weights.safetensors"),
        ("retrain.0.random.50.log", "seed0/random/s50/weights.safetensors"),
        ("prune_round.0.low_magnitude.50.log", "seed0/low_magnitude/s50/weights.safetensors"),
        ("prune_complement.0.high_magnitude.50.log", "seed0/high_magnitude/s50/weights.safetensors"),
        ("prune_random.0.random.50.log", "seed0/random/s50/weights.safetensors"),
        ("predict.0.random/s50.log", "seed0/random/s50/predictions.val.parquet"),
        ("score.0.dense.log", "seed0/dense/score.val.json"),
        ("snapshot_initial_weights.0.log", "seed0/initial.safetensors"),
        ("pretrain.log", "pretrained/weights.safetensors"),
        ("convert_features.val.log", "data/val/features.h5"),
        ("extract_features.pretrain.log", "data/pretrain/features.h5"),
        ("draw_images.val.log", "data/val/features.h5"),
        ("make_table.log", "tables/table1.csv"),
        ("draw_sparsity.log", "figures/sparsity.svg"),
        ("show_examples.log", "figures/examples.html"),
    ],
)
def test_status_reads_the_logs_that_jobs_write(
    smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str, missing: str
) -> None:
    results = tmp_path / "results" / "smoke"
    shutil.copytree(smoke / "results" / "smoke", results, copy_function=os.link)
    assert (results / "logs" / log).is_file()
    (results / "logs" / log).unlink()
    (results / "logs" / log).write_text("2026-01-02 03:04:05 ERROR the disk is full\n")
    (results / missing).unlink()
    failed = [entry for entry in status(tmp_path, capsys).values() if entry["state"] == "failed"]
    assert [(entry["note"], entry["log"]) for entry in failed] == [("the disk is full", f"results/smoke/logs/{log}")]


@pytest.mark.parametrize(
    ("experiment", "changes"),
    [("smoke", {}), ("smoke", {"subnetworks": {"low_magnitude": None, "high_magnitude": None}}), ("vqa2", {})],
)
def test_status_knows_the_tables_and_figures_that_the_workflow_makes(
    tmp_path: Path, overlay: Callable[[dict[str, Any]], Path], experiment: str, changes: dict[str, Any]
) -> None:
    file = overlay(changes)
    run = snakemake(tmp_path, "--summary", configs=(file,), experiment=experiment)
    assert run.returncode == 0, run.stderr
    made = [line.split("\t") for line in run.stdout.splitlines()]
    shown = {file for file, _, rule, *_ in made if re.match("collect_results|make_table|draw_(?!images)|show_", rule)}
    given = read_experiment(read_configuration(ROOT, [ROOT / "configs" / f"{experiment}.yaml", file]))
    paths = Layout(f"results/{experiment}")
    assert set(shown_files(given, paths)) == shown


def test_every_training_leaves_its_whole_curve(results: Path) -> None:
    for model in MODELS:
        curve = pd.read_csv(results / "seed0" / model / "metrics.csv")
        history = pd.read_csv(results / "seed0" / model / "history.csv")
        assert curve["step"].iloc[-1] == history["step"].iloc[-1]
        assert curve["learning_rate"].iloc[-1] == history["learning_rate"].iloc[-1]
    assert not (results / "tensorboard").exists()


def test_masks_and_weights_can_be_read_as_the_manual_says(smoke: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "results/README.md").read_text(encoding="utf-8"), re.DOTALL)
    program = (
        program.replace("results/scenes", "results/smoke")
        + """
import numpy as np
from safetensors import safe_open
import json

about = json.loads(safe_open(f"{folder}/mask.safetensors", "np").metadata()["lxmert_tickets"])
for name, kept in mask.items():
    bits = np.unpackbits(safe_open(f"{folder}/mask.safetensors", "np").get_tensor(name), count=kept.size)
    assert (bits.reshape(about["tensors"][name]["shape"]) == kept).all()
print(sum(kept.sum() for kept in mask.values()) / sum(kept.size for kept in mask.values()))
"""
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=smoke, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) == 0.5


def test_both_baselines_are_scored_on_every_test_split_of_a_finished_grid(smoke: Path) -> None:
    configs = [str(ROOT / "config.yaml"), str(ROOT / "configs/smoke.yaml")]
    command = [sys.executable, "-m", "benchmarks.blind_baselines", "--directory", str(smoke), "--configfile", *configs]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scored = re.findall(r"^\| (\S+) \| (\w+) \| (\d+\.\d\d)( ± \d+\.\d\d)? \|", done.stdout, flags=re.MULTILINE)
    assert [(split, name, bool(spread)) for split, name, _, spread in scored] == [
        ("test-dev", "prior", False), ("test-dev", "blind", True),
        ("test-std", "prior", False), ("test-std", "blind", True),
    ]  # fmt: skip
    shares = re.findall(r"^\| (\S+) \| (\d+\.\d) % \| \S+ \d", done.stdout, flags=re.MULTILINE)
    assert [kind for kind, _ in shares] == ["yes/no", "number", "other"]
    assert abs(sum(float(share) for _, share in shares) - 100) < 0.2

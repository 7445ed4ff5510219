"""A changed line reruns what depends on it and nothing else: dry runs over a finished grid."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workflow_runs import jobs_of, snakemake

from lxmert_tickets.training.recipe import TRAINING_VERSION

Overlay = Callable[[dict[str, Any]], Path]

TABLE = {"make_table"}
AT_TABLE_SPARSITY = {"draw_question_types", "draw_learning_curves"}
WITH_SPREAD = {"draw_accuracy", "draw_answer_types"} | AT_TABLE_SPARSITY
FIGURES, CONTACT_SHEET = {"draw_sparsity"} | WITH_SPREAD, {"draw_contact_sheet"}
EXAMPLES, CONFIGURATION, LAST = {"show_examples"}, {"show_configuration"}, {"show_run_times"}
SHOWN = {"collect_results"} | TABLE | FIGURES | CONFIGURATION | LAST
LOW, HIGH, RANDOM = "low_magnitude", "high_magnitude", "random"


def evaluated(seed: int, model: str) -> set[str]:
    """Return the jobs that follow when a network is trained."""
    return {f"{rule} {seed} {model}" for rule in ("predict", "score")}


def retrained(seed: int, subnetwork: str, sparsity: int) -> set[str]:
    """Return the jobs that follow when a subnetwork's start or recipe changes."""
    return {f"retrain {seed} {subnetwork} {sparsity}"} | evaluated(seed, f"{subnetwork}/s{sparsity}")


def remade(seed: int, rule: str, subnetwork: str, sparsity: int) -> set[str]:
    """Return the jobs of a subnetwork that is made anew, mask and all."""
    return {f"{rule} {seed} {subnetwork} {sparsity}"} | retrained(seed, subnetwork, sparsity)


def after_dense(seed: int) -> set[str]:
    """Return the jobs of a seed whose dense network is trained anew; random masks do not depend on it."""
    jobs = {f"finetune {seed}"} | evaluated(seed, "dense") | retrained(seed, RANDOM, 50)
    for sparsity in (25, 50, 75):
        jobs |= remade(seed, "prune_round", LOW, sparsity)
    return jobs | remade(seed, "prune_complement", HIGH, 50)


def of_both(jobs: Callable[[int], set[str]]) -> set[str]:
    return jobs(0) | jobs(1)


NEW_SEED = after_dense(2) | {"snapshot_initial_weights 2", "prune_random 2 random 50"}
APPENDED = of_both(lambda seed: remade(seed, "prune_round", LOW, 95))
INSERTED = of_both(
    lambda seed: (
        remade(seed, "prune_round", LOW, 45)
        | remade(seed, "prune_round", LOW, 50)
        | remade(seed, "prune_round", LOW, 75)
        | remade(seed, "prune_complement", HIGH, 50)
    )
)
CHANGES = {
    "nothing": ({}, set()),
    "a seed added": ({"seeds": [0, 1, 2]}, NEW_SEED | SHOWN),
    "95 % appended": ({"subnetworks": {LOW: {"sparsities": [25, 50, 75, 95]}}}, APPENDED | SHOWN | EXAMPLES),
    "45 % inserted": ({"subnetworks": {LOW: {"sparsities": [25, 45, 50, 75]}}}, INSERTED | SHOWN | EXAMPLES),
    "the learning rate": ({"training": {"learning_rate": 1e-4}}, of_both(after_dense) | SHOWN | EXAMPLES),
    "the figures' width": (
        {"report": {"figure_width_inches": 3.3}},
        FIGURES | CONTACT_SHEET | CONFIGURATION | LAST,
    ),
    "the figures' dots an inch": (
        {"report": {"figure_dpi": 100}},
        FIGURES | CONTACT_SHEET | CONFIGURATION | LAST,
    ),
    "the spread over seeds": ({"report": {"spread": "range"}}, WITH_SPREAD | CONFIGURATION | LAST),
    "the table's sparsity": (
        {"report": {"table_sparsity": 75}},
        TABLE | AT_TABLE_SPARSITY | EXAMPLES | CONFIGURATION | LAST,
    ),
    "the random control at 70 % added": (
        {"subnetworks": {RANDOM: {"sparsities": [50, 70]}}},
        of_both(lambda seed: remade(seed, "prune_random", RANDOM, 70)) | SHOWN,
    ),
    "what decides no result": (
        {
            "logging": {"tensorboard": True},
            "checkpoints": {"interval_minutes": 1},
            "gpus": {"trainings_per_gpu": 2, "cuda_graphs": False},
        },
        set(),
    ),
    "a subnetwork removed": ({"subnetworks": {HIGH: None}}, SHOWN | EXAMPLES),
    "the ranking of the random control": (
        {"subnetworks": {RANDOM: {"ranked": "per_tensor"}}},
        of_both(lambda seed: remade(seed, "prune_random", RANDOM, 50)) | SHOWN | EXAMPLES,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_configuration_reruns_what_depends_on_it(smoke: Path, overlay: Overlay, change: str) -> None:
    changes, expected = CHANGES[change]
    assert jobs_of(snakemake(smoke, "--dry-run", configs=(overlay(changes),))) == expected


DELETED = {
    "start weights": (["seed0/low_magnitude/s50/start.safetensors", "seed1/random/s50/start.safetensors"], set()),
    "a mask": (["seed0/low_magnitude/s75/mask.safetensors"], remade(0, "prune_round", LOW, 75)),
    "a network": (["seed1/high_magnitude/s50/weights.safetensors"], retrained(1, HIGH, 50)),
    "a history": (["seed1/high_magnitude/s50/history.csv"], retrained(1, HIGH, 50)),
    "a score": (["seed0/dense/score.test-dev.json"], {"score 0 dense"}),
    "results": (["results.csv"], set()),
    "results by question type": (["question_types.csv"], set()),
    "a run": (["seed1"], after_dense(1) | {"snapshot_initial_weights 1", "prune_random 1 random 50"}),
}


@pytest.mark.parametrize("what", DELETED)
def test_a_deleted_file_is_made_again_with_what_depends_on_it(grid: Path, what: str) -> None:
    names, expected = DELETED[what]
    for path in (grid / "results/smoke" / name for name in names):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    jobs = jobs_of(snakemake(grid, "--dry-run"))
    shown = set() if what == "start weights" else SHOWN
    assert jobs - EXAMPLES == expected | shown


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_comment_or_docstring_in_the_pruning_code_reruns_nothing(smoke: Path, copy_of_project: Path) -> None:
    selection = copy_of_project / "lxmert_tickets/pruning/selection.py"
    edit(selection, '"""Exact selection', '# a remark\n\n"""Exact and stable selection')
    edit(copy_of_project / "workflow_scripts/prune_round.py", "with job(", "# a remark\nwith job(")
    assert jobs_of(snakemake(smoke, "--dry-run", project=copy_of_project)) == set()


def test_a_change_in_pruning_logic_reruns_masks_and_what_follows(smoke: Path, copy_of_project: Path) -> None:
    masks = copy_of_project / "lxmert_tickets/pruning/selection.py"
    edit(masks, "CHUNK = 1 << 18", "CHUNK = 1 << 17")
    expected = of_both(
        lambda seed: (
            after_dense(seed) - {f"finetune {seed}"} - evaluated(seed, "dense")
            | remade(seed, "prune_random", RANDOM, 50)
        )
    )
    assert jobs_of(snakemake(smoke, "--dry-run", project=copy_of_project)) == expected | SHOWN | EXAMPLES


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("figures.py", 'UNREAD = "*"', 'UNREAD = "†"', FIGURES),
        ("contact_sheet.py", "N_PAIRS = 12", "N_PAIRS = 9", CONTACT_SHEET),
        ("turns.py", "range(n_examples)", "range(1, n_examples)", CONTACT_SHEET | EXAMPLES),
        ("style.py", "NARROW_INCHES = 4.5", "NARROW_INCHES = 4", FIGURES | CONTACT_SHEET),
    ],
)
def test_a_change_in_figure_logic_redraws_the_figures_that_share_it(
    smoke: Path, copy_of_project: Path, file: str, old: str, new: str, expected: set[str]
) -> None:
    edit(copy_of_project / "lxmert_tickets/report" / file, old, new)
    assert jobs_of(snakemake(smoke, "--dry-run", project=copy_of_project)) == expected | LAST


def test_a_refactoring_of_the_training_code_retrains_nothing(smoke: Path, copy_of_project: Path) -> None:
    edit(copy_of_project / "lxmert_tickets/training/loop.py", "CHECK_EVERY_STEPS = 25", "CHECK_EVERY_STEPS = 20")
    assert jobs_of(snakemake(smoke, "--dry-run", project=copy_of_project)) == set()


def test_a_raised_training_version_retrains_everything(smoke: Path, copy_of_project: Path) -> None:
    recipe = copy_of_project / "lxmert_tickets/training/recipe.py"
    edit(recipe, f"TRAINING_VERSION = {TRAINING_VERSION}", f"TRAINING_VERSION = {TRAINING_VERSION + 1}")
    jobs = jobs_of(snakemake(smoke, "--dry-run", project=copy_of_project))
    assert {"pretrain", "finetune 0", "finetune 1"} | of_both(after_dense) <= jobs
    assert not any(job.startswith(("make_scenes", "encode_questions", "convert_features")) for job in jobs)


def test_labels_of_a_test_split_reach_neither_training_nor_masks(grid: Path) -> None:
    annotations = grid / "results/smoke/data/test-dev/annotations.json"
    edit(annotations, '"answer_confidence":"yes"', '"answer_confidence":"maybe"')
    jobs = jobs_of(snakemake(grid, "--dry-run"))
    assert "encode_questions test-dev" in jobs
    learning = ("pretrain", "snapshot", "finetune", "prune", "retrain", "build_answers", "train_tokenizer")
    assert not [job for job in jobs if job.startswith(learning)]

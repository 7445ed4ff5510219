"""What a user sees when something is wrong: one clear error, and nothing half-written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workflow_runs import ROOT, jobs_of, run_snakemake, snakemake

Overlay = Callable[[dict[str, Any]], Path]


def refusal_of(config: Path, folder: Path) -> str:
    """Return what is said where `config` is refused: before any job, and without a traceback."""
    run = snakemake(folder, "--dry-run", configs=(config,))
    said = run.stdout + run.stderr
    assert run.returncode == 1
    assert "Traceback" not in said
    assert "rule " not in said
    return said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"epoch": 3}}, ["training.epoch", "did you mean 'epochs'?"]),
        ({"subnetworks": {"randm": None}}, ["subnetworks.randm: empty (null)", "did you mean 'random'?"]),
        ({1: 2}, ["Keys are text"]),  # which Snakemake accepts
    ],
)
def test_a_mistake_in_the_configuration_stops_before_any_job(
    tmp_path: Path, overlay: Overlay, changes: dict[Any, Any], words: list[str]
) -> None:
    said = refusal_of(overlay(changes), tmp_path)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("training: {epochs: 3}\nseeds: [0]\ntraining: {batch_size: 16}", "cannot be read (training appears twice"),
        ("seeds: &s [*s]", "seeds[0][0]"),
    ],
)
def test_bad_yaml_that_snakemake_accepts_stops_before_any_job_and_its_file_is_named(
    tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "x.yaml").write_text(content)
    said = refusal_of(tmp_path / "x.yaml", tmp_path)
    assert f"x.yaml: {words}" in said
    assert "overlays it" not in said  # the place is known


def test_a_folder_without_a_configuration_uses_the_workflows_own(tmp_path: Path) -> None:
    jobs = jobs_of(run_snakemake(tmp_path, "--snakefile", str(ROOT / "Snakefile"), "--dry-run", "--cores", "1"))
    assert {"finetune 0", "finetune 1", "finetune 2", "make_table"} <= jobs
    assert not (tmp_path / "config.yaml").exists()


def test_a_seed_has_one_folder(tmp_path: Path) -> None:
    refused = snakemake(tmp_path, "results/smoke/seed00/dense/weights.safetensors", "--dry-run")
    assert refused.returncode == 1
    assert "MissingRuleException" in refused.stdout + refused.stderr


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def drop_last_cell(path: Path) -> None:
    lines = path.read_text().splitlines()
    lines[2] = lines[2].rsplit("\t", 1)[0]
    path.write_text("\n".join(lines) + "\n")


def drop_a_question(path: Path) -> None:
    text = path.read_text()
    start = text.index('{"question_id"') if '{"question_id"' in text else text.index('{"image_id"')
    end = text.index("}", start) + 1
    path.write_text(text[:start] + text[end:].lstrip(", \n"))


TO_PRETRAINED = "results/smoke/pretrained/weights.safetensors"


def test_a_job_that_fails_with_new_settings_fails_again_and_its_old_results_stay_outdated(
    grid: Path, overlay: Overlay
) -> None:
    changed = overlay({"pretraining": {"learning_rate": 1e30}})
    to_do = jobs_of(snakemake(grid, "--dry-run", configs=(changed,)))
    for _ in range(2):
        assert snakemake(grid, TO_PRETRAINED, configs=(changed,)).returncode == 1
        assert jobs_of(snakemake(grid, "--dry-run", configs=(changed,))) == to_do
    assert jobs_of(snakemake(grid, "--dry-run")) == set()  # with the settings of the finished grid


def test_a_job_that_fails_with_new_inputs_is_run_again(grid: Path, overlay: Overlay, copy_of_project: Path) -> None:
    job = copy_of_project / "lxmert_tickets/jobs/job.py"  # no part of what decides a result
    failing = "    assert 'extract_features.pretrain' not in str(log_path)\n    # So Snakemake hands"
    job.write_text(job.read_text().replace("    # So Snakemake hands", failing))
    changed = overlay({"scenes": {"seed": 7}})
    assert snakemake(grid, TO_PRETRAINED, configs=(changed,), project=copy_of_project).returncode == 1
    left = jobs_of(snakemake(grid, "--dry-run", configs=(changed,)))
    assert {"extract_features pretrain", "pretrain", "finetune 0"} <= left
    assert "draw_images pretrain" not in left


ROUND_BEFORE = "results/smoke/seed0/low_magnitude/s25"
RUN = "results/smoke/seed0/low_magnitude/s50"
VAL = "results/smoke/data/val"


@pytest.mark.parametrize(
    ("damage", "damaged", "target"),
    [
        (truncate, f"{ROUND_BEFORE}/mask.safetensors", f"{RUN}/start.safetensors"),
        (truncate, f"{RUN}/weights.safetensors", f"{RUN}/predictions.val.parquet"),
        (truncate, "results/smoke/seed0/initial.safetensors", f"{RUN}/start.safetensors"),
        (drop_last_cell, f"{VAL}/features.tsv", f"{VAL}/features.h5"),
        (drop_a_question, f"{VAL}/questions.json", f"{VAL}/questions.h5"),
        (truncate, f"{VAL}/scenes.json", f"{VAL}/images.zip"),
        (truncate, f"{VAL}/images.zip", f"{VAL}/features.tsv"),
        (truncate, f"{VAL}/boxes.json", f"{VAL}/features.tsv"),
        (truncate, "results/smoke/data/pretrain/captions.json", "results/smoke/data/tokenizer.json"),
        (truncate, f"{RUN}/score.test-dev.json", "results/smoke/results.csv"),
        (truncate, f"{RUN}/score.test-dev.json", "results/smoke/figures/examples.html"),
        (empty, f"{RUN}/history.csv", "results/smoke/results.csv"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_left_half_written(
    grid: Path, damage: Callable[[Path], None], damaged: str, target: str
) -> None:
    damage(grid / damaged)
    made = grid / target
    made.unlink()
    run = snakemake(grid, target, "--rerun-triggers", "input", "--allowed-rules", *RULES_OF_TARGETS)
    said = run.stdout + run.stderr
    assert run.returncode == 1
    assert Path(damaged).name in said
    assert "expected" in said
    assert "Traceback" not in said
    assert not made.exists()
    assert not list(made.parent.glob(".*.tmp"))


RULES_OF_TARGETS = [
    "prune_round", "predict", "convert_features", "encode_questions", "draw_images", "extract_features",
    "train_tokenizer", "collect_results", "show_examples",
]  # fmt: skip


def test_a_mask_for_another_network_is_refused(grid: Path) -> None:
    from lxmert_tickets.pruning.mask_files import load_mask, save_mask  # noqa: PLC0415

    path = grid / ROUND_BEFORE / "mask.safetensors"
    name, kept = next(iter(load_mask(path).items()))
    save_mask(path, {name: kept[:-1]}, {})
    (grid / RUN / "start.safetensors").unlink()
    run = snakemake(grid, f"{RUN}/start.safetensors", "--rerun-triggers", "input", "--allowed-rules", *RULES_OF_TARGETS)
    said = run.stdout + run.stderr
    assert run.returncode == 1
    assert "another network" in said
    assert name in said

"""Another workflow imports this one with `module`, configures only what differs, and builds on its files."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow_runs import ROOT, jobs_of, run_snakemake

SMALL = {"images": 30, "questions": 60}
CONFIG: dict[str, Any] = {
    "experiment": "mine",
    "seeds": [7],
    "scenes": {"sets": {"val": SMALL}},
    "subnetworks": {"low_magnitude": {"sparsities": [50]}, "random": None},
}
IMPORT = """
module {name}:
    snakefile: "{snakefile}"
    config: config["{name}"]
    {place}

use rule * from {name} as {name}_*
"""
PREFIX = 'prefix: "lottery"'
RESULTS_MOVED = 'replace_prefix: {"results/": "lottery/results/"}'


def importer(folder: Path, *, place: str = PREFIX, **configs: dict[str, Any]) -> Path:
    """Write a workflow that imports this one once for each of `configs`, and asks for the last one's table."""
    (folder / "config.yaml").write_text(yaml.safe_dump(configs))
    imports = [IMPORT.format(name=name, snakefile=ROOT / "Snakefile", place=place) for name in configs]
    asked = [f"lottery/results/{config['experiment']}/tables/table1.csv" for config in configs.values()]
    text = ['configfile: "config.yaml"', *imports, f"rule mine:\n    default_target: True\n    input: {asked}\n"]
    (folder / "Snakefile").write_text("\n".join(text))
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_snakemake(folder, *arguments, "--cores", "1")


def test_an_importer_inherits_config_yaml_and_may_have_settings_of_its_own(tmp_path: Path) -> None:
    importer(tmp_path, tickets=CONFIG)
    with (tmp_path / "config.yaml").open("a") as file:
        file.write("cluster: {walltime: 12:00:00, depth: .inf}\nsamples: [0012, 0013]\n")
    jobs = jobs_of(run(tmp_path, "--dry-run"))
    trained = {job for job in jobs if job.split()[0] in ("tickets_finetune", "tickets_retrain")}
    assert trained == {
        "tickets_finetune 7",
        "tickets_retrain 7 low_magnitude 50",
        "tickets_retrain 7 high_magnitude 50",
    }
    assert {"tickets_make_scenes train", "tickets_make_scenes val", "tickets_make_table", "mine"} <= jobs


def test_a_job_finds_its_code_and_writes_where_the_importer_says(tmp_path: Path) -> None:
    file = "lottery/results/mine/data/val/questions.json"
    done = run(importer(tmp_path, tickets=CONFIG), file)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(json.loads((tmp_path / file).read_text())["questions"]) == SMALL["questions"]
    assert not (tmp_path / "results").exists()


def test_two_experiments_can_be_imported_side_by_side(tmp_path: Path) -> None:
    other = CONFIG | {"experiment": "other", "seeds": [8]}
    jobs = jobs_of(run(importer(tmp_path, one=CONFIG, two=other), "--dry-run"))
    assert {"one_finetune 7", "two_finetune 8"} <= jobs
    assert not {"one_finetune 8", "two_finetune 7"} & jobs


def test_a_mistake_in_the_importers_configuration_is_reported_like_one_in_config_yaml(tmp_path: Path) -> None:
    failed = run(importer(tmp_path, tickets=CONFIG | {"seed": [7]}), "--dry-run")
    assert failed.returncode == 1
    said = failed.stdout + failed.stderr
    assert "did you mean 'seeds'?" in said
    assert "Traceback" not in said


def test_everything_that_a_training_writes_lies_where_the_importer_says(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "configs/smoke.yaml").read_text()) | {"experiment": "mine", "seeds": [7]}
    place = 'replace_prefix: {"results/": "moved/"}'
    done = run(importer(tmp_path, place=place, tickets=config), "moved/mine/seed7/dense/weights.safetensors")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "moved/mine/seed7/dense/metrics.csv").exists()
    assert not (tmp_path / "results").exists()

    reported = run(tmp_path, "moved/mine/seed7/dense/weights.safetensors", "--report", "report.html")
    assert reported.returncode == 0, reported.stderr[-2000:]
    said = reported.stderr + (tmp_path / "report.html").read_text()
    assert "How much of LXMERT can be pruned away" in said
    assert not any(sign in said for sign in ("Inline strong", "System Message", "rendered scenes"))


@pytest.mark.parametrize("place", [PREFIX, RESULTS_MOVED], ids=["prefix", "replace_prefix"])
def test_for_vqa2_results_can_be_moved_but_resources_cannot(tmp_path: Path, place: str) -> None:
    config = yaml.safe_load((ROOT / "configs/vqa2.yaml").read_text()) | {"experiment": "mine", "seeds": [7]}
    dry = run(importer(tmp_path, place=place, tickets=config), "--dry-run")
    if place == PREFIX:
        assert dry.returncode == 1
        assert "Write replace_prefix" in dry.stdout + dry.stderr
    else:
        assert "tickets_download vocab.txt" in jobs_of(dry)
        assert "output: resources/vqa2/vocab.txt.verified" in dry.stdout + dry.stderr

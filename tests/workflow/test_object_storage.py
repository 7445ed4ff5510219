"""A grid in an S3 object store, trained in folders that share nothing: its bytes are those of a run on one disk."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from made_up_vqa2 import Sizes, configuration, made_up_texts, write_sources
from object_store import NoStoreError, ObjectStore, running_store
from packages import install
from web_site import served
from workflow_runs import ROOT, copy_project, run_snakemake, snakemake

from lxmert_tickets.jobs.one_run import VARIABLE

PODS = Path(__file__).with_name("pods.py")
REQUIREMENTS = (ROOT / "requirements-storage.txt", Path(__file__).with_name("requirements-object-store.txt"))
# Of the smoke grid, one seed and one round.
SMALLER = {
    "seeds": [0],
    "subnetworks": {"low_magnitude": {"sparsities": [25]}, "high_magnitude": None, "random": None},
    "report": {"table_sparsity": 25},
}
RESULTS = Path("results/smoke")
TRAINED = str(RESULTS / "seed0/low_magnitude/s25/weights.safetensors")
TABLE = str(RESULTS / "tables/table1.md")
SPLITS = ("train", "val", "test-dev", "test-std")
BEGINNING = [
    *(str(RESULTS / f"data/{split}/questions.h5") for split in SPLITS),
    str(RESULTS / "seed0/initial.safetensors"),
]
ROUND = ["--groups", "prune_round=round", "retrain=round"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An empty object store; the tests skip where none can run."""
    packages = tmp_path_factory.mktemp("packages")
    install(packages, *REQUIREMENTS)
    try:
        with running_store(packages) as running:
            yield running
    except NoStoreError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the workflow: Snakemake sends jobs the files that git tracks."""
    folder = copy_project(tmp_path_factory.mktemp("clone") / "lxmert-tickets")
    (folder / "smaller.yaml").write_text(yaml.safe_dump(SMALLER))
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    return folder


def in_pods(pods: Path) -> list[str]:
    """Return Snakemake's options to run jobs as pods, in folders below `pods`."""
    start, status = (shlex.join([sys.executable, str(PODS), word, str(pods)]) for word in ("start", "status"))
    return [
        "--executor", "cluster-generic", "--cluster-generic-submit-cmd", start, "--cluster-generic-status-cmd", status,
        "--job-deploy-sources", "--jobs", "2", "--seconds-between-status-checks", "1",
    ]  # fmt: skip


def run(store: ObjectStore, repository: Path, *arguments: str, configs: tuple[str, ...]) -> None:
    """Run the workflow from within its repository, its files in `store`."""
    ran = run_snakemake(
        repository, *arguments, *store.options, "--shared-fs-usage", "none", "--configfile", "config.yaml", *configs,
        environment=store.environment,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


@dataclass
class Ended:
    """Pods that have ended, and a copy of what is in the store."""

    pods: Path
    stored: Path


@pytest.fixture(scope="module")
def grid(store: ObjectStore, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A small grid, whose networks were trained in pods."""
    ended = Ended(tmp_path_factory.mktemp("pods"), tmp_path_factory.mktemp("stored"))
    configs = ("configs/smoke.yaml", "smaller.yaml")
    run(store, repository, *BEGINNING, "--cores", "2", configs=configs)
    run(store, repository, TRAINED, *in_pods(ended.pods), *ROUND, configs=configs)
    run(store, repository, TABLE, "--cores", "2", configs=configs)
    store.copy_to(ended.stored)
    return ended


def test_pods_are_told_what_the_run_was_started_with(grid: Ended) -> None:
    scripts = [script.read_text() for script in grid.pods.glob("*.sh")]
    assert scripts
    assert all(f"export {VARIABLE}=" in script for script in scripts)


def test_every_file_has_the_bytes_of_a_run_on_one_disk(grid: Ended, smoke: Path, tmp_path: Path) -> None:
    shutil.copytree(smoke / RESULTS, tmp_path / RESULTS)
    overlay = tmp_path / "smaller.yaml"
    overlay.write_text(yaml.safe_dump(SMALLER))
    ran = snakemake(tmp_path, TABLE, "--forcerun", "collect_results", configs=(overlay,))  # of the smaller grid
    assert ran.returncode == 0, ran.stderr
    made = [path.relative_to(grid.stored) for path in (grid.stored / RESULTS).rglob("*") if path.is_file()]
    compared = [path for path in made if not {"logs", "benchmarks"} & set(path.parts)]
    assert {Path(TRAINED), Path(TABLE), RESULTS / "seed0/dense/score.val.json"} <= set(compared)
    different = [str(path) for path in compared if (grid.stored / path).read_bytes() != (tmp_path / path).read_bytes()]
    assert different == []


def test_pods_know_nothing_of_the_submitting_machine(grid: Ended, repository: Path) -> None:
    scripts = [path.read_text() for path in grid.pods.glob("*.sh")]
    assert len(scripts) == 2  # finetune; prune_round and retrain
    assert not any(str(repository) in script or str(ROOT) in script for script in scripts)


def test_logs_are_stored_with_the_results(grid: Ended) -> None:
    assert "epoch 2" in (grid.stored / RESULTS / "logs/retrain.0.low_magnitude.25.log").read_text()


def test_downloads_stay_on_the_submitting_machine_and_jobs_that_read_them_run_there(
    store: ObjectStore, repository: Path, tmp_path: Path
) -> None:
    features, zipped = "resources/vqa2/features/test2015.h5", "resources/vqa2/test2015_obj36.zip"
    sizes = Sizes()
    write_sources(tmp_path / "site", sizes, made_up_texts())
    with served(tmp_path / "site") as site:
        vqa2 = {"sources": configuration(site.url), "feature_dim": sizes.feature_dim}
        (repository / "site.yaml").write_text(json.dumps({"vqa2": vqa2}))
        configs = ("configs/vqa2.yaml", "site.yaml")
        run(store, repository, features, *in_pods(tmp_path / "pods"), configs=configs)
    store.copy_to(tmp_path / "stored")
    assert (tmp_path / "stored" / features).is_file()
    assert not (tmp_path / "stored" / f"{zipped}.verified").exists()
    assert (repository / zipped).is_file()
    assert not (tmp_path / "pods").exists()
    (repository / "resources/vqa2/images").mkdir()  # pictures that someone has put there
    run(store, repository, "results/vqa2/figures/examples.html", "--dry-run", "--cores", "1", configs=configs)

"""One cluster for all tests here, or the reason to skip them."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, NoSlurmError, running_cluster
from workflow_runs import ROOT


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The folder of Snakemake's plugin for SLURM, None where it is installed; the test skips where pip cannot."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is not None:
        return None
    folder = tmp_path_factory.mktemp("plugin")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command = [*pip, "--target", str(folder), "--requirement", str(ROOT / "requirements-slurm.txt")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        pytest.skip(f"pip could not install requirements-slurm.txt: {run.stderr.strip().splitlines()[-1:]}")
    _ask_often(folder / "snakemake_executor_plugin_slurm/__init__.py")
    return folder


def _ask_often(plugin: Path) -> None:
    """Make the plugin ask SLURM every few seconds: while no job succeeds, it would ask ever less often."""
    seldom = "max_sleep_time = 180"
    source = plugin.read_text()
    assert seldom in source
    plugin.write_text(source.replace(seldom, "max_sleep_time = 3"))


@pytest.fixture(scope="session")
def cluster(plugin: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A SLURM with two made-up GPUs, whose user has the plugin; the test skips where it cannot run."""
    try:
        with running_cluster(tmp_path_factory.mktemp("slurm")) as running:
            others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
            running.environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(plugin or ""), *others]))
            yield running
    except NoSlurmError as reason:
        pytest.skip(str(reason))

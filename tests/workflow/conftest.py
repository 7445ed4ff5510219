"""The real Snakefile on the smoke configuration: run once, examined by many tests."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow_runs import FORKS, copy_project, snakemake

from lxmert_tickets.jobs.forked import forks_pay


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the smoke grid has run to the end."""
    folder = tmp_path_factory.mktemp("smoke")
    run = snakemake(folder)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (FORKS in run.stderr) == forks_pay()
    return folder


@pytest.fixture
def grid(smoke: Path, tmp_path: Path) -> Path:
    """Return a copy of a finished grid, every file with its old time."""
    shutil.copytree(smoke, tmp_path / "grid")
    return tmp_path / "grid"


@pytest.fixture
def overlay(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Return a function that writes a configuration to lay over the smoke configuration."""

    def write(changes: dict[str, Any]) -> Path:
        path = tmp_path / "overlay.yaml"
        path.write_text(yaml.safe_dump(changes))
        return path

    return write


@pytest.fixture
def copy_of_project(tmp_path: Path) -> Path:
    """Return a copy of the workflow's own code, to be edited."""
    return copy_project(tmp_path / "project")

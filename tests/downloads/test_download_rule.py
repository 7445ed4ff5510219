"""The script under the real Snakemake: downloaded files survive what Snakemake does to outputs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from breaking_server import Answer, BreakingServer, Served
from made_zips import zip_bytes

PROJECT = Path(__file__).resolve().parents[2]
ZIP = zip_bytes(1_000_000)
RULE = """
rule download:
    output:
        receipt="resources/vqa2/train.zip.verified",
    params:
        urls=config["urls"].split(),
        lock="resources/downloads.lock.json",
    log:
        "download.log",
    script:
        "{script}"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a workflow of one rule."""
    script = PROJECT / "workflow_scripts" / "download.py"
    (tmp_path / "Snakefile").write_text(RULE.replace("{script}", str(script)))
    return tmp_path


def run(project: Path, *urls: str, triggers: str = "mtime") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--config", f"urls={' '.join(urls)}"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command += ["--rerun-triggers", *triggers.split()]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_files_and_receipts_survive_broken_runs_and_changed_mirrors(
    project: Path, server: BreakingServer, mirror: BreakingServer
) -> None:
    file = project / "resources/vqa2/train.zip"
    receipt = file.with_name("train.zip.verified")
    server.files["/train.zip"] = mirror.files["/train.zip"] = Served(ZIP)
    server.answers = [Answer(break_after=600_000), Answer(status=404)]

    failed = run(project, server.url())
    assert failed.returncode != 0
    assert "answers 404 Not Found" in failed.stderr
    assert "answers 404 Not Found" in (project / "download.log").read_text()
    assert not receipt.exists()

    done = run(project, server.url())  # the half file has survived the failed job
    assert done.returncode == 0, done.stderr
    assert file.read_bytes() == ZIP
    assert server.sent == len(ZIP)
    before = receipt.read_bytes()

    changed = run(project, mirror.url(), triggers="mtime params")  # the job runs again, but not the download
    assert changed.returncode == 0, changed.stderr
    assert "already there, verified" in (project / "download.log").read_text()
    assert (receipt.read_bytes(), mirror.sent) == (before, 0)

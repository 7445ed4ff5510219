"""How a small workflow treats a failed job: its own Snakemake, with `forget_failed_jobs` as in this workflow."""

from pathlib import Path

import pytest
from workflow_runs import ROOT, run_snakemake

TWO_RULES = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from lxmert_tickets.jobs.failed import forget_failed_jobs
forget_failed_jobs()

rule end:
    input: "first"
    output: "end"
    shell: "cp {{input}} {{output}}"

rule first:
    output: "first"
    params: value=config["value"]
    shell: config["how"]
"""
WRITES = "echo {params.value} > {output}"


def run(folder: Path, value: int, how: str, *options: str) -> int:
    (folder / "Snakefile").write_text(TWO_RULES)
    run = run_snakemake(
        folder, "--cores", "1", "--latency-wait", "0", "--rerun-triggers", "mtime", "params", "input", *options,
        "--config", f"value={value}", f"how={how}",
    )  # fmt: skip
    return run.returncode


@pytest.mark.parametrize("how", ["exit 1", "true", f"{WRITES}; kill -9 $$"], ids=["fails", "writes nothing", "killed"])
def test_a_failed_job_is_run_again_until_it_succeeds_and_leaves_no_mark_as_incomplete(tmp_path: Path, how: str) -> None:
    assert run(tmp_path, 1, WRITES) == 0
    for _ in range(2):
        assert run(tmp_path, 2, how) == 1
        assert not list((tmp_path / ".snakemake/incomplete").iterdir())
    assert (tmp_path / "end").read_text() == "1\n"
    assert run(tmp_path, 2, WRITES) == 0
    assert (tmp_path / "end").read_text() == "2\n"


def test_output_kept_from_a_failed_job_is_known_to_be_incomplete(tmp_path: Path) -> None:
    assert run(tmp_path, 1, "echo half > {output}; exit 1", "--keep-incomplete") == 1
    assert (tmp_path / "first").read_text() == "half\n"
    assert run(tmp_path, 1, WRITES, "--rerun-incomplete") == 0
    assert (tmp_path / "end").read_text() == "1\n"

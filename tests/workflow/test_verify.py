"""`verify` finds what Snakemake cannot see: files that were swapped or damaged and have their old times."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workflow_runs import ROOT, jobs_of, snakemake

from lxmert_tickets import verification
from lxmert_tickets.artifacts import input_digest, write_json
from lxmert_tickets.cli import main
from lxmert_tickets.downloads.receipts import Receipt, write_receipt

Verify = Callable[..., tuple[int, list[str]]]

DENSE = "results/smoke/seed0/dense"
SWAPPED, VAL_FEATURES = f"{DENSE}/weights.safetensors", "results/smoke/data/val/features.h5"
MASK = "results/smoke/seed0/low_magnitude/s25/mask.safetensors"


@pytest.fixture
def verified(grid: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Return a function that runs `verify` on the grid and gives its exit status and its lines."""

    def verify(*overlays: Path) -> tuple[int, list[str]]:
        configs = [ROOT / "configs/smoke.yaml", *overlays]
        status = main(["verify", "--directory", str(grid), "--configfile", *map(str, configs)])
        return status, capsys.readouterr().out.splitlines()

    return verify


def keeping_its_time(file: Path, content: bytes) -> None:
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_bytes(content)
    os.utime(file, ns=times)


def test_a_finished_grid_is_consistent(grid: Path, verified: Verify) -> None:
    checkpoints = grid / "results/smoke/pretrained/.resume"  # of a run in progress
    checkpoints.mkdir(exist_ok=True)
    (checkpoints / "step0000000001.safetensors").write_bytes(b"")
    (grid / "results/smoke/mine.json").write_text("{}")
    status, [said] = verified()
    assert status == 0
    assert said.endswith(" files compared with what they were made from, 0 problems")
    assert int(said.split()[1]) > 100


def test_a_network_of_another_seed_is_reported_with_all_files_made_from_the_right_one(
    grid: Path, verified: Verify
) -> None:
    keeping_its_time(grid / SWAPPED, (grid / SWAPPED.replace("seed0", "seed1")).read_bytes())
    assert jobs_of(snakemake(grid, "--dry-run")) == set()
    status, said = verified()
    assert status == 1
    assert f"{SWAPPED}: is of seed 1; expected seed 0" in said
    expected = f"was made from another {SWAPPED}; expected one made from the file that is there"
    made_of_it = {line.removesuffix(f": {expected}") for line in said if line.endswith(expected)}
    start, mask = MASK.replace("mask", "start"), MASK
    assert made_of_it == {
        start, mask, *(f"{DENSE}/predictions.{split}.parquet" for split in ("val", "test-dev", "test-std"))
    }  # fmt: skip
    assert said[-1].endswith("6 problems")


@pytest.mark.parametrize(
    ("copied", "to", "told"),
    [
        ("low_magnitude/s25/score.val.json", "random/s50", "seed0/random/s50"),
        ("low_magnitude/s25/predictions.val.parquet", "random/s50", "seed0/random/s50"),
        ("dense/weights.safetensors", "random/s50", None),  # it is made of no network: only what is made of it tells
        ("random/s50/weights.safetensors", "high_magnitude/s50", "seed0/high_magnitude/s50"),
        ("low_magnitude/s25/mask.safetensors", "low_magnitude/s50", "seed0/low_magnitude/s25"),
        ("low_magnitude/s50/start.safetensors", "high_magnitude/s50", "seed0/low_magnitude/s50"),
        ("low_magnitude/s50/mask.safetensors", "random/s50", "no other network"),
        ("dense/score.test-std.json", "dense/score.test-dev.json", "split test-dev"),
        ("dense/predictions.test-std.parquet", "dense/predictions.test-dev.parquet", "split test-dev"),
    ],
)
def test_a_file_of_another_network_or_split_is_reported(
    grid: Path, verified: Verify, copied: str, to: str, told: str | None
) -> None:
    seed = grid / "results/smoke/seed0"
    target = seed / to / Path(copied).name if (seed / to).is_dir() else seed / to
    keeping_its_time(target, (seed / copied).read_bytes())
    status, said = verified()
    assert status == 1
    misplaced = [line for line in said if line.startswith(f"{target.relative_to(grid)}: was made from ")]
    assert bool(misplaced) is (told is not None)
    assert all(line.endswith(f"; expected one of {told}") for line in misplaced)


def test_one_flipped_bit_is_detected_by_the_files_made_from_the_damaged_one(grid: Path, verified: Verify) -> None:
    content = bytearray((grid / VAL_FEATURES).read_bytes())
    content[len(content) * 2 // 3] ^= 4
    keeping_its_time(grid / VAL_FEATURES, bytes(content))
    status, said = verified()
    assert status == 1
    assert all(f"was made from another {VAL_FEATURES}; " in line for line in said[:-2])
    assert any(line.startswith(f"{SWAPPED}: ") for line in said)


@pytest.mark.parametrize(
    ("damaged", "made_of_it"),
    [(MASK, MASK.replace("mask", "weights")), ("results/smoke/seed0/initial.safetensors", SWAPPED)],
)
def test_a_damaged_file_is_reported_and_the_others_are_still_checked(
    grid: Path, verified: Verify, damaged: str, made_of_it: str
) -> None:
    (grid / damaged).write_bytes((grid / damaged).read_bytes()[:-1])
    status, said = verified()
    assert status == 1
    assert any(line.startswith(f"{damaged}: damaged or truncated") for line in said)
    assert any(line.startswith(f"{made_of_it}: was made from another {damaged}") for line in said)


def test_an_input_that_cannot_be_read_is_reported_once_and_the_others_are_still_compared(
    grid: Path, verified: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str) -> str:
        if path == VAL_FEATURES:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return input_digest(path)

    monkeypatch.setattr(verification, "input_digest", refused)
    keeping_its_time(grid / MASK, (grid / MASK.replace("s25", "s50")).read_bytes())
    status, said = verified()
    assert status == 1
    expected = "cannot be read (Permission denied); expected a file that this user can read"
    assert [line for line in said if VAL_FEATURES in line] == [f"{VAL_FEATURES}: {expected}"]
    assert any(f"was made from another {MASK}; " in line for line in said)


def test_folders_on_another_disk_are_verified_through_their_links(grid: Path, tmp_path: Path, verified: Verify) -> None:
    _, before = verified()
    shutil.move(grid / "results/smoke/seed0", tmp_path / "elsewhere")
    (grid / "results/smoke/seed0").symlink_to(tmp_path / "elsewhere")
    (grid / "results/smoke/here").symlink_to(".")  # a cycle
    assert verified() == (0, before)


@pytest.mark.parametrize(("section", "trained"), [("training", "seed*/**"), ("pretraining", "pretrained")])
def test_networks_trained_with_other_settings_are_reported(
    grid: Path, verified: Verify, overlay: Callable[..., Path], section: str, trained: str
) -> None:
    """Such as those of cluster jobs that read a configuration file which was edited during the run, and put back."""
    status, said = verified(overlay({section: {"learning_rate": 0.007}}))
    assert status == 1
    files = (grid / "results/smoke").glob(f"{trained}/weights.safetensors")
    told = f"was made with other settings; expected those of {section} now"
    assert said[:-2] == sorted(f"{file.relative_to(grid)}: {told}" for file in files)


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"pruning": {"prunable": ["lxmert.pooler.dense.weight"]}}, ["low_magnitude", "random"]),
        ({"subnetworks": {"low_magnitude": {"ranked": "per_tensor"}}}, ["low_magnitude"]),
        ({"subnetworks": {"random": {"keep": "largest"}}}, ["random"]),
    ],
)
def test_subnetworks_chosen_with_other_settings_are_reported(
    grid: Path, verified: Verify, overlay: Callable[..., Path], changed: dict[str, Any], names: list[str]
) -> None:
    """Such as those of a folder that came without Snakemake's notes."""
    status, said = verified(overlay(changed))
    assert status == 1
    for name in names:
        expected = f"was made with other settings; expected those of pruning and subnetworks.{name} now"
        found = {line.removesuffix(f": {expected}") for line in said if line.endswith(expected)}
        files = [*grid.glob(f"results/smoke/seed*/{name}/s*/*.safetensors")]
        chosen = {str(file.relative_to(grid)) for file in files if file.name != "weights.safetensors"}
        assert found == chosen
        assert chosen


@pytest.mark.parametrize("rule", ["retrain", "tickets_retrain"])
def test_settings_are_compared_also_where_another_workflow_has_prefixed_the_rules(tmp_path: Path, rule: str) -> None:
    file = tmp_path / "x/about.json"
    write_json(file, {"provenance": {"rule": rule, "spec": "earlier", "seed": None, "parents": {}}})
    settings: dict[str, verification.Recorded] = {"pretraining": {"pretrain": "now"}, "training": {"retrain": "now"}}
    found = verification.verify(tmp_path / "x", [file], {}, settings)
    assert found.problems == [f"{file}: was made with other settings; expected those of training now"]


@pytest.mark.parametrize("deleted", ["results/smoke/data/val/features.tsv", VAL_FEATURES])
def test_deleted_inputs_are_counted_but_are_no_problem(grid: Path, verified: Verify, deleted: str) -> None:
    (grid / deleted).unlink()
    status, [said] = verified()
    assert status == 0
    assert said.endswith("0 problems; 1 input gone since")


@pytest.mark.parametrize(
    ("damaged", "changed"),
    [
        ("initial", {"seeds": [0]}),
        ("random/s50/mask", {"seeds": [0]}),
        ("random/s50/mask", {"subnetworks": {"random": None}}),
    ],
)
def test_networks_that_the_configuration_no_longer_has_are_not_checked(
    grid: Path, verified: Verify, overlay: Callable[..., Path], damaged: str, changed: dict[str, Any]
) -> None:
    (grid / f"results/smoke/seed1/{damaged}.safetensors").write_bytes(b"")
    assert verified()[0] == 1
    assert verified(overlay(changed))[0] == 0


def test_a_download_may_be_deleted_once_it_is_converted_but_not_replaced(tmp_path: Path) -> None:
    download, made = tmp_path / "features.zip", tmp_path / "x/about.json"
    receipt = download.with_name("features.zip.verified")
    write_receipt(receipt, Receipt("0" * 64, size_bytes=5))
    origin = {"rule": "convert_features", "seed": None, "parents": {str(receipt): input_digest(receipt)}}
    write_json(made, {"provenance": origin})
    assert verification.verify(tmp_path / "x", [made], {}, {}).problems == []
    for content in (b"longer", b"other"):
        download.write_bytes(content)
        found = verification.verify(tmp_path / "x", [made], {}, {})
        assert found.problems == [f"{made}: was made from another {download}; expected the one of {receipt}"]


def test_every_file_counts_as_done_once_a_damaged_one_too(tmp_path: Path) -> None:
    files, n_done = [tmp_path / "x/about.json", tmp_path / "x/damaged.json"], []
    write_json(files[0], {})
    files[1].write_text("{")
    assert len(verification.verify(tmp_path / "x", files, {}, {}, lambda: n_done.append(1)).problems) == 1
    assert len(n_done) == 2


def test_nothing_to_verify_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(ROOT / "config.yaml", tmp_path)
    assert main(["verify", "--directory", str(tmp_path)]) == 1
    assert "results/scenes: has no files; expected files of an experiment" in capsys.readouterr().err

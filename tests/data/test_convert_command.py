"""`convert-features` and the rule's script convert tables, zipped or not, and report size and rounding error."""

import os
from pathlib import Path

import numpy as np
import pytest
from feature_tables import write_tsv, zipped
from script_runs import run_script

from lxmert_tickets.artifacts import file_digest
from lxmert_tickets.cli import main
from lxmert_tickets.data import feature_conversion, hdf5
from lxmert_tickets.data.features import open_features
from lxmert_tickets.downloads.receipts import Receipt, write_receipt


def interrupted(conversion: object) -> int:
    raise KeyboardInterrupt


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    first = zipped(write_tsv(tmp_path / "train.tsv", ["A", "B"]), tmp_path / "train.zip", name="train.tsv")
    return [first, write_tsv(tmp_path / "val.tsv", ["C"], lambda _: np.full((2, 3), 0.1))]


def test_several_tables_become_one_file_and_the_error_of_half_precision_is_printed(
    tables: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "features.h5"
    assert main(["convert-features", *map(str, tables), "--out", str(output), "--workers", "2"]) == 0
    assert open_features(output).image_ids == ("A", "B", "C")
    assert capsys.readouterr().out == (
        f"{output}: 3 images, 2 regions of 3 values, {output.stat().st_size:,} bytes; "
        "rounding to float16 is off by at most 2.44e-05, or 0.0244 %\n"
    )


def test_a_conversion_that_resumes_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tsv = write_tsv(tmp_path / "a.tsv", ["A", "B"])
    monkeypatch.setattr(feature_conversion._Conversion, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(["convert-features", str(tsv), "--out", str(tmp_path / "f.h5")])
    monkeypatch.undo()
    assert main(["convert-features", str(tsv), "--out", str(tmp_path / "f.h5")]) == 0
    assert "f.h5.partial: resumes after the 2 images already done" in capsys.readouterr().err


def test_any_valid_file_name_is_accepted(tmp_path: Path) -> None:
    tsv = write_tsv(tmp_path / os.fsdecode(b"\xff.tsv"), ["A"])
    assert main(["convert-features", str(tsv), "--out", str(tmp_path / "f.h5")]) == 0
    assert open_features(tmp_path / "f.h5").image_ids == ("A",)


def test_a_bad_row_in_an_archive_gives_one_line_naming_archive_table_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tsv = write_tsv(tmp_path / "a.tsv", ["A", "A"])
    archive = zipped(tsv, tmp_path / "a.zip", name="inner/a.tsv")
    assert main(["convert-features", str(archive), "--out", str(tmp_path / "f.h5")]) == 1
    assert capsys.readouterr().err.startswith(f"error: {archive}/inner/a.tsv:2: A again, after {archive}/inner/a.tsv:1")
    assert {path.name for path in tmp_path.iterdir()} == {"a.tsv", "a.zip"}


@pytest.mark.parametrize("workers", ["0", "-1", "two"])
def test_the_number_of_workers_must_be_positive(workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["convert-features", "a.tsv", "--out", "f.h5", "--workers", workers])
    assert f"{workers}: expected a positive whole number" in capsys.readouterr().err


def test_help_says_what_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["convert-features", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for words in (
        "a .zip with one .tsv in it",
        "ten columns",
        "six columns is refused",
        "from its last complete block",
    ):
        assert words in printed


def test_the_rule_accepts_receipts_of_archives_and_plain_tables(tables: list[Path], tmp_path: Path) -> None:
    archive, plain = tables
    receipt = tmp_path / "train.zip.verified"
    write_receipt(receipt, Receipt(file_digest(archive), archive.stat().st_size))
    output = tmp_path / "features.h5"
    log = run_script("convert_features", tmp_path, {"tables": [receipt, plain]}, {"features": output})
    assert open_features(output).image_ids == ("A", "B", "C")
    assert hdf5.read_metadata(output)["provenance"]["parents"] == {
        str(receipt): file_digest(receipt),
        str(plain): file_digest(plain),
    }
    assert "3 images, 2 regions of 3 values" in log
    assert "B/s" in log

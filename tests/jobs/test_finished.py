"""Results are kept as links until Snakemake has recorded them, and are put back whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from lxmert_tickets.jobs.finished import NAME, forget_results, keep_results, kept_results, put_back_results

RUN = {"seed": 3, "rate": 0.1}


@pytest.fixture
def outputs(tmp_path: Path) -> list[Path]:
    """Return two results, beside the folder that they are kept in."""
    (tmp_path / ".resume").mkdir()
    paths = [tmp_path / "weights", tmp_path / "history"]
    for path in paths:
        path.write_text(f"the {path.name}")
    return paths


def folder_of(outputs: list[Path]) -> Path:
    return outputs[0].parent / ".resume"


def test_kept_results_take_no_space_while_the_originals_exist(outputs: list[Path]) -> None:
    keep_results(folder_of(outputs), RUN, outputs)
    assert set(kept_results(folder_of(outputs))) == set(folder_of(outputs).iterdir())
    for output in outputs:
        assert output.stat().st_nlink == 2


def test_deleted_results_are_put_back_unchanged_and_with_a_new_time(outputs: list[Path]) -> None:
    keep_results(folder_of(outputs), RUN, outputs)
    for output in outputs:
        os.utime(output, (0, 0))
        output.unlink()
    assert put_back_results(folder_of(outputs), RUN, outputs)
    assert [output.read_text() for output in outputs] == ["the weights", "the history"]
    assert all(output.stat().st_mtime > 0 for output in outputs)
    assert put_back_results(folder_of(outputs), RUN, outputs)  # even though they exist


@pytest.mark.parametrize("spoil", ["other run", "one is gone", "one is cut through its other name", "nothing"])
def test_incomplete_results_and_those_of_another_run_are_not_put_back(
    outputs: list[Path], caplog: pytest.LogCaptureFixture, spoil: str
) -> None:
    if spoil != "nothing":
        keep_results(folder_of(outputs), RUN, outputs)
    if spoil == "one is gone":
        (folder_of(outputs) / "finished.history").unlink()
    if spoil == "one is cut through its other name":
        os.truncate(outputs[0], 5)
    for output in outputs:
        output.unlink()
    run = RUN | {"rate": 0.2} if spoil == "other run" else RUN
    assert not put_back_results(folder_of(outputs), run, outputs)
    assert not any(output.exists() for output in outputs)
    if spoil == "other run":  # a slip in the configuration: once undone, the earlier results are used
        assert put_back_results(folder_of(outputs), RUN, outputs)
    assert not caplog.messages


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.ENOTSUP])
def test_results_are_copied_where_links_are_not_supported(
    outputs: list[Path], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    assert keep_results(folder_of(outputs), RUN, outputs)
    for output in outputs:
        output.unlink()
    assert put_back_results(folder_of(outputs), RUN, outputs)
    assert [output.read_text() for output in outputs] == ["the weights", "the history"]


def test_if_one_result_cannot_be_kept_none_is_and_there_is_a_warning(
    outputs: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    outputs[1].unlink()
    assert not keep_results(folder_of(outputs), RUN, outputs)
    assert kept_results(folder_of(outputs)) == []
    assert "results cannot be kept for the next Snakemake" in caplog.text


@pytest.mark.parametrize("spoil", ["a full disk", "a torn file"])
def test_results_that_cannot_be_put_back_cause_only_a_warning(
    outputs: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, spoil: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    keep_results(folder_of(outputs), RUN, outputs)
    if spoil == "a full disk":
        monkeypatch.setattr(os, "utime", full)
    else:
        (folder_of(outputs) / NAME).write_text('{"identity"')
    assert not put_back_results(folder_of(outputs), RUN, outputs)
    assert "results of an earlier process cannot be used" in caplog.text


def test_forgetting_kept_results_leaves_checkpoints_and_the_results_themselves(outputs: list[Path]) -> None:
    keep_results(folder_of(outputs), RUN, outputs)
    forget_results(folder_of(outputs))
    assert not folder_of(outputs).exists()
    forget_results(folder_of(outputs))
    folder_of(outputs).mkdir()
    keep_results(folder_of(outputs), RUN, outputs)
    (folder_of(outputs) / "step0000000007.safetensors").touch()
    assert len(list(folder_of(outputs).iterdir())) == 4
    forget_results(folder_of(outputs))
    assert [path.name for path in folder_of(outputs).iterdir()] == ["step0000000007.safetensors"]
    assert all(output.exists() for output in outputs)


def test_results_kept_by_an_earlier_run_are_replaced(outputs: list[Path]) -> None:
    keep_results(folder_of(outputs), {"seed": 4}, outputs)
    outputs[0].unlink()
    outputs[0].write_text("other weights")
    keep_results(folder_of(outputs), RUN, outputs)
    outputs[0].unlink()
    assert put_back_results(folder_of(outputs), RUN, outputs)
    assert outputs[0].read_text() == "other weights"

"""Checkpoints are written when due, and only an intact one of the same run is ever used."""

import errno
import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interrupted_runs import IDENTITY, MASKS, N_KEPT, BreaksOff, run, steps_in
from test_loop import as_bytes

from lxmert_tickets.artifacts import load_tensors, save_tensors
from lxmert_tickets.errors import ArtifactError, TrainingError
from lxmert_tickets.model import on_cpu
from lxmert_tickets.model.operators import arithmetic_of
from lxmert_tickets.training import resume
from lxmert_tickets.training.loop import Epoch
from lxmert_tickets.training.resume import (
    Checkpoint,
    Checkpoints,
    Interrupted,
    differences,
    read_checkpoint,
    run_identity,
    write_checkpoint,
)

pytestmark = pytest.mark.usefixtures("small_batches")


@dataclass
class Counter:
    """The smallest state that can be checkpointed."""

    step: int = 0

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.step, {"a": torch.full((3, 2), float(self.step))}, {"loss": 0.1 * self.step})


def written(folder: Path, *steps: int, identity: dict[str, Any] = IDENTITY) -> None:
    checkpoints = BreaksOff(folder, identity=identity)
    for step in steps:
        checkpoints.keep(Counter(step))


def newest_step(folder: Path, identity: dict[str, Any] = IDENTITY) -> int | None:
    found = Checkpoints(folder, identity, 600).newest()
    return found.step if found else None


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    written(tmp_path, 9, 10, 100)
    assert steps_in(tmp_path) == [10, 100]
    assert newest_step(tmp_path) == 100


def test_a_checkpoint_is_read_back_exactly_floats_to_the_last_bit(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 5), "b": torch.arange(4), "c": torch.zeros(0), "d": torch.tensor([True, False])}
    facts = {"loss": 0.1 + 0.2, "rng": {"state": 2**127 + 1}, "nothing": []}
    write_checkpoint(tmp_path / "x", Checkpoint(7, dict(tensors), facts), IDENTITY)
    found = read_checkpoint(tmp_path / "x", IDENTITY)
    assert (found.step, found.facts) == (7, facts)
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[name], tensors[name]) for name in tensors)


def truncated(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def with_a_flipped_bit(content: bytes) -> bytes:
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "torn": truncated,
    "empty": lambda _: b"",
    "a bit flipped": with_a_flipped_bit,
    "zeros": lambda content: bytes(len(content)),
    "another kind": lambda content: content.replace(b'\\"kind\\": \\"checkpoint\\"', b'\\"kind\\": \\"weights___\\"'),
    "another loss": lambda content: content.replace(b'\\"step\\": 20', b'\\"step\\": 21'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_if_the_newest_checkpoint_is_damaged_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    caplog.set_level(logging.WARNING, logger="lxmert_tickets")
    written(tmp_path, 10, 20)
    [newest] = tmp_path.glob("step0000000020.*")
    content = newest.read_bytes()
    damaged = DAMAGES[damage](content)
    assert damaged != content
    newest.write_bytes(damaged)
    assert newest_step(tmp_path) == 10
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages[0].startswith(f"checkpoint not used: {newest}: ")


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_checkpoint(path, Counter(3).checkpoint(), IDENTITY)
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in (1, 128):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
            try:
                found = read_checkpoint(path, IDENTITY)
            except ArtifactError:
                continue
            # Header padding may hold anything.
            assert (found.step, found.facts) == (3, Counter(3).checkpoint().facts), position
            assert torch.equal(found.tensors["a"], Counter(3).checkpoint().tensors["a"]), position


def test_without_an_intact_checkpoint_a_run_starts_anew_and_its_first_replaces_the_damaged(tmp_path: Path) -> None:
    written(tmp_path, 10, 20)
    for path in tmp_path.glob("step*"):
        path.write_bytes(truncated(path.read_bytes()))
    checkpoints = BreaksOff(tmp_path)
    assert checkpoints.newest() is None
    checkpoints.keep(Counter(1))
    assert steps_in(tmp_path) == [1]


def test_after_a_fallback_the_damaged_checkpoint_is_removed_before_the_older_one(tmp_path: Path) -> None:
    written(tmp_path, 10, 20)
    [newest] = tmp_path.glob("step0000000020.*")
    newest.write_bytes(b"")
    checkpoints = BreaksOff(tmp_path)
    checkpoints.newest()
    checkpoints.keep(Counter(12))
    assert steps_in(tmp_path) == [10, 12]


def test_a_truncated_newest_checkpoint_costs_steps_but_changes_no_byte_of_the_result(tmp_path: Path) -> None:
    calm = as_bytes(run(), tmp_path)
    with pytest.raises(Interrupted):
        run(BreaksOff(tmp_path, at=7))
    newest = sorted(tmp_path.glob("step*"))[-1]
    newest.write_bytes(truncated(newest.read_bytes()))
    assert as_bytes(run(BreaksOff(tmp_path)), tmp_path) == calm


OTHER_RUNS = [
    ({"seed": 1}, "seed was 0, is 1"),
    ({"settings": {"learning_rate": 0.02, "keep": "best"}}, "settings.learning_rate was 0.01, is 0.02"),
    ({"settings": {"learning_rate": 0.01}}, 'settings.keep was "best", is not there'),
    ({"inputs": {"mask": "abc"}}, 'inputs.mask was not there, is "abc"'),
]


@pytest.mark.parametrize(("fields", "words"), OTHER_RUNS)
def test_a_checkpoint_of_another_run_is_refused_with_what_differs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fields: dict[str, Any], words: str
) -> None:
    written(tmp_path, 10)
    assert newest_step(tmp_path, IDENTITY | fields) is None
    assert f"is of another run ({words})" in caplog.text
    written(tmp_path, 1, 2, 3, 10, identity=IDENTITY | fields)
    assert newest_step(tmp_path, IDENTITY | fields) == 10
    assert newest_step(tmp_path) == 10  # undoing a mistaken change loses nothing


def test_of_the_last_two_other_runs_the_last_checkpoint_is_kept(tmp_path: Path) -> None:
    for time, (seed, step) in enumerate([(1, 39), (1, 40), (2, 29), (2, 30), (3, 19), (3, 20)]):
        written(tmp_path, step, identity=IDENTITY | {"seed": seed})
        [path] = tmp_path.glob(f"step*{step}.*")
        os.utime(path, (time, time))
    written(tmp_path, 5, 6, 7)
    assert steps_in(tmp_path) == [6, 7, 20, 30]


def test_a_checkpoint_that_cannot_be_opened_raises_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, 10, 20)

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as other_user:
        other_user.setattr(Path, "open", refuse)
        with pytest.raises(PermissionError, match=r"step0000000020\."):
            newest_step(tmp_path)
    assert newest_step(tmp_path) == 20


def test_a_checkpoint_from_another_kind_of_processor_is_used_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path, 10, identity=IDENTITY | {"arithmetic": "AVX2"})
    assert newest_step(tmp_path, IDENTITY | {"arithmetic": "AVX2"}) == 10
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert newest_step(tmp_path, IDENTITY | {"arithmetic": "AVX512"}) == 10
    told = 'arithmetic was "AVX2", is "AVX512": the result may differ in its last digits'
    assert told in caplog.text


def test_arithmetic_differs_by_cpu_capability_processor_and_product_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    before = arithmetic_of(torch.device("cpu"))
    assert before == arithmetic_of(torch.device("cpu"))
    with monkeypatch.context() as other:
        other.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "NONE")
        assert arithmetic_of(torch.device("cpu")) != before
    with monkeypatch.context() as other:
        other.setattr(on_cpu, "processor", lambda: ("GenuineIntel", 6))
        assert arithmetic_of(torch.device("cpu")) != before
    other_gradients = math.inf if math.isfinite(on_cpu.LEAST_PRODUCTS_OF_INPUTS) else on_cpu.LEAST_PRODUCTS
    with monkeypatch.context() as other:
        other.setattr(on_cpu, "LEAST_PRODUCTS_OF_INPUTS", other_gradients)
        assert arithmetic_of(torch.device("cpu")) != before
    monkeypatch.setattr(on_cpu, "LEAST_PRODUCTS", 7)
    assert arithmetic_of(torch.device("cpu")) != before


def test_another_run_starts_from_its_beginning_despite_a_foreign_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(BreaksOff(tmp_path, at=6))
    other = BreaksOff(tmp_path, identity=IDENTITY | {"seed": 9})
    assert as_bytes(run(other, MASKS["masked"]), tmp_path) == as_bytes(run(None, MASKS["masked"]), tmp_path)
    assert other.n == N_KEPT


def test_everything_that_affects_the_bytes_is_part_of_a_runs_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    origin = {"rule": "retrain", "seed": 3, "spec": "…", "parents": {"a/mask.safetensors": "12"}}
    settings = {"learning_rate": 0.1}
    before = run_identity("1a", settings, origin, torch.device("cpu"))

    def changes(code: str = "1a", device: str = "cpu", **other: Any) -> set[str]:
        now = run_identity(code, other.pop("settings", settings), origin | other, torch.device(device))
        return {line.split(" ")[0] for line in differences(before, now)}

    assert changes() == set()
    assert changes(code="1b") == {"code"}
    assert changes(device="meta") == {"device", "arithmetic"}
    assert changes(rule="finetune", seed=4) == {"rule", "seed"}
    assert changes(parents={"a/mask.safetensors": "13"}) == {"inputs.a/mask.safetensors"}
    assert changes(settings={"learning_rate": 0.2}) == {"settings.learning_rate"}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    for library in (torch, np):
        monkeypatch.setattr(library, "__version__", "0.0")
    monkeypatch.setattr(resume, "TRAINING_VERSION", 0)
    assert changes() == {"threads", "torch", "numpy", "training_version"}


# When checkpoints are written


class Clock:
    """A clock that advances when told to; writing a checkpoint takes `write_seconds`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, write_seconds: float = 0.0) -> None:
        self.now = 0.0
        monkeypatch.setattr(resume.time, "monotonic", lambda: self.now)
        write = resume.write_checkpoint

        def slow(*arguments: Any) -> None:
            write(*arguments)
            self.now += write_seconds

        monkeypatch.setattr(resume, "write_checkpoint", slow)


def written_at(checkpoints: Checkpoints, clock: Clock, seconds: int) -> list[float]:
    """Return the times at which a run with steps of one second writes checkpoints."""
    times, newest = [], 0
    for step in range(1, seconds + 1):
        clock.now += 1
        before = clock.now
        checkpoints.keep(Counter(step))
        found = max(steps_in(checkpoints._folder), default=0)
        if found != newest:
            times.append(before)
            newest = found
    return times


def test_a_checkpoint_is_written_every_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert written_at(Checkpoints(tmp_path, IDENTITY, 60), clock, 200) == [60, 120, 180]


def test_where_writing_is_slow_checkpoints_cost_at_most_two_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, write_seconds=4)
    times = written_at(Checkpoints(tmp_path, IDENTITY, 60), clock, 1000)
    assert times[0] == 60
    assert np.diff(times).tolist() == [204] * 4  # 4 s of writing and 200 s of work


def test_a_full_disk_does_not_stop_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(resume, "save_tensors", full)
        assert as_bytes(run(BreaksOff(tmp_path)), tmp_path) == as_bytes(run(), tmp_path)
    assert "no checkpoint at step 1: [Errno 28] No space left on device" in caplog.text
    assert not steps_in(tmp_path)


def test_on_a_disk_with_room_for_two_checkpoints_a_run_does_not_fall_behind_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = resume.save_tensors

    def save_if_there_is_room(*given: Any) -> None:
        if len(steps_in(tmp_path)) == 2:
            raise OSError(28, "No space left on device")
        save(*given)

    monkeypatch.setattr(resume, "save_tensors", save_if_there_is_room)
    found = []
    checkpoints = BreaksOff(tmp_path)
    for step in range(1, 7):
        checkpoints.keep(Counter(step))
        found.append(steps_in(tmp_path))
    assert found == [[1], [1, 2], [2], [2, 4], [4], [4, 6]]


def test_a_disk_that_fails_for_a_moment_costs_no_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    checkpoints = BreaksOff(tmp_path)
    for step in (1, 2):
        checkpoints.keep(Counter(step))
    monkeypatch.setattr(resume, "save_tensors", fails)
    checkpoints.keep(Counter(3))
    assert steps_in(tmp_path) == [1, 2]


def test_a_folder_that_cannot_be_listed_does_not_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as broken:
        broken.setattr(Checkpoints, "_files", away)
        written(tmp_path, 1, 2, 3)
    assert steps_in(tmp_path) == [1, 2, 3]
    written(tmp_path, 4)
    assert steps_in(tmp_path) == [4]  # of a new process, which knows of no other whole one


def test_a_run_told_to_stop_writes_a_checkpoint_at_once_and_names_its_step(tmp_path: Path) -> None:
    asked = ["", "", "SIGTERM"]
    checkpoints = Checkpoints(tmp_path, IDENTITY, 600, lambda: asked.pop(0))
    checkpoints.keep(Counter(1))
    checkpoints.keep(Counter(2))
    with pytest.raises(Interrupted, match="received SIGTERM: the run stops after step 3"):
        checkpoints.keep(Counter(3))
    assert steps_in(tmp_path) == [3]


@pytest.mark.parametrize(("earlier", "place"), [(0, "its beginning"), (2, "step 2")])
def test_a_run_told_to_stop_on_a_full_disk_says_where_it_will_really_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: int, place: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if earlier:
        written(tmp_path, earlier)
    checkpoints = Checkpoints(tmp_path, IDENTITY, 600, lambda: "SIGTERM")
    checkpoints.newest()
    monkeypatch.setattr(resume, "save_tensors", full)
    with pytest.raises(Interrupted, match=f"the run stops after step 3, and will resume from {place}"):
        checkpoints.keep(Counter(3))
    assert newest_step(tmp_path) == (earlier or None)


def test_an_old_checkpoint_that_cannot_be_removed_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(path: Path, missing_ok: bool = False) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "unlink", busy)
    written(tmp_path, 1, 2, 3)
    assert steps_in(tmp_path) == [1, 2, 3]


def test_nan_or_infinite_losses_are_detected_before_a_checkpoint_holds_them(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"retraining, step \d+ of 6: the loss is (nan|inf)"):
        run(BreaksOff(tmp_path), learning_rate=1e30)
    found = Checkpoints(tmp_path, IDENTITY, 600).newest()
    assert found is not None
    assert bool(found.tensors["losses"].isfinite().all())


def test_a_step_already_on_disk_is_not_written_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="lxmert_tickets")
    written(tmp_path, 5, 5, 5)
    assert caplog.text.count("checkpoint at step 5") == 1


def test_a_checkpoint_is_safetensors_with_its_facts_as_json(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(BreaksOff(tmp_path, at=6), mask=MASKS["masked"])
    tensors, about = load_tensors(sorted(tmp_path.glob("step*"))[-1], "checkpoint")
    assert about["step"] == 4
    assert [Epoch(**line).step for line in about["facts"]["history"]] == [3]
    name = "lxmert.pooler.dense.weight"
    kept = {f"{part}/{name}" for part in ("weights", "exp_avg", "exp_avg_sq", "best")}
    assert {*kept, "random/cpu", "losses"} <= tensors.keys()
    assert len(tensors["losses"]) == 4
    assert tensors["steps"] == 4
    pruned = ~MASKS["masked"][name]  # type: ignore[index]
    assert not any(tensors[key][pruned].any() for key in kept)
    with pytest.raises(ArtifactError, match="is a checkpoint file; expected a weights file"):
        load_tensors(sorted(tmp_path.glob("step*"))[-1], "weights")
    save_tensors(tmp_path / "again", "checkpoint", tensors, about)
    assert (tmp_path / "again").read_bytes() == sorted(tmp_path.glob("step*"))[-1].read_bytes()

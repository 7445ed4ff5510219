"""Concurrent jobs compute on different GPUs, or share them as configured; a killed job frees its device."""

import logging
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch

from lxmert_tickets import environment
from lxmert_tickets.environment import VISIBLE, has_gpu
from lxmert_tickets.errors import TrainingError
from lxmert_tickets.jobs import gpus
from lxmert_tickets.jobs.gpus import claimed, gpu_of_this_job, visible_devices
from lxmert_tickets.jobs.locks import alone

CLAIMS = """
import sys
from pathlib import Path
from lxmert_tickets.jobs.gpus import claimed
with claimed(sys.argv[3:], int(sys.argv[2]), Path(sys.argv[1])) as device:
    print(device, flush=True)
    sys.stdin.read()
"""


class Job:
    """A process that claims a device and holds it until it is ended or killed."""

    def __init__(self, folder: Path, jobs_per_device: int, *devices: str) -> None:
        command = [sys.executable, "-c", CLAIMS, str(folder), str(jobs_per_device), *devices]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def device(self) -> str:
        """Return the device, once there is one."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def has_a_device(self) -> bool:
        return bool(select.select([self.process.stdout], [], [], 0)[0])


@pytest.fixture
def tmp_of_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give this machine GPUs, as it seems to jobs, and return the folder that they take for temporary files."""
    monkeypatch.setattr(gpus, "has_gpu", lambda: True)
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


@contextmanager
def jobs(n: int, folder: Path, jobs_per_device: int, *devices: str) -> Iterator[list[Job]]:
    started = [Job(folder, jobs_per_device, *devices) for _ in range(n)]
    try:
        yield started
    finally:
        for job in started:
            job.process.kill()
            job.process.communicate()


def test_eight_jobs_on_two_devices_are_four_on_each_and_a_ninth_waits(tmp_path: Path) -> None:
    with jobs(8, tmp_path, 4, "0", "1") as eight:
        assert Counter(job.device() for job in eight) == {"0": 4, "1": 4}
        with jobs(1, tmp_path, 4, "0", "1") as [ninth]:
            time.sleep(1)
            assert not ninth.has_a_device()
            eight[3].process.kill()  # kill -9: it cannot clean up
            assert ninth.device() in {"0", "1"}


def test_at_one_job_per_device_the_next_job_gets_the_device_of_one_that_is_killed(tmp_path: Path) -> None:
    with jobs(2, tmp_path, 1, "GPU-a", "GPU-b") as both:
        device_of = {job.device(): job for job in both}
        assert device_of.keys() == {"GPU-a", "GPU-b"}
        with jobs(1, tmp_path, 1, "GPU-a", "GPU-b") as [third]:
            time.sleep(1)
            assert not third.has_a_device()
            device_of["GPU-b"].process.kill()
            assert third.device() == "GPU-b"


def test_the_device_with_the_fewest_jobs_is_taken(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = [stack.enter_context(claimed(["0", "1", "2"], 2, tmp_path)) for _ in range(4)]
        assert first == ["0", "1", "2", "0"]


def test_a_device_that_has_become_idle_is_taken_before_a_busy_one(tmp_path: Path) -> None:
    held = [ExitStack() for _ in range(4)]

    def claims(stack: ExitStack) -> str:
        return stack.enter_context(claimed(["0", "1"], 2, tmp_path))

    assert [claims(job) for job in held] == ["0", "1", "0", "1"]
    for number in (0, 1, 3):
        held[number].close()
    with held[2] as stack:
        assert [claims(stack) for _ in range(3)] == ["1", "0", "1"]


def test_jobs_choose_one_after_the_other_since_trials_look_like_claims(tmp_path: Path) -> None:
    def choose() -> str:
        with claimed(["0"], 1, tmp_path) as device:
            return device

    with ThreadPoolExecutor(1) as pool:
        with alone(tmp_path / "-choosing.lock", "GPUs", "choose one"):
            chosen = pool.submit(choose)
            time.sleep(0.3)
            assert not chosen.done()
        assert chosen.result() == "0"


def test_a_job_that_waits_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            first.close()

    caplog.set_level(logging.INFO, logger="lxmert_tickets")
    first, waited = ExitStack(), list[float]()
    first.enter_context(claimed(["0"], 1, tmp_path))
    monkeypatch.setattr(gpus.time, "sleep", wait)
    with claimed(["0"], 1, tmp_path) as device:
        assert device == "0"
    assert caplog.messages == ["all of 0 have 1 jobs: waiting for one to end"]


def test_each_allocation_of_a_scheduler_has_its_own_device_names(tmp_path: Path) -> None:
    with claimed(["0"], 1, tmp_path, "job 17") as one, claimed(["0"], 1, tmp_path, "job 18") as other:
        assert one == other == "0"


def test_device_names_are_shared_only_within_a_user_and_an_allocation(
    tmp_of_gpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(seconds: float) -> None:
        raise AssertionError("the device is free")

    monkeypatch.setattr(gpus.time, "sleep", wait)
    with ExitStack() as stack:
        for allocation in ("17", "18"):
            monkeypatch.setenv(VISIBLE, "0")
            monkeypatch.setenv("SLURM_JOB_ID", allocation)
            assert stack.enter_context(gpu_of_this_job(1)) == "0"
    assert [folder.name for folder in tmp_of_gpus.iterdir()] == [f"lxmert-tickets-{os.getuid()}"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", ["0"]), ("2, 3", ["2", "3"]), ("GPU-8932f937", ["GPU-8932f937"]), ("MIG-1,MIG-2", ["MIG-1", "MIG-2"]),
        ("", []), ("-1", []), ("1,-1,2", ["1"]), ("NoDevFiles", []), ("0,1,0", []),
        ("0,GPU-8932f937", ["0"]), ("GPU-8932f937,0", ["GPU-8932f937"]),
    ],
)  # fmt: skip
def test_only_devices_that_the_user_or_scheduler_made_visible_are_used(value: str, expected: list[str]) -> None:
    assert visible_devices({VISIBLE: value}) == expected


def test_devices_are_counted_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that initialised CUDA would see all devices for good, and every job would compute on the first."""
    here = os.getpid()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0 if os.getpid() == here else 3)
    assert visible_devices({}) == ["0", "1", "2"]


def test_hiding_all_devices_counts_as_having_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "SIGNS_OF_A_GPU", (tmp_path / "none", tmp_path))  # which exists
    monkeypatch.delenv(VISIBLE, raising=False)
    assert has_gpu()
    monkeypatch.setenv(VISIBLE, "1")
    assert has_gpu()
    for value in ("", "-1"):
        monkeypatch.setenv(VISIBLE, value)
        assert not has_gpu()
    monkeypatch.setenv(VISIBLE, "0")
    monkeypatch.setattr(environment, "SIGNS_OF_A_GPU", (tmp_path / "none",))
    assert not has_gpu()


@pytest.mark.usefixtures("tmp_of_gpus")
def test_a_job_sees_only_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "5,6")
    with gpu_of_this_job(1) as first:
        assert first == gpus.os.environ[VISIBLE] == "5"
        monkeypatch.setenv(VISIBLE, "5,6")
        with gpu_of_this_job(1) as second:
            assert second == gpus.os.environ[VISIBLE] == "6"


@pytest.mark.usefixtures("tmp_of_gpus")
def test_full_gpu_memory_is_reported_with_the_setting_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "5")
    told = r"GPU 5: its memory is full \(CUDA out of memory\); .* lower gpus\.train.* \(pretraining\.batch_size, if"
    with pytest.raises(TrainingError, match=told), gpu_of_this_job(1):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    for words in ("CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"):
        with pytest.raises(TrainingError, match=rf"its memory is full \({words}\); "), gpu_of_this_job(1):
            raise RuntimeError(f"{words}\nCUDA kernel errors might be reported. And so on")
    with pytest.raises(TrainingError, match="its memory is full"), gpu_of_this_job(1):
        raise RuntimeError("Triton Error [CUDA]: out of memory")
    with pytest.raises(RuntimeError, match="shapes differ"), gpu_of_this_job(1):
        raise RuntimeError("shapes differ")
    with gpu_of_this_job(1) as device:
        assert device == "5"


def test_without_a_gpu_a_job_waits_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "has_gpu", lambda: False)
    monkeypatch.setenv(VISIBLE, "0")
    with gpu_of_this_job(1) as first, gpu_of_this_job(1) as second:
        assert first is second is None
    assert gpus.os.environ[VISIBLE] == "0"

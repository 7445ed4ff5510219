"""Chooses the GPU for a job: Snakemake counts GPUs but does not assign them.

A job holds a lock for its place on a GPU. The kernel releases it however the job ends.
"""

import logging
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path

from lxmert_tickets.environment import VISIBLE, has_gpu, named_devices
from lxmert_tickets.errors import TrainingError
from lxmert_tickets.jobs.locks import alone

WAIT_SECONDS = 0.5

log = logging.getLogger("lxmert_tickets")


class _TakenError(Exception):
    pass


@contextmanager
def gpu_of_this_job(jobs_per_gpu: int) -> Iterator[str | None]:
    """Let this process see only one GPU, claimed until the block ends; yield its name, or None if there is none.

    It is the one with the fewest jobs of this user among those in CUDA_VISIBLE_DEVICES, if a user or a scheduler has
    set that, else among all; while each has `jobs_per_gpu`, the job waits. To be called before the first use of CUDA.
    Raises TrainingError when the block runs out of GPU memory.
    """
    devices = visible_devices(os.environ) if has_gpu() else []
    if not devices:
        yield None
        return
    folder = Path(tempfile.gettempdir()) / f"lxmert-tickets-{os.getuid()}" / "gpus"
    with claimed(devices, jobs_per_gpu, folder, os.environ.get("SLURM_JOB_ID", "")) as device:
        os.environ[VISIBLE] = device
        log.info("on GPU %s", device)
        try:
            yield device
        except RuntimeError as error:
            if not tells_of_full_memory(error):
                raise
            raise TrainingError(
                f"GPU {device}",
                f"its memory is full ({str(error).splitlines()[0].partition('. ')[0]})",
                "space for the network, its gradients and a batch",
                "Check whether others use it (nvidia-smi), or lower gpus.trainings_per_gpu, or training.batch_size "
                "(pretraining.batch_size, if this is pretraining).",
            ) from error


def tells_of_full_memory(error: BaseException) -> bool:
    """Return whether torch's allocator, CUDA, Triton or cuBLAS raised `error` for lack of GPU memory."""
    return re.search("CUDA.*out of memory|ALLOC_FAILED", str(error)) is not None


def visible_devices(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the devices that a process with this `environment` may use: numbers, or UUIDs."""
    named = named_devices(environment)
    if named is not None:
        return named
    # Not in this process: without NVML, counting initialises CUDA, which then ignores changes of VISIBLE.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as another:
        return [str(number) for number in range(another.submit(_count).result())]


def _count() -> int:
    import torch  # noqa: PLC0415 (late: jobs without a GPU need not)

    return torch.cuda.device_count()


@contextmanager
def claimed(devices: Sequence[str], jobs_per_device: int, folder: Path, allocation: str = "") -> Iterator[str]:
    """Yield the device with the fewest claims, and hold one until the block ends; wait while all are full.

    Args:
        folder: for the locks, one per claim, on a disk of this machine.
        allocation: the scheduler's job, if any: each may number the devices anew.
    """
    told = False
    while True:
        # Another job's trial would look like a claim.
        with alone(_lock_in(folder, allocation, "choosing"), "GPUs", "choose one"):
            free = {device: _free_places(device, jobs_per_device, folder, allocation) for device in devices}
            device = max(devices, key=lambda name: len(free[name]))  # the first of those with the fewest jobs
            claim = free[device].pop() if free[device] else None
            for trial in chain.from_iterable(free.values()):
                trial.close()
        if claim is not None:
            with claim:
                yield device
            return
        if not told:
            log.info("all of %s have %d jobs: waiting for one to end", ", ".join(devices), jobs_per_device)
            told = True
        time.sleep(WAIT_SECONDS)


def _free_places(device: str, jobs_per_device: int, folder: Path, allocation: str) -> list[ExitStack]:
    """Return claims to all free places on `device`."""
    free = []
    for place in range(jobs_per_device):
        lock, claim = _lock_in(folder, allocation, f"{device}-{place}"), ExitStack()
        with suppress(_TakenError):
            claim.enter_context(alone(lock, f"GPU {device}", "use it", _give_up))
            free.append(claim)
    return free


def _lock_in(folder: Path, allocation: str, name: str) -> Path:
    return folder / re.sub(r"[^\w.-]", "_", f"{allocation}-{name}.lock")


def _give_up(holder: str) -> None:
    raise _TakenError(holder)

"""Where and in which precision a network runs, and how its process is set up."""

import ctypes
import logging
import os
import socket
from contextlib import AbstractContextManager
from functools import cache
from typing import Literal

import torch
from torch import nn

from lxmert_tickets.environment import VISIBLE, has_gpu, named_devices
from lxmert_tickets.model.lowered import Lowered

Precision = Literal["auto", "float32", "bfloat16"]


GIVEN = ("SLURM_JOB_ID", VISIBLE)  # set by a scheduler
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
LARGEST_MMAP_THRESHOLD = 2**25  # bytes; the most that glibc accepts

log = logging.getLogger("lxmert_tickets")


def set_up_process(n_threads: int, deterministic: bool = False) -> None:
    """Set torch to `n_threads` CPU threads, and keep the memory that a step frees for the next one.

    Call this before creating the first tensor. `deterministic` makes a GPU produce the same bytes in every run, as a
    CPU does.

    By default glibc returns the memory of large tensors to the system, which zeroes each page again for the next step:
    6 % of a step of LXMERT base. Huge pages save more; torch requests them where THP_MEM_ALLOC_ENABLE is set.
    """
    torch.set_num_threads(n_threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS requires it
        torch.use_deterministic_algorithms(True)
        # All memory is written before it is read, so there is no need to fill it with NaN.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Otherwise cuBLAS may accumulate partial sums of a product in bfloat16.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    # For where torch's own operators run on a GPU: with a mask, cuDNN's attention may give NaN gradients on Hopper in
    # torch 2.11 to 2.13 (PyTorch issue 196678).
    torch.backends.cuda.enable_cudnn_sdp(False)
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # only glibc has it
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def best_device() -> torch.device:
    """Return the first CUDA device that this process may use, else the CPU, and log which, and on which host."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    given = [f"{name}={os.environ[name]}" for name in GIVEN if name in os.environ]
    log.info("on %s", ", ".join([device.type, f"host {socket.gethostname()}", *given]))
    if device.type == "cpu" and has_gpu():
        cuda = torch.version.cuda
        why = f"is the driver older than CUDA {cuda}?" if cuda else "it was built without CUDA"
        remedy = f"set {VISIBLE}= (nothing) to train on the CPU, on all cores"
        log.warning("there is a GPU, but torch %s cannot use it (%s): %s", torch.__version__, why, remedy)
    named, n_seen = named_devices(os.environ), torch.cuda.device_count()
    if named is not None and len(named) < n_seen:  # CUDA reads the variable once, before a job may have set it
        log.warning(
            "CUDA sees %d GPUs in spite of %s, so the first is used: set that variable yourself", n_seen, VISIBLE
        )
    return device


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context for a forward pass; weights and optimiser state are always float32.

    "auto" is bfloat16 on a GPU that supports it, which those before Ampere do not, and float32 elsewhere.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_reduced(device, precision))


def is_reduced(device: torch.device, precision: Precision) -> bool:
    """Return whether matrix products are in bfloat16."""
    return precision == "bfloat16" or (precision == "auto" and device.type == "cuda" and _gpu_has_bfloat16())


@cache
def _gpu_has_bfloat16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def lowered_for(network: nn.Module, precision: Precision) -> Lowered | None:
    """Return copies of the weights for reduced-precision products on a GPU, to refresh on change; None otherwise."""
    device = next(network.parameters()).device
    return Lowered(network, torch.bfloat16) if device.type == "cuda" and is_reduced(device, precision) else None

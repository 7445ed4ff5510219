"""Where and in which precision a network runs."""

import logging
import os
import socket
from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]


GIVEN = ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES")  # by a scheduler

log = logging.getLogger("lxmert_tickets")


def best_device() -> torch.device:
    """Return the first CUDA device that this process may use, else the CPU; the log tells which it is, and where."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    given = [f"{name}={os.environ[name]}" for name in GIVEN if name in os.environ]
    log.info("on %s", ", ".join([device.type, f"host {socket.gethostname()}", *given]))
    return device


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context for a forward pass; weights and optimiser stay float32 in any case.

    "auto" is bfloat16 on CUDA and float32 on the CPU.
    """
    reduced = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=reduced)

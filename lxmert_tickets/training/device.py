"""Where and in which precision a network runs."""

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]


def use_threads(n_threads: int) -> None:
    """Let PyTorch compute on so many CPU threads."""
    torch.set_num_threads(n_threads)


def best_device() -> torch.device:
    """Return the first CUDA device that this process may use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context for a forward pass; weights and optimiser stay float32 in any case.

    "auto" is bfloat16 on CUDA and float32 on the CPU.
    """
    reduced = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=reduced)

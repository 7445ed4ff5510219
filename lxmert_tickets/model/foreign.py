"""Tensors from third-party files. No code in them is ever run, and nothing but tensors is accepted."""

import errno
import os
import pickle
import re
import warnings
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from lxmert_tickets.errors import DataError, listed
from lxmert_tickets.file_kinds import ZIP_MAGIC, is_page

PICKLE_MAGIC = b"\x80"
EXPECTED = "a PyTorch checkpoint (.pth, .bin) or a safetensors file of tensors by name"
AGAIN = "Download it again, from a source that you trust."
SHOWN = 5  # entries listed in an error

_REFUSED = re.compile(r"GLOBAL ([\w.]+)")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a PyTorch checkpoint or a safetensors file by name, on the CPU, in their stored types.

    A safetensors file, or a checkpoint in the zip format of PyTorch 1.6 and later, is mapped into memory rather than
    read: a tensor takes up memory once it is used. Checkpoints in the older format, such as the original
    model_LXRT.pth, are read.

    A pickle may name functions to call. torch's restricted unpickler (`weights_only=True`) knows tensors and plain
    containers, and refuses all else before calling it; containers other than one flat dict are refused here.

    Raises DataError when the file is missing or damaged, is something else, or holds anything but dense tensors.
    """
    content = _content(Path(path))
    if not isinstance(content, dict):
        raise DataError(path, f"holds one {type(content).__name__}", EXPECTED, AGAIN)
    wrong = [problem for name, value in content.items() if (problem := _problem(name, value))]
    if wrong:
        raise DataError(path, f"holds more than tensors by name: {listed(wrong, SHOWN)}", EXPECTED, AGAIN)
    return content


def _content(path: Path) -> object:
    try:
        with open(path, "rb") as handle:
            start = handle.read(512)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", EXPECTED) from None
    if start[8:9] == b"{":  # a header's length in eight bytes, then the header
        return _read_safetensors(path)
    if start.startswith((ZIP_MAGIC, PICKLE_MAGIC)):
        return _read_pytorch(path, mapped=start.startswith(ZIP_MAGIC))
    raise DataError(path, _what_it_is(start), EXPECTED, AGAIN)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a mapping)
    except Exception as error:
        raise _unreadable(path, error) from None


def _read_pytorch(path: Path, mapped: bool) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a TorchScript archive, which is refused below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        # torch's own message also says how to run the code anyway.
        refused = _REFUSED.search(str(error))
        if refused:
            raise DataError(path, f"asks to run code ({refused[1]}), which was refused", EXPECTED, AGAIN) from None
        raise DataError(path, "damaged, or holds more than tensors", EXPECTED, AGAIN) from None
    except Exception as error:  # a damaged pickle can make the reader raise anything
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    """Return the error for what a reader raised. Damaged sizes may ask for more memory than there is, too."""
    if isinstance(error, MemoryError) or os.strerror(errno.ENOMEM) in str(error):
        expected, remedy = "memory for all of it", f"Free some, or raise ulimit -v; for a small file: {AGAIN}"
        return DataError(path, f"does not fit into memory ({_one_line(error)})", expected, remedy)
    return DataError(path, f"damaged or truncated ({_one_line(error)})", EXPECTED, AGAIN)


def _problem(name: object, value: object) -> str:
    """Return what is wrong with an entry; "" when it is a plain dense tensor with a name."""
    if not isinstance(name, str):
        return f"the key {name!r:.40} is not a string"
    if type(value) not in (Tensor, torch.nn.Parameter):
        return f"{name} is of type {type(value).__name__}"
    assert isinstance(value, Tensor)
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        return f"{name} is not a dense tensor"
    return ""


def _what_it_is(start: bytes) -> str:
    if is_page(start):
        return "is a web page"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file that it stands for"
    return "is empty" if not start else f"is another kind of file (starts with {start[:8]!r})"


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if str(error) else type(error).__name__

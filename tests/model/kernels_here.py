"""Where kernels run in tests: on a GPU, or in Triton's interpreter. Without Triton, files that import this are skipped.

`test_kernels` runs those files where Triton is not installed; on a GPU, use `pytest -m gpu`.
"""

import os
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if find_spec("triton") is None:
    pytest.skip("no Triton", allow_module_level=True)
if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported

import triton  # noqa: E402
import triton.language as tl  # noqa: E402
from triton.language.random import rand4x  # noqa: E402
from triton.runtime import interpreter  # noqa: E402

from lxmert_tickets.model import adam_kernels, gpu_kernels, on_gpu, operators  # noqa: E402

MARKS = pytest.mark.gpu if DEVICE.type == "cuda" else []
LOW = torch.bfloat16 if DEVICE.type == "cuda" else torch.float16  # the interpreter cannot multiply bfloat16
KERNELS = [
    *[(gpu_kernels, name) for name in ("_attend", "_attend_backward", "_end", "_end_backward")],
    *[(adam_kernels, name) for name in ("_squares", "_update")],
]


def philox(seed: int, places: np.ndarray) -> list[np.ndarray]:
    """Return four random float32 numbers for each of `places` (int32), as `tl.rand4x` does."""
    c0, (c1, c2, c3) = places.astype(np.uint64), np.zeros((3, *places.shape), np.uint64)
    k0, k1 = seed % 2**32, seed // 2**32 % 2**32
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1 = b // 2**32 ^ c1 ^ np.uint64(k0), b % 2**32
        c2, c3 = a // 2**32 ^ c3 ^ np.uint64(k1), a % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    drawn = np.stack([c0, c1, c2, c3]).astype(np.uint32).view(np.int32)
    return list(np.where(drawn < 0, ~drawn, drawn).astype(np.float32) * np.float32(4.6566127342e-10))


@triton.jit
def four_each(seed, drawn, COUNT: tl.constexpr):  # noqa: N803
    """Write Triton's own random numbers for the places below COUNT, one row for each of the four."""
    places = tl.arange(0, COUNT)
    a, b, c, d = rand4x(tl.load(seed), places)
    tl.store(drawn + places, a)
    tl.store(drawn + COUNT + places, b)
    tl.store(drawn + 2 * COUNT + places, c)
    tl.store(drawn + 3 * COUNT + places, d)


def _rand4x(seed: tl.tensor, places: tl.tensor) -> list[tl.tensor]:
    numbers = philox(seed.handle.data.item(), places.handle.data)
    kind = tl.block_type(tl.float32, places.shape)
    return [tl.tensor(interpreter.TensorHandle(each, tl.float32), kind) for each in numbers]


# Operator by operator, random numbers would take most of the time; and the interpreter adapts all of triton.language
# whenever a kernel calls a function, though once is enough.
if DEVICE.type == "cpu":
    tl.rand4x = _rand4x
    interpreter._patch_lang(tl.sum.fn)
    interpreter.InterpretedFunction.__call__ = lambda self, *given, **named: self.rewrite()(*given, **named)


@pytest.fixture(name="way", autouse=True)
def _way(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Lets a test choose the plain implementation or a GPU's, which is the default."""

    def choose(plain: bool) -> None:
        monkeypatch.setattr(operators, "engine_of", lambda *_: None if plain else on_gpu)

    choose(False)
    return choose

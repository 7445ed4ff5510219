"""Where kernels run in tests: on a GPU, or in Triton's interpreter. Without Triton, files that import this are skipped.

`test_kernels` runs those files where Triton is not installed; on a GPU, use `pytest -m gpu`.
"""

import os
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if find_spec("triton") is None:
    pytest.skip("no Triton", allow_module_level=True)
if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported

from lxmert_tickets.model import adam_kernels, gpu_kernels, on_gpu, operators  # noqa: E402

MARKS = pytest.mark.gpu if DEVICE.type == "cuda" else []
LOW = torch.bfloat16 if DEVICE.type == "cuda" else torch.float16  # the interpreter cannot multiply bfloat16
KERNELS = [
    *[(gpu_kernels, name) for name in ("_attend", "_attend_backward", "_end", "_end_backward")],
    *[(adam_kernels, name) for name in ("_squares", "_update")],
]


@pytest.fixture(name="way", autouse=True)
def _way(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Lets a test choose the plain implementation or a GPU's, which is the default."""

    def choose(plain: bool) -> None:
        monkeypatch.setattr(operators, "engine_of", lambda *_: None if plain else on_gpu)

    choose(False)
    return choose

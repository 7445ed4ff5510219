"""Fixtures shared by the tests of training."""

from collections.abc import Iterator

import pytest
import torch

from lxmert_tickets.training import answering

CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=CUDA)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where to train; a GPU is made deterministic, as by `set_up_process`."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(request.param == "cuda")
    yield request.param
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Also one thread, as in real runs: on a tiny network, many would only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for most in ("BATCH_SIZE", "BATCH_SIZE_ON_GPU"):
        monkeypatch.setattr(answering, most, 10)
    yield
    torch.set_num_threads(before)

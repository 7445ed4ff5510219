"""What tests of interrupted trainings share."""

from collections.abc import Iterator

import pytest
import torch

from lxmert_tickets.training import answering


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As trainings run; and many threads at a tiny network only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for most in ("BATCH_SIZE", "BATCH_SIZE_ON_GPU"):
        monkeypatch.setattr(answering, most, 10)
    yield
    torch.set_num_threads(before)

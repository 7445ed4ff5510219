"""Fixtures and hooks that several folders of tests share."""

import os
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest
from hypothesis import settings

from lxmert_tickets.environment import available_cores

# For GPUs: torch may read it only once in a process, and some tests use deterministic algorithms.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# What a machine or a git hook has set must not decide what tests see: their servers are on this machine, so that no
# proxy may be asked; a terminal is as wide as a test says; and a repository is the one of its folder.
NEAR = ",".join(filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"]))
os.environ |= {"no_proxy": NEAR, "NO_PROXY": NEAR}
for name in [name for name in os.environ if name.startswith("GIT_") or name in {"COLUMNS", "LINES"}]:
    del os.environ[name]
# As `make test` has it: on a busy machine, the threads of a small product wait for one another for minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# On a busy machine, how long one example takes says nothing about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

PROJECT = Path(__file__).resolve().parents[1]
SLOWEST = {"test_slurm_grid.py", "test_kernels.py", "test_interruption.py"}
"""Those that take up to minutes, beside tests/workflow."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real VQA v2 samples: $LXT_SHARED_DATA, else ../shared/data; the test skips where it is missing."""
    folder = Path(os.environ.get("LXT_SHARED_DATA") or PROJECT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set LXT_SHARED_DATA to the folder that holds it)")
    return folder


@pytest.fixture(scope="module")
def own_fork_server() -> Iterator[None]:
    """Give a module its own fork server: a process has only one, with the imports and signals of its starter."""
    environment, server = dict(os.environ), forkserver._forkserver  # type: ignore[attr-defined]
    modules = server._preload_modules
    server._stop()
    yield
    server._stop()
    server.set_forkserver_preload(modules)
    os.environ.clear()
    os.environ.update(environment)


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `make test` runs: one for each available core, at most four."""
    return min(4, available_cores())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest files first, so that no process still has minutes to go when the others have ended."""
    items.sort(key=lambda item: (item.path.name not in SLOWEST, item.path.parent.name != "workflow"))

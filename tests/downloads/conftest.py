"""Servers that break, and a place to download to."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from breaking_server import BreakingServer, Served, breaking_server
from downloads_made import QUICK, ZIP, Get

from lxmert_tickets.downloads.fetch import Patience, fetch
from lxmert_tickets.downloads.receipts import Receipt


@pytest.fixture
def server() -> Iterator[BreakingServer]:
    """A server that has the file."""
    with breaking_server() as running:
        running.files["/train.zip"] = Served(ZIP)
        yield running


@pytest.fixture
def mirror() -> Iterator[BreakingServer]:
    """A second server that has the file."""
    with breaking_server() as running:
        running.files["/train.zip"] = Served(ZIP)
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the file is to be put."""
    return tmp_path / "resources" / "vqa2" / "train.zip"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "resources" / "downloads.lock.json"


@pytest.fixture
def get(target: Path, lock: Path) -> Get:
    """Call `get(url, ...)` to fetch `target` with little patience."""

    def call(*urls: str, patience: Patience = QUICK) -> Receipt:
        return fetch(urls, target, lock=lock, patience=patience)

    return call

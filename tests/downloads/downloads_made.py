"""Files to download, and half downloads left by a run that gave up."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from breaking_server import Answer, BreakingServer, Served
from made_zips import zip_bytes

from lxmert_tickets.downloads.fetch import Patience
from lxmert_tickets.downloads.receipts import Receipt
from lxmert_tickets.errors import DataError

QUICK = Patience(attempts=3, first_pause_seconds=0.01, longest_pause_seconds=0.02, silence_seconds=0.5)

Get = Callable[..., Receipt]
ZIP = zip_bytes()
OTHER_ZIP = zip_bytes(seed=1)
PAGE = b"<!DOCTYPE html><html><head><title>Sorry, we are\n down</title></head></html>"


def part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def receipt_of(content: bytes) -> Receipt:
    return Receipt(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def pin(lock: Path, content: bytes, name: str = "vqa2/train.zip") -> None:
    lock.parent.mkdir(parents=True, exist_ok=True)
    receipt = receipt_of(content)
    entry = {"sha256": receipt.sha256, "size_bytes": receipt.size_bytes, "url": None}
    lock.write_text(json.dumps({name: entry}))


def break_off(get: Get, server: BreakingServer, n: int, content: bytes = ZIP) -> None:
    """Leave a half file of `n` bytes from `server`."""
    server.files["/train.zip"] = Served(content)
    server.answers = [Answer(break_after=n), Answer(status=404)]
    with pytest.raises(DataError):
        get(server.url())
    server.asked.clear()

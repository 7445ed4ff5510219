"""The first bytes under a name are pinned; others are refused, however many processes ask."""

import json
import multiprocessing
import time
from pathlib import Path

import pytest

from lxmert_tickets.artifacts import write_json
from lxmert_tickets.downloads import lock_file
from lxmert_tickets.downloads.lock_file import Pin, hold_to_pin, pin_name, read_pins
from lxmert_tickets.downloads.receipts import Receipt
from lxmert_tickets.errors import ArtifactError, DataError

FIRST = Receipt(sha256="1" * 64, size_bytes=1)
SECOND = Receipt(sha256="2" * 64, size_bytes=1)


def test_the_first_use_pins_the_bytes_and_the_same_bytes_always_pass(tmp_path: Path, lock: Path) -> None:
    target = lock.parent / "vqa2" / "a.zip"
    hold_to_pin(lock, target, FIRST, "http://host/a.zip")
    before = lock.read_bytes()
    hold_to_pin(lock, target, FIRST, "http://other/a.zip")
    assert lock.read_bytes() == before
    assert read_pins(lock) == {"vqa2/a.zip": Pin(FIRST.sha256, 1, "http://host/a.zip")}


def test_other_bytes_are_refused_and_the_pin_stays(lock: Path) -> None:
    target = lock.parent / "a.zip"
    hold_to_pin(lock, target, FIRST, None)
    with pytest.raises(DataError, match=f"{SECOND.sha256}.*{FIRST.sha256}.*remove the entry"):
        hold_to_pin(lock, target, SECOND, None)
    assert read_pins(lock)["a.zip"].sha256 == FIRST.sha256


def test_the_same_digest_with_another_size_is_refused(lock: Path) -> None:
    hold_to_pin(lock, lock.parent / "a.zip", FIRST, None)
    with pytest.raises(DataError, match=rf"\(2 bytes\); expected .* \(1 bytes\), pinned in {lock}"):
        hold_to_pin(lock, lock.parent / "a.zip", Receipt(FIRST.sha256, 2), None)


def test_the_order_of_pinning_does_not_show_in_the_file(tmp_path: Path) -> None:
    names = ["b.zip", "a.zip", "c/d.zip"]
    for folder, order in [("one", names), ("two", names[::-1])]:
        for name in order:
            hold_to_pin(tmp_path / folder / "lock.json", tmp_path / folder / name, FIRST, None)
    assert (tmp_path / "one/lock.json").read_bytes() == (tmp_path / "two/lock.json").read_bytes()
    assert list(json.loads((tmp_path / "one/lock.json").read_text())) == sorted(names)


def test_a_name_is_the_path_from_the_lock_files_folder() -> None:
    assert pin_name(Path("resources/lock.json"), Path("resources/vqa2/a.zip")) == "vqa2/a.zip"
    assert pin_name(Path("resources/lock.json"), Path("elsewhere/a.zip")) == "../elsewhere/a.zip"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"a.zip": {"sha256": "12", "size_bytes": 1}}', '{"a.zip": 5}', '{"\xff": 5}',
     '{"a.zip": {"sha256": "%s", "size_bytes": 1, "link": "x"}}' % ("ab" * 32)],
)  # fmt: skip
def test_a_damaged_lock_file_is_named_with_the_remedy(lock: Path, text: str) -> None:
    lock.parent.mkdir()
    lock.write_text(text, encoding="latin-1")
    with pytest.raises(ArtifactError, match=rf"^{lock}: damaged lock file \(.+\); expected names .*Repair it"):
        read_pins(lock)


def _pin_some(lock: Path, first: int) -> None:
    for n in range(first, first + 5):
        hold_to_pin(lock, lock.parent / f"{n}.zip", FIRST, None)


def test_no_pin_is_lost_when_many_processes_write(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(path: Path, value: object) -> None:
        time.sleep(0.01)  # so that another process would read what is about to be replaced
        write_json(path, value)

    monkeypatch.setattr(lock_file, "write_json", slow)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_pin_some, args=(lock, 10 * n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(read_pins(lock)) == 20

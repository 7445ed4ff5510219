"""A receipt names the file beside it, and notices when that file is missing or has changed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.downloads.receipts import Receipt, read_receipt, source_file, write_receipt
from lxmert_tickets.errors import ArtifactError, DataError

RECEIPT = Receipt(sha256="ab" * 32, size_bytes=5)


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    """The path of a receipt whose file exists."""
    (tmp_path / "train.zip").write_bytes(b"12345")
    write_receipt(tmp_path / "train.zip.verified", RECEIPT)
    return tmp_path / "train.zip.verified"


def test_a_receipt_leads_to_the_file_beside_it(receipt: Path) -> None:
    assert source_file(receipt) == receipt.with_name("train.zip")
    assert source_file(str(receipt)) == receipt.with_name("train.zip")


def test_any_other_path_comes_back_unchanged_even_if_it_does_not_exist() -> None:
    assert source_file("nowhere/train.tsv") == Path("nowhere/train.tsv")


def test_a_missing_file_is_named_with_the_remedy(receipt: Path) -> None:
    receipt.with_name("train.zip").unlink()
    with pytest.raises(DataError, match=r"train\.zip: no such file.*Delete the receipt"):
        source_file(receipt)


@pytest.mark.parametrize("content", [b"", b"1234", b"123456"])
def test_a_file_of_another_size_is_refused(receipt: Path, content: bytes) -> None:
    receipt.with_name("train.zip").write_bytes(content)
    with pytest.raises(DataError, match=rf"has {len(content)} bytes; expected 5 bytes as in train\.zip.*\. Delete"):
        source_file(receipt)


def test_a_missing_receipt_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"train\.zip\.verified: no such file; expected the receipt"):
        source_file(tmp_path / "train.zip.verified")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"sha256": "ab", "size_bytes": 5}',
        '{"sha256": "\xff", "size_bytes": 5}',
        '{"sha256": "%s", "size_bytes": -1}' % ("ab" * 32),
        '{"sha256": "%s", "size_bytes": 5, "url": null}' % ("ab" * 32),
    ],
)
def test_a_damaged_receipt_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.verified").write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError, match=r"x\.verified: damaged receipt \(.+\); expected sha256 .*Delete"):
        read_receipt(tmp_path / "x.verified")


@given(st.binary(min_size=32, max_size=32), st.integers(min_value=0, max_value=2**60))
def test_a_receipt_comes_back_as_it_was_written_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, digest: bytes, size: int
) -> None:
    first, second = (tmp_path_factory.mktemp("receipts") / "x.verified" for _ in range(2))
    receipt = Receipt(sha256=digest.hex(), size_bytes=size)
    write_receipt(first, receipt)
    assert read_receipt(first) == receipt
    write_receipt(second, read_receipt(first))
    assert first.read_bytes() == second.read_bytes()

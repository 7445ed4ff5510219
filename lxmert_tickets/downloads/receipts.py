"""Receipts: small files that record the content of the file beside them.

An external file is not the output of a rule, because Snakemake deletes outputs before a job and would discard a file
that the user put there, or 16 of 17 GB. The output is `NAME.verified` beside `NAME`: its size and SHA-256, written once
all checks have passed. It records neither time nor mirror, so that equal files give equal receipts.
"""

from pathlib import Path
from typing import Annotated

import msgspec

from lxmert_tickets.artifacts import write_json
from lxmert_tickets.errors import ArtifactError, DataError
from lxmert_tickets.layout import RECEIPT

REMEDY = "Delete the receipt and run snakemake again: the file is fetched, or checked if it is there."

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Size = Annotated[int, msgspec.Meta(ge=0)]


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a verified file holds."""

    sha256: Sha256
    size_bytes: Size


def write_receipt(path: str | Path, receipt: Receipt) -> None:
    """Write `receipt` as sorted JSON: equal receipts give equal bytes."""
    write_json(path, msgspec.to_builtins(receipt))


def read_receipt(path: str | Path) -> Receipt:
    """Return the receipt at `path`.

    Raises ArtifactError when it is missing or damaged.
    """
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Receipt)
    except FileNotFoundError:
        raise ArtifactError(path, "no such file", "the receipt of a verified file") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(path, f"damaged receipt ({error})", "sha256 and size_bytes as JSON", REMEDY) from None


def source_file(path: str | Path) -> Path:
    """Return the file that the receipt `path` describes; any other path is returned unchanged.

    The file must exist with the recorded size. Its digest is not computed again: at 17 GB that takes a minute.
    Raises DataError when the file is missing or has another size, ArtifactError when the receipt is damaged.
    """
    path = Path(path)
    if path.suffix != RECEIPT:
        return path
    receipt, file = read_receipt(path), path.with_suffix("")
    if not file.is_file():
        raise DataError(file, "no such file", f"the file that {path.name} describes", REMEDY)
    if (found := file.stat().st_size) != receipt.size_bytes:
        expected = f"{receipt.size_bytes} bytes as in {path.name}"
        raise DataError(file, f"has {found} bytes", expected, REMEDY)
    return file

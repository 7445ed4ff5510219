"""Download and verify one file; later rules wait for the receipt beside it."""

from pathlib import Path
from typing import TYPE_CHECKING

from lxmert_tickets.downloads.fetch import fetch
from lxmert_tickets.downloads.receipts import write_receipt
from lxmert_tickets.jobs.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    receipt_path = Path(snakemake.output.receipt)
    target = receipt_path.with_suffix("")
    receipt = fetch(snakemake.params.urls, target, lock=Path(snakemake.params.lock))
    write_receipt(receipt_path, receipt)
    log.info("%s: %d bytes, SHA-256 %s", target, receipt.size_bytes, receipt.sha256)

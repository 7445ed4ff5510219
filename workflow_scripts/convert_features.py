"""Region features from 10-column TSV, zipped or not, to HDF5 that can be memory-mapped."""

from pathlib import Path
from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.data.feature_conversion import convert_features
from lxmert_tickets.downloads.receipts import source_file
from lxmert_tickets.jobs.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    origin = provenance(snakemake.rule, "", None, snakemake.input.tables)
    report = convert_features(
        [source_file(path) for path in snakemake.input.tables],
        Path(snakemake.output.features),
        metadata={"provenance": origin},
        workers=snakemake.threads,
    )
    log.info("%s", report)

"""Region features from the 10-column TSV to HDF5 that can be memory-mapped."""

from pathlib import Path
from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import provenance
from lxmert_tickets.data.features import convert_features
from lxmert_tickets.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    origin = provenance(snakemake.rule, "", None, snakemake.input)
    about = {"provenance": origin}
    report = convert_features([Path(snakemake.input.table)], Path(snakemake.output.features), metadata=about)
    log.info("%s", report)

"""The configuration as a file to run again, and as a page."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import write_text
from lxmert_tickets.jobs.job import job
from lxmert_tickets.report.configuration_page import configuration_page

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    params, outputs = snakemake.params, snakemake.output
    write_text(outputs.yaml, params.overlay)
    write_text(outputs.html, configuration_page(params.overlay, params.data, params.experiment, params.version))

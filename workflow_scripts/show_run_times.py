"""Time and memory by rule."""

from pathlib import Path
from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import write_text
from lxmert_tickets.jobs.job import job
from lxmert_tickets.layout import Layout
from lxmert_tickets.report.run_times import read_run_times, run_times_page

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    page, params = snakemake.output.page, snakemake.params
    experiment = Layout(Path(page).parents[1])  # a workflow that imports this one may have moved it
    write_text(page, run_times_page(read_run_times(experiment.benchmark, params.seeds, params.models)))

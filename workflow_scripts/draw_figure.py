"""Figure 1, or one of those that explain it."""

from pathlib import Path
from typing import TYPE_CHECKING

from lxmert_tickets.jobs.job import job
from lxmert_tickets.report.figures import FIGURES
from lxmert_tickets.report.results import read_table
from lxmert_tickets.report.style import save_figure

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    params = snakemake.params
    table = read_table(snakemake.input.table)
    draw = FIGURES[Path(snakemake.output.png).stem]
    figure = draw(table, width_inches=params.width_inches, **params.options)
    save_figure(figure, snakemake.output, params.dpi)

"""Loss and validation accuracy by epoch."""

from typing import TYPE_CHECKING

import msgspec

from lxmert_tickets.experiment import Report
from lxmert_tickets.job import job
from lxmert_tickets.report.figures import learning_curve_figure
from lxmert_tickets.report.results import read_table
from lxmert_tickets.report.style import save_figure

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    params = snakemake.params
    look = msgspec.json.decode(params.style, type=Report)
    histories = read_table(snakemake.input.histories)
    figure = learning_curve_figure(histories, look)
    save_figure(figure, snakemake.output, look.figure_dpi)

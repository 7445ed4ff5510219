"""Where magnitude pruned: sparsity by layer and stream."""

from typing import TYPE_CHECKING

import msgspec

from lxmert_tickets.experiment import Report
from lxmert_tickets.job import job
from lxmert_tickets.report.figures import sparsity_figure
from lxmert_tickets.report.results import read_table
from lxmert_tickets.report.style import save_figure

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    params = snakemake.params
    look = msgspec.json.decode(params.style, type=Report)
    sparsities = read_table(snakemake.input.sparsities)
    figure = sparsity_figure(sparsities, params.subnetwork, look)
    save_figure(figure, snakemake.output, look.figure_dpi)

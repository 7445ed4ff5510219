"""Accuracy against sparsity for each answer type."""

from typing import TYPE_CHECKING

import msgspec

from lxmert_tickets.experiment import Report
from lxmert_tickets.job import job
from lxmert_tickets.report.figures import answer_type_figure
from lxmert_tickets.report.results import read_table
from lxmert_tickets.report.style import save_figure

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    params = snakemake.params
    look = msgspec.json.decode(params.style, type=Report)
    results = read_table(snakemake.input.results)
    figure = answer_type_figure(results, params.split, look)
    save_figure(figure, snakemake.output, look.figure_dpi)

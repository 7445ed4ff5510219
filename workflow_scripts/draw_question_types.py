"""Accuracy by question type, dense and at the sparsity of Table 1."""

from typing import TYPE_CHECKING

import msgspec

from lxmert_tickets.experiment import Report
from lxmert_tickets.job import job
from lxmert_tickets.report.figures import question_type_figure
from lxmert_tickets.report.results import read_table
from lxmert_tickets.report.style import save_figure

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    params = snakemake.params
    look = msgspec.json.decode(params.style, type=Report)
    question_types = read_table(snakemake.input.question_types)
    figure = question_type_figure(question_types, params.split, look)
    save_figure(figure, snakemake.output, look.figure_dpi)

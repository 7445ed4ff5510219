"""Table 1 as CSV, Markdown, LaTeX and HTML."""

from typing import TYPE_CHECKING

from lxmert_tickets.artifacts import write_text
from lxmert_tickets.jobs.job import job
from lxmert_tickets.report import tables
from lxmert_tickets.report.notes import minival_note
from lxmert_tickets.report.results import read_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    params = snakemake.params
    notes = [*(minival_note(path) for path in snakemake.input.about), *params.notes]
    results = read_table(snakemake.input.results)
    table = tables.table_1(results, params.sparsity, params.splits, params.otherwise, notes)
    write_text(snakemake.output.csv, tables.as_csv(table))
    write_text(snakemake.output.md, tables.as_markdown(table))
    write_text(snakemake.output.tex, tables.as_latex(table))
    write_text(snakemake.output.html, tables.as_html(table))

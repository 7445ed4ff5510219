"""What jobs took: time and memory by rule, from the benchmarks that Snakemake writes beside the results."""

import csv
import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lxmert_tickets.progress import duration_text
from lxmert_tickets.report.names import GRID_RULES
from lxmert_tickets.report.pages import page

OF_NETWORKS = {"snapshot_initial_weights", *GRID_RULES}
STYLE = "td.bar{text-align:left;width:20em}td.bar i{display:block;height:.8em;background:#0072B2}"


class RunTime(NamedTuple):
    """The last run of one job; `peak_mb` is None if it was too short for its memory to be measured."""

    rule: str
    seconds: float
    peak_mb: float | None


def read_run_times(folder: str | Path, seeds: Collection[int], models: Collection[str]) -> list[RunTime]:
    """Return the jobs whose benchmarks lie under `folder`, in the order of their names.

    Networks not of `seeds` and `models` (`low_magnitude/s50`), left from an earlier configuration, are skipped, and so
    are lines that are cut off.
    """
    networks = {str(seed) for seed in seeds} | {f"{seed}.{model}" for seed in seeds for model in models}
    networks |= {name.replace("/s", ".") for name in networks}  # as rules with a wildcard {subnetwork} name them
    found = []
    for path in sorted(Path(folder).rglob("*.tsv")):
        rule, _, of = path.relative_to(folder).as_posix().removesuffix(".tsv").partition(".")
        if rule in OF_NETWORKS and of not in networks:
            continue
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                with suppress(KeyError, ValueError):
                    if None not in row.values() and math.isfinite(float(row["s"])):
                        found.append(RunTime(rule, float(row["s"]), _megabytes(row["max_rss"])))
    return found


def _megabytes(text: str) -> float | None:
    """Return the memory that Snakemake measured, in MB; None for 0, NA or -, which it writes if it measured none."""
    return None if text in {"NA", "-"} or float(text) == 0 else float(text)


def run_times_page(run_times: Iterable[RunTime]) -> str:
    """Return a page with one row per rule, the longest total time first."""
    by_rule: dict[str, list[RunTime]] = defaultdict(list)
    for one in run_times:
        by_rule[one.rule].append(one)
    totals = {rule: sum(one.seconds for one in jobs) for rule, jobs in by_rule.items()}
    whole, longest = sum(totals.values()), max(totals.values(), default=0)
    rows = "".join(
        _row(rule, by_rule[rule], totals[rule] / longest if longest else 0)
        for rule in sorted(totals, key=lambda rule: (-totals[rule], rule))
    )
    n_jobs = sum(map(len, by_rule.values()))
    body = (
        f"<p>{n_jobs:,} jobs, {duration_text(whole)} of work if run one after the other. Of a job that ran several "
        "times, the last run counts, from start to end; jobs that ran at once shared the machine. Memory is the most "
        "that a job was seen to hold; a job of less than a second is sampled too early to show it. Jobs that are forks "
        "of one process hold what that process has imported, and for short jobs that is all that was seen. For the "
        "figures of each job, see <code>benchmarks/</code> of the experiment.</p>"
        "<table><thead><tr><th></th><th>jobs</th><th>together</th><th>longest</th><th>peak memory</th><th></th></tr>"
        f"</thead><tbody>{rows}</tbody></table>"
    )
    return page("Time and memory by rule", body, STYLE)


def _row(rule: str, jobs: list[RunTime], share: float) -> str:
    peaks = [one.peak_mb for one in jobs if one.peak_mb is not None]
    cells = [
        f"{len(jobs):,}",
        duration_text(sum(one.seconds for one in jobs)),
        duration_text(max(one.seconds for one in jobs)),
        f"{max(peaks):,.0f} MB" if peaks else "",
    ]
    bar = f'<td class="bar"><i style="width:{100 * share:.1f}%"></i></td>'
    return f"<tr><th>{rule}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}{bar}</tr>"

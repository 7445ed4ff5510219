"""Keeps Snakemake from recording failed jobs as done.

Snakemake 9 deletes a failed job's outputs but records its settings and inputs as if it had succeeded (its issue 3808).
If files derived from an earlier output exist, the next run finds nothing changed and leaves old results under new
settings.
"""

from contextvars import ContextVar
from functools import cache
from typing import Any

_has_failed: ContextVar[bool] = ContextVar("_has_failed", default=False)


@cache
def forget_failed_jobs() -> None:
    """Make Snakemake record nothing about failed jobs and keep its earlier records; calling it once is enough."""
    from snakemake.jobs import Job  # noqa: PLC0415 (a job of its own imports neither)
    from snakemake.persistence import PersistenceBase as Records  # noqa: PLC0415

    postprocess, finished = Job.postprocess, Records.finished

    async def tell_whether_it_failed(job: Any, *arguments: Any, error: bool = False, **options: Any) -> None:
        before = _has_failed.set(error)
        try:
            await postprocess(job, *arguments, error=error, **options)
        finally:
            _has_failed.reset(before)

    async def note_unless_it_failed(records: Any, job: Any) -> None:
        if not _has_failed.get():
            await finished(records, job)
        elif not job.dag.workflow.execution_settings.keep_incomplete:
            forget_attempt(records, job)

    def forget_attempt(records: Any, job: Any) -> None:
        for output in job.output:  # Snakemake deletes what is left of it, or restores the previous version
            records._unmark_incomplete(records._get_key(output))

    Job.postprocess = tell_whether_it_failed
    Records.finished = note_unless_it_failed
    Records.cleanup = forget_attempt  # called for a job that succeeded, but without its outputs

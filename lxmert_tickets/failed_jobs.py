"""Of a job that failed Snakemake keeps no record, so that it is run again.

Snakemake 9 deletes the outputs of a job that fails, and notes its settings and inputs as if it had ended well (its
issue 3808). Where networks are there that an earlier output was made into, the next run then finds that nothing has
changed since, and is done, with the old results under the new settings.
"""

from contextvars import ContextVar
from functools import cache
from typing import Any

_has_failed: ContextVar[bool] = ContextVar("_has_failed", default=False)


@cache
def forget_failed_jobs() -> None:
    """Have Snakemake note nothing of a job that fails: what it knew of the outputs stays; once is enough."""
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
        for output in job.output:  # what is left of it Snakemake deletes, or puts back
            records._unmark_incomplete(records._get_key(output))

    Job.postprocess = tell_whether_it_failed
    Records.finished = note_unless_it_failed
    Records.cleanup = forget_attempt  # of a job that ended well, without its outputs

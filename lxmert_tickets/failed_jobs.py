"""Of a job that failed Snakemake keeps no record, so that it is run again.

Snakemake 9 deletes the outputs of a job that fails, and notes its settings and inputs as if it had ended well (its
issue 3808). Where networks are there that an earlier output was made into, the next run then finds that nothing has
changed since, and is done, with the old results under the new settings.
"""

from collections.abc import Awaitable
from contextvars import ContextVar
from functools import cache
from typing import Any

_has_failed: ContextVar[bool] = ContextVar("_has_failed", default=False)


@cache
def forget_failed_jobs() -> None:
    """Have Snakemake note nothing of a job that fails: what it knew of the outputs stays; once is enough."""
    from snakemake import persistence  # noqa: PLC0415 (a job of its own imports neither)
    from snakemake.jobs import Job  # noqa: PLC0415

    records = getattr(persistence, "PersistenceBase", None) or persistence.Persistence
    postprocess, finished = Job.postprocess, records.finished

    async def tell_whether_it_failed(job: Any, *arguments: Any, error: bool = False, **options: Any) -> None:
        before = _has_failed.set(error)
        try:
            await postprocess(job, *arguments, error=error, **options)
        finally:
            _has_failed.reset(before)

    def note_unless_it_failed(records: Any, job: Any) -> Awaitable[None]:
        return _nothing() if _has_failed.get() else finished(records, job)

    Job.postprocess, records.finished = tell_whether_it_failed, note_unless_it_failed


async def _nothing() -> None: ...

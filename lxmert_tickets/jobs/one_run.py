"""Keeps all jobs of a run to the configuration and the code that it was started with.

Snakemake records both for every result as they were at the start, but jobs read the files later, on a cluster days
later. So jobs of other processes get the configuration from the run, and a job whose code has changed fails.
"""

import base64
import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lxmert_tickets.jobs.code_digest import PACKAGE, SCRIPTS, current_code_digest

VARIABLE = "LXMERT_TICKETS_RUN"
"""The environment variable by which a run tells its jobs, wherever they are, what it was started with."""

Stamps = list[tuple[str, int, int]]


@dataclass(frozen=True)
class Run:
    """What a run was started with: its whole configuration, and the digest of the code of each rule."""

    config: Mapping[str, Any]
    code: dict[str, str] = field(default_factory=dict)

    def tell_jobs(self) -> None:
        """Let jobs of other processes know this run, by an environment variable that no shell can misread.

        It is compressed: Linux takes 128 kB, which a few hundred subnetworks would exceed.
        """
        told = json.dumps({"config": self.config, "code": self.code})
        os.environ[VARIABLE] = base64.b64encode(zlib.compress(told.encode())).decode()

    def check_code(self, rule: str) -> str:
        """Return the digest of the code of `rule`; raise WorkflowError if the code is not as it was at the start."""
        _check(rule, self.code[rule], " Where jobs get copies of the files that git tracks, git add new ones first.")
        return self.code[rule]


def run_of_this_job() -> Run | None:
    """Return the run that started this process, or None where the environment does not tell."""
    told = os.environ.get(VARIABLE)
    return Run(**json.loads(zlib.decompress(base64.b64decode(told)))) if told else None


@cache
def fail_jobs_of_changed_code() -> None:
    """Make Snakemake's jobs fail whose code has changed since `code_at_start`; calling it once is enough."""
    from snakemake.script import PythonScript  # noqa: PLC0415 (forks import this module, and do without)

    run_script = PythonScript.execute_script

    def check_and_run(job: Any, file: str, edit: bool = False) -> None:
        rule_script = Path(file).name.partition(".")[2]  # Snakemake calls its copy of train.py tmp1a2b3c4d.train.py
        recorded = job.params.get("code")
        if recorded is not None and stamps() != code_at_start() and (SCRIPTS / rule_script).exists():
            _check(Path(rule_script).stem, recorded)
        run_script(job, file, edit)

    PythonScript.execute_script = check_and_run


@cache
def code_at_start() -> Stamps:
    """Return the `stamps` of the first call, which is to come before the digests of code that Snakemake records."""
    return stamps()


def stamps() -> Stamps:
    """Return the scripts and the package's files with the time of their last change, in ns, and their size in bytes."""
    found = []
    for path in sorted([*SCRIPTS.glob("[!.]*.py"), *PACKAGE.rglob("[!.]*.py")]):
        with suppress(OSError):  # just removed, or a link of an editor to nowhere
            about = path.stat()
            found.append((str(path), about.st_mtime_ns, about.st_size))
    return found


def _check(rule: str, recorded: str, hint: str = "") -> None:
    from snakemake.exceptions import WorkflowError  # noqa: PLC0415 (as above)

    try:
        current = current_code_digest(SCRIPTS / f"{rule}.py")
    except SyntaxError:  # in the midst of an edit
        current = ""
    if current != recorded:
        raise WorkflowError(f"{rule}: the code has changed since Snakemake was started: start it again.{hint}")

"""Debian programs that tests need, installed where they are missing."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock


def install(programs: Sequence[str], packages: Sequence[str]) -> None:
    """Install `packages` where any of `programs` is missing; the test skips where that cannot be done.

    One process at a time, since apt-get does not wait.
    """
    if not _missing(programs):
        return
    with FileLock(Path(tempfile.gettempdir()) / f"lxmert_tickets.apt.{os.geteuid()}.lock"):
        if missing := _missing(programs):
            _install(missing, packages)


def _missing(programs: Sequence[str]) -> str:
    return ", ".join(program for program in programs if shutil.which(program) is None)


def _install(missing: str, packages: Sequence[str]) -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip(f"no {missing} here, and only root of a Debian system could install it")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    for before in ([], ["apt-get", "update"]):  # the package lists may be old or missing
        if before:
            subprocess.run(before, env=environment, capture_output=True, check=False)
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if run.returncode == 0:
            return
    pytest.skip(f"apt-get could not install {missing}: {run.stderr.strip().splitlines()[-1:]}")

"""Packages that only one test needs, installed for it alone."""

import subprocess
import sys
from pathlib import Path

import pytest


def install(folder: Path, *requirements: Path) -> None:
    """Install all of `requirements` into `folder`, and nothing else; the test skips where pip cannot."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-compile",
    ]
    files = [option for path in requirements for option in ("--requirement", str(path))]
    run = subprocess.run([*pip, "--target", str(folder), *files], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        pytest.skip(f"pip could not install what it takes: {run.stderr.strip().splitlines()[-1:]}")

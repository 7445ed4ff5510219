"""Trained weights are made anew when TRAINING_VERSION rises: whoever edits the code behind them says whether it must.

`python tests/training/test_version.py` records the code as it stands.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("training_version.json")
SCRIPTS = ("train", "pretrain")

if __name__ == "__main__":  # a script finds the package by itself only where it is installed
    sys.path.insert(0, str(PROJECT))

from lxmert_tickets.artifacts import write_json  # noqa: E402
from lxmert_tickets.code_digest import code_digest  # noqa: E402
from lxmert_tickets.training.recipe import TRAINING_VERSION  # noqa: E402

ADVICE = """
The code behind training is not the recorded one. Either it trains other weights than before: then raise
TRAINING_VERSION in lxmert_tickets/training/recipe.py, name the change in CHANGELOG.md, and record; trained networks
are made anew. Or it trains the same weights, byte for byte: then just record. To record:
    python tests/training/test_version.py
"""


def present() -> dict[str, Any]:
    """Return what is recorded: Python prints a syntax tree a little differently from version to version."""
    digests = {script: code_digest(PROJECT / "workflow_scripts" / f"{script}.py") for script in SCRIPTS}
    return {"training_version": TRAINING_VERSION, "python": python_version(), "code": digests}


def python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def test_whoever_changed_the_code_behind_training_said_what_it_means() -> None:
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    if recorded["python"] != python_version():
        pytest.skip(f"recorded with Python {recorded['python']}")
    assert present() == recorded, ADVICE


if __name__ == "__main__":
    write_json(RECORD, present())

"""Costly files are made anew when their version rises: whoever edits the code behind them says whether they must be.

`python tests/test_version.py` records the present code.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[1]
RECORD = Path(__file__).with_name("versions.json")

if __name__ == "__main__":  # a script finds the package only where it is installed
    sys.path.insert(0, str(PROJECT))

from lxmert_tickets.artifacts import write_json  # noqa: E402
from lxmert_tickets.configuration.sources import FEATURES_VERSION  # noqa: E402
from lxmert_tickets.jobs.code_digest import code_digest  # noqa: E402
from lxmert_tickets.training.recipe import TRAINING_VERSION  # noqa: E402

ADVICE = """
The code behind {what} is not the recorded one. Either it gives other files than before: then raise {constant},
name the change in CHANGELOG.md, and record; these files are made anew. Or it gives the same files, byte for byte: then
just record. To record:
    python tests/test_version.py
"""

VERSIONS = {
    "training": ("TRAINING_VERSION in lxmert_tickets/training/recipe.py", TRAINING_VERSION, ("train", "pretrain")),
    "features": (
        "FEATURES_VERSION in lxmert_tickets/configuration/sources.py",
        FEATURES_VERSION,
        ("convert_features",),
    ),
}


def present() -> dict[str, Any]:
    """Return the versions and code digests to be recorded."""
    found: dict[str, Any] = {}
    for what, (_, version, scripts) in VERSIONS.items():
        digests = {script: code_digest(PROJECT / "workflow_scripts" / f"{script}.py") for script in scripts}
        found[what] = {"version": version, "code": digests}
    return found


@pytest.mark.parametrize("what", VERSIONS)
def test_a_change_to_the_code_behind_costly_files_is_recorded_with_what_it_means(what: str) -> None:
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    assert present()[what] == recorded[what], ADVICE.format(what=what, constant=VERSIONS[what][0])


if __name__ == "__main__":
    write_json(RECORD, present())

"""The profiles differ in what machines need, and agree in what the workflow needs everywhere."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[1]
PROFILES: dict[str, dict[str, Any]] = {
    path.parent.name: yaml.safe_load(path.read_text()) for path in PROJECT.glob("profiles/*/config.yaml")
}
OF_ONE_MACHINE = {"resources"}  # its GPUs: a cluster counts its own


def rules_of(file: str) -> set[str]:
    """Return the names of the rules in a file of rules/."""
    declared = r"^(?:rule|use rule \w+ as) (\w+)"
    return set(re.findall(declared, (PROJECT / "rules" / file).read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("profile", PROFILES)
def test_settings_that_the_workflow_needs_everywhere_are_the_same_in_every_profile(profile: str) -> None:
    expected = {name: value for name, value in PROFILES["default"].items() if name not in OF_ONE_MACHINE}
    assert {name: PROFILES[profile].get(name) for name in expected} == expected


def test_the_whole_report_is_one_slurm_job() -> None:
    groups = PROFILES["slurm"]["groups"]
    assert {rule for rule, group in groups.items() if group == "report"} == rules_of("report.smk")


def test_the_slurm_profile_names_only_rules_that_exist() -> None:
    rules = set().union(*(rules_of(path.name) for path in PROJECT.glob("rules/*.smk")))
    assert PROFILES["slurm"]["groups"].keys() | PROFILES["slurm"]["set-resources"].keys() <= rules


def test_the_limit_that_the_documentation_gives_can_be_written_into_the_profile_and_leaves_time_for_a_group() -> None:
    [limited] = re.findall("For a limit of 12 hours, write `(.*)`", (PROJECT / "docs/cluster.md").read_text())
    file = (PROJECT / "profiles/slurm/config.yaml").read_text().replace("runtime: 240 * attempt", limited)
    resources = yaml.safe_load(file)["set-resources"]
    assert resources["retrain"].keys() == PROFILES["slurm"]["set-resources"]["retrain"].keys()
    assert resources["prune_round"]["runtime"] == 10  # minutes, in one group with retrain
    assert int(resources["retrain"]["runtime"].removeprefix("min(240 * attempt, ").removesuffix(")")) + 10 <= 12 * 60


def test_the_slurm_profile_asks_as_long_as_slurm_is_down_and_never_takes_a_cancelled_job_for_a_running_one() -> None:
    profile = PROFILES["slurm"]
    assert profile["slurm-status-command"] == "squeue"  # sacct says "CANCELLED by 1001", which the plugin does not know
    day_seconds = 24 * 3600  # after the last attempt, it drops all jobs from those that it asks for
    assert profile["slurm-status-attempts"] / profile["max-status-checks-per-second"] > day_seconds

"""The configuration of a folder is the one Snakemake uses: overlays over the folder's own over the workflow's."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from shipped import SHIPPED

from lxmert_tickets.configuration import files
from lxmert_tickets.configuration.files import read_configuration
from lxmert_tickets.errors import ConfigError


@pytest.fixture
def no_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "defaults.yaml").write_text("{}")
    monkeypatch.setattr(files, "DEFAULTS", tmp_path / "defaults.yaml")


def test_the_workflows_own_configuration_lies_under_that_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("seeds: [7]\n")
    assert read_configuration(tmp_path, [tmp_path / "x.yaml"]) == SHIPPED | {"seeds": [7]}
    (tmp_path / "config.yaml").write_text("{experiment: mine, seeds: [8]}\n")
    assert read_configuration(tmp_path, []) == SHIPPED | {"experiment": "mine", "seeds": [8]}
    assert read_configuration(tmp_path, [tmp_path / "x.yaml"]) == SHIPPED | {"experiment": "mine", "seeds": [7]}


def test_overlays_are_merged_as_snakemake_merges_them(tmp_path: Path, no_defaults: None) -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": None, "e": 1}
    overlays = {"one": {"a": {"b": 2}, "d": {"x": 1}}, "two": {"a": {"c": [3]}, "e": None}}
    for name, content in ({"config": base} | overlays).items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    merged = read_configuration(tmp_path, [tmp_path / "one.yaml", tmp_path / "two.yaml"])
    assert merged == {"a": {"b": 2, "c": [3]}, "d": {"x": 1}, "e": None}
    from snakemake.utils import update_config  # noqa: PLC0415

    expected: dict[str, Any] = copy.deepcopy(base)
    for overlay in overlays.values():
        update_config(expected, overlay)
    assert merged == expected


@pytest.mark.parametrize(
    "content", ['{"training": {"learning_rate": 5e-5}}', '{"seeds":\t[0]}', "\ufeffseeds: [0]", "{seeds: [0],}"]
)
def test_json_and_yaml_are_read_as_snakemake_reads_them(tmp_path: Path, content: str, no_defaults: None) -> None:
    from snakemake.common.configfile import load_configfile  # noqa: PLC0415

    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    assert read_configuration(tmp_path, [tmp_path / "x.json"]) == load_configfile(tmp_path / "x.json")


BROKEN = [
    ("a: [", "cannot be read"),
    ("- a", "is a list"),
    ("", "is empty; expected a mapping in YAML or JSON. Write {} for an empty configuration"),
    ("# seeds: [0]", "is empty"),
    ("seeds: &s [*s]", "seeds[0][0]"),
    ("training: &s {epochs: *s}", "training.epochs.epochs"),
    (f"seeds: {21 * '['}{21 * ']'}", "seeds[0][0]"),
    (f"seeds: {2000 * '['}{2000 * ']'}", "is nested too deep to be read"),
    (f'{{"seeds": {100_000 * "["}{100_000 * "]"}}}', "is nested too deep to be read"),
    ("training: {eps: .nan}", "training.eps: nan; expected a finite number"),
    ("seeds: [010]", "cannot be read (YAML reads 010 as another number"),
    ("seeds: [-07]", "cannot be read (YAML reads -07 as another number"),
    ("seeds: [0_10]", "cannot be read (YAML reads 0_10 as another number"),
    ("seeds: [1:30]", "cannot be read (YAML reads 1:30 as another number"),
    ("seeds: [1:30.5]", "cannot be read (YAML reads 1:30.5 as another number"),
]


@pytest.mark.parametrize(("content", "words"), BROKEN)
def test_a_broken_configuration_is_reported_with_its_place(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ConfigError, match=re.escape(f"config.yaml: {words}")):
        read_configuration(tmp_path, [])


def test_a_duplicate_key_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("training: {epochs: 3}\nseeds: [0]\ntraining: {batch_size: 16}\n")
    with pytest.raises(ConfigError, match=r"x\.yaml: cannot be read \(training appears twice in line 3, column 1: "):
        read_configuration(tmp_path, [tmp_path / "x.yaml"])
    (tmp_path / "x.yaml").write_text('{"training": {"epochs": 3, "epochs": 4}}')  # JSON too
    with pytest.raises(ConfigError, match=r"x\.yaml: cannot be read \(epochs appears twice\)"):
        read_configuration(tmp_path, [tmp_path / "x.yaml"])
    (tmp_path / "x.yaml").write_text("a: &a {x: 1, y: 1}\nb: {<<: *a, x: 2}\n1: one\n'1': text\n")
    assert read_configuration(tmp_path, [tmp_path / "x.yaml"])["b"] == {"x": 2, "y": 1}


def test_a_slip_in_the_name_of_a_subnetwork_to_leave_out_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("subnetworks: {mine: {keep: random, sparsities: [50]}, another: null}\n")
    (tmp_path / "x.yaml").write_text("subnetworks: {mine: null, random: null}\n")
    found = read_configuration(tmp_path, [tmp_path / "x.yaml"])["subnetworks"]
    assert [found[name] for name in ("mine", "another", "random")] == [None, None, None]
    (tmp_path / "x.yaml").write_text("subnetworks: {high_magnitud: null}\n")
    with pytest.raises(ConfigError, match=r"subnetworks\.high_magnitud: empty .*did you mean 'high_magnitude'\?"):
        read_configuration(tmp_path, [tmp_path / "x.yaml"])


def test_numbers_that_yaml_reads_as_they_look_are_accepted(tmp_path: Path, no_defaults: None) -> None:
    (tmp_path / "x.yaml").write_text("a: [0, 00, -1, 10, 1_000, 0x10, '010', '1:30', 01.5]\n")
    found = read_configuration(tmp_path, [tmp_path / "x.yaml"])
    assert found == {"a": [0, 0, -1, 10, 1000, 16, "010", "1:30", 1.5]}


def test_a_folder_where_snakemake_ran_without_a_configuration_has_the_workflows_own(
    tmp_path: Path,
) -> None:
    (tmp_path / ".snakemake").mkdir()
    assert read_configuration(tmp_path, []) == SHIPPED


def test_a_missing_configuration_is_reported_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml: no such file.*Run this where Snakemake is run"):
        read_configuration(tmp_path, [])
    with pytest.raises(ConfigError, match=r"x\.yaml: no such file"):
        read_configuration(tmp_path, [tmp_path / "x.yaml"])

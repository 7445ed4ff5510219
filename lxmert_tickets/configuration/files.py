"""The configuration as the workflow sees it: its own config.yaml, the working folder's, and `--configfile`s."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from lxmert_tickets.configuration.conversion import check_plain
from lxmert_tickets.errors import ConfigError, did_you_mean, repeated

BASE = "config.yaml"
NOT_AS_WRITTEN = re.compile(r"[-+]?0[0_]*[1-9][0-9_]*|.*:.*")  # numbers that YAML 1.1 reads in base 8 or 60
DEFAULTS = Path(__file__).resolve().parents[2] / BASE


def read_configuration(folder: Path, overlays: Sequence[Path]) -> dict[str, Any]:
    """Return `config.yaml` of `folder`, if there is one, with `overlays` on top in turn, all of it `over_defaults`.

    Raises ConfigError when a file is missing or not a mapping in YAML or JSON, and when there is no file at all and
    Snakemake has not run in `folder`.
    """
    base = folder / BASE
    files = [*([base] if os.path.lexists(base) else []), *overlays]
    if not files and not (folder / ".snakemake").is_dir():
        raise ConfigError(
            base, "no such file", "the configuration of an experiment", "Run this where Snakemake is run."
        )
    contents = [read_file(file) for file in files]
    check_left_out(contents)
    config: dict[str, Any] = {}
    for content in contents:
        config = laid_over(config, content)
    return over_defaults(config)


def over_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` laid over the workflow's own: a workflow that imports this one need only state what differs."""
    return laid_over(read_file(DEFAULTS), config)


def check_left_out(contents: Sequence[Mapping[str, Any]]) -> None:
    """Raise ConfigError for a subnetwork left out (null) by a name that is in no file of `contents`, but resembles one.

    A name that resembles none is let pass: `as_overlay` keeps what is left out, for use on top of any configuration.
    """
    parts = [content.get("subnetworks") for content in (read_file(DEFAULTS), *contents)]
    entries = [entry for part in parts if isinstance(part, Mapping) for entry in part.items()]
    declared = {str(name) for name, value in entries if value is not None}
    for name in {str(name) for name, _ in entries} - declared:
        near = did_you_mean(name, declared)
        if near.startswith("did"):
            raise ConfigError(f"subnetworks.{name}", "empty (null)", "the name of a subnetwork to leave out", near)


def laid_over(config: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` updated from `overlay`, mappings entry by entry, as Snakemake does."""
    merged = dict(config)
    for key, value in overlay.items():
        if isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = laid_over(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses duplicate keys, which YAML forbids and PyYAML accepts: the last would win, unnoticed."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            what = (key.tag, str(key.value))
            if what in seen and key.value != "<<":  # several mappings may be merged
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} appears twice", key.start_mark)
            seen.add(what)
        return dict(super().construct_mapping(node, deep))


class _OwnLoader(_Loader):
    """Also refuses numbers that are not what they seem: 010 would be 8."""

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag.endswith((":int", ":float")) and NOT_AS_WRITTEN.fullmatch(str(node.value)):
            said = f"YAML reads {node.value} as another number: write that in decimal, or quote it if it is text"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        return super().construct_scalar(node)


def read_file(path: Path, *, is_ours: bool = True) -> Mapping[str, Any]:
    """Return the content of a configuration file.

    Raises ConfigError when it is missing, not a mapping in YAML or JSON, or has duplicate keys; if all of it `is_ours`,
    also for numbers such as 010, which YAML reads as 8, and for what `check_plain` refuses.
    """
    try:
        content = _parsed(path.read_text(encoding="utf-8"), _OwnLoader if is_ours else _Loader)
        if is_ours:
            check_plain(content)
    except OSError as error:
        raise ConfigError(path, str(error.strerror).lower(), "a mapping in YAML or JSON") from None
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()).replace('"<unicode string>", ', "")  # as PyYAML calls the file
        raise ConfigError(path, f"cannot be read ({reason})", "a mapping in YAML or JSON") from None
    except RecursionError:
        raise ConfigError(path, "is nested too deep to be read", "a mapping in YAML or JSON") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.place}", error.found, error.expected, error.remedy) from None
    if content is None:
        raise ConfigError(
            path, "is empty", "a mapping in YAML or JSON", "Write {} for an empty configuration, as Snakemake requires."
        )
    if not isinstance(content, Mapping):
        raise ConfigError(path, f"is a {type(content).__name__}", "a mapping in YAML or JSON")
    return content


def _parsed(text: str, loader: type[_Loader]) -> Any:
    """Return the value of `text`, as JSON first, as Snakemake does: YAML reads 5e-5 as text and rejects tabs."""
    try:
        return json.loads(text, object_pairs_hook=_mapping)
    except ValueError:
        return yaml.load(text, loader)


def _mapping(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict; refuse duplicate keys, as in YAML."""
    if twice := repeated(key for key, _ in pairs):
        raise yaml.YAMLError(f"{twice[0]} appears twice")  # a ValueError would have it read as YAML
    return dict(pairs)

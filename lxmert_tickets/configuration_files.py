"""The configuration as the workflow sees it: config.yaml of the workflow, that of a folder, and `--configfile`s."""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from lxmert_tickets.conversion import check_plain
from lxmert_tickets.errors import ConfigError

BASE = "config.yaml"
NOT_AS_WRITTEN = re.compile(r"[-+]?0[0_]*[1-9][0-9_]*|.*:.*")  # numbers that YAML 1.1 reads to the base of 8, or of 60
DEFAULTS = Path(__file__).resolve().parents[1] / BASE


def read_configuration(folder: Path, overlays: Sequence[Path]) -> dict[str, Any]:
    """Return `config.yaml` of `folder`, where there is one, and `overlays`, one by one, all of it `over_defaults`.

    Raises ConfigError when a file is missing or no mapping in YAML or JSON, and when there is none but the defaults
    where Snakemake has not run.
    """
    base = folder / BASE
    files = [*([base] if os.path.lexists(base) else []), *overlays]
    if not files and not (folder / ".snakemake").is_dir():
        raise ConfigError(
            base, "no such file", "the configuration of an experiment", "Run this where Snakemake is run."
        )
    config: dict[str, Any] = {}
    for file in files:
        config = laid_over(config, read_file(file))
    return over_defaults(config)


def over_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` laid over the workflow's own: a workflow that imports this one need only say what differs."""
    return laid_over(read_file(DEFAULTS), config)


def laid_over(config: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` with the values of `overlay`, mappings entry by entry, as Snakemake does it."""
    merged = dict(config)
    for key, value in overlay.items():
        if isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = laid_over(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses what YAML forbids and PyYAML lets pass: of a key that appears twice the last would count, unnoticed."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            what = (key.tag, str(key.value))
            if what in seen and key.value != "<<":  # several mappings may be merged
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} appears twice", key.start_mark)
            seen.add(what)
        return dict(super().construct_mapping(node, deep))


class _OwnLoader(_Loader):
    """Refuses numbers, too, that are not what they seem: 010 would be 8."""

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag.endswith((":int", ":float")) and NOT_AS_WRITTEN.fullmatch(str(node.value)):
            said = f"YAML reads {node.value} as another number: write that in decimal, or quote it if it is text"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        return super().construct_scalar(node)


def read_file(path: Path, *, is_ours: bool = True) -> Mapping[str, Any]:
    """Return what a configuration file holds.

    Raises ConfigError when it is missing, no mapping in YAML or JSON, or has a key twice; where all of it `is_ours`,
    for numbers as 010, which YAML reads as 8, and for what `check_plain` refuses.
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
    """Return what `text` holds: JSON first, as Snakemake does it, for YAML takes 5e-5 for text and bears no tabs."""
    try:
        return json.loads(text, object_pairs_hook=_mapping)
    except ValueError:
        return yaml.load(text, loader)


def _mapping(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, and refuse what a mapping of YAML is refused for."""
    repeated = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
    if repeated:
        raise yaml.YAMLError(f"{repeated[0]} appears twice")  # no ValueError: then it would be read as YAML
    return dict(pairs)

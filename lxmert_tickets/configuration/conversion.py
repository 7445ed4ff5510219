"""Converts values from YAML to typed ones; one that does not fit becomes a ConfigError that names its place."""

import json
import math
import re
from collections.abc import Mapping
from datetime import date
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

import msgspec

from lxmert_tickets.errors import ConfigError, did_you_mean

MAX_LEVELS = 20  # of nested sections and lists
MAX_COUNTED = 10  # of seeds, where their number was given
STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")  # of a path as msgspec writes it: $.splits.test[0], $.data.sets[...]
# What YAML reads as a number or boolean; it is text only in quotes, or within a list or section of --config.
PLAIN = re.compile(r"[-+]?\d+(\.\d*([eE][-+]\d+)?)?|true|false")
SCIENTIFIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
KEYS_ARE_TEXT = "Keys are text: write it in quotes."
OWN_FILES = {"vqa2": "configs/vqa2.yaml"}  # of sections that are not in config.yaml
WORDS = {
    "`object`": "a mapping",
    "`array`": "a list",
    "`str`": "text",
    "`int`": "a whole number",
    "`float`": "a number",
    "`bool`": "true or false",
}


def convert(value: Any, kind: Any, place: str = "") -> Any:
    """Return `value` as a `kind`, any type that msgspec knows; `place` is its place in the configuration.

    Raises ConfigError at the first mistake, with its place, value and expectation.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at ")
    raise _located(problem, path, value, kind, place)


def check_plain(value: Any, place: str = "", levels: int = MAX_LEVELS) -> None:
    """Raise ConfigError for what JSON, and so a rule's params, cannot hold: infinities, NaN, sets, endless nesting."""
    if not levels:
        raise ConfigError(
            place, "is nested too deep", f"at most {MAX_LEVELS} levels", "Look for *, an alias, within its &."
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(place, repr(value), "a finite number", "For no limit, write 1.0e+9.")
    if isinstance(value, set):
        raise ConfigError(place, repr(value), "a list", "Write it without !!set: a set has no order.")
    if isinstance(value, Mapping):
        for key, entry in value.items():
            check_plain(entry, _within(place, key), levels - 1)
    elif isinstance(value, list | tuple):
        for position, entry in enumerate(value):
            check_plain(entry, f"{place}[{position}]", levels - 1)


def _located(problem: str, path: str, value: Any, kind: Any, place: str) -> ConfigError:
    """Return the error for what `path` leads to, starting from `value`, `kind` and `place`."""
    for field, position in STEP.findall(path):
        arguments = get_args(_bare(kind))
        if field:
            kind, value, place = _field_types(kind)[field], value[field], _within(place, field)
        elif position == "...":  # msgspec does not say in which entry of a mapping
            for key, entry in value.items():
                convert(entry, arguments[1], _within(place, key))
        else:
            kind, value, place = arguments[0], value[int(position)], f"{place}[{position}]"
    if path.startswith("`key`"):
        for key in value:
            if not isinstance(key, str):
                return ConfigError(_within(place, key), repr(key), "text", KEYS_ARE_TEXT)
            convert(key, (*get_args(kind), str)[0], _within(place, key))
    return _explained(_in_words(problem, kind), value, _bare(kind), place)


def _explained(problem: str, value: Any, kind: Any, place: str) -> ConfigError:
    found = "empty (null)" if value is None else repr(value)
    if problem.startswith("Object contains unknown field"):
        key = problem.split("`")[1]
        return ConfigError(
            _within(place, key), "is not a known key", "a key of this section", did_you_mean(key, _field_types(kind))
        )
    if problem.startswith("Object missing required field"):
        missing = _within(place, problem.split("`")[1])
        file = OWN_FILES.get(missing.partition(".")[0], "config.yaml")
        return ConfigError(missing, "is missing", "a value", f"Copy it from {file}.")
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        near = did_you_mean(str(value), choices)
        return ConfigError(place, found, f"one of {', '.join(choices)}", near if near.startswith("did") else "")
    expected = problem.removeprefix("Expected ").partition(", got ")[0]
    for word, meaning in WORDS.items():
        expected = expected.replace(word, meaning)
    return ConfigError(place, found, expected, _remedy(value, expected, place))


def _in_words(problem: str, kind: Any) -> str:
    """Return `problem` with the description of its constraint instead of a regular expression."""
    return f"Expected {kind.__metadata__[0].description}" if "matching regex" in problem else problem


def _remedy(value: Any, expected: str, place: str) -> str:
    """Return how to write `value` at `place` so that it is what was `expected`; "" if that is not the problem."""
    if expected == "text" and isinstance(value, int | float | date):
        taken = "YAML reads on, off, yes and no as true and false: write it in quotes."
        return taken if isinstance(value, bool) else f'Write it in quotes: "{value}".'
    if expected == "a list" and isinstance(value, str | int | float):
        entries = [entry.strip() for entry in str(value).strip("[] ").split(",")]
        written = [entry if PLAIN.fullmatch(entry) else json.dumps(entry) for entry in entries]
        remedy = f"Write [{', '.join(written)}]."
        if place == "seeds" and isinstance(value, int) and 1 < value <= MAX_COUNTED:
            remedy += f" For {value} seeds: {list(range(value))}."
        return remedy
    if not isinstance(value, str) or not expected.startswith(("a number", "a whole number", "true or false")):
        return ""
    if PLAIN.fullmatch(value):
        return "Write it without quotes; lists and sections: in a file, with --configfile."
    if expected.startswith("a number") and SCIENTIFIC.fullmatch(value):
        return "YAML requires a decimal point and a signed exponent, as in 5.0e-5 and 1.0e+9."
    return ""


def _within(place: str, key: Any) -> str:
    return f"{place}.{key}" if place else str(key)


def _bare(kind: Any) -> Any:
    """Return `kind` without its constraints, and `X | None` as X."""
    if isinstance(kind, UnionType) and len(present := [part for part in get_args(kind) if part is not NoneType]) == 1:
        return _bare(present[0])
    return getattr(kind, "__origin__", kind) if hasattr(kind, "__metadata__") else kind


def _field_types(kind: Any) -> dict[str, Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(_bare(kind))}

"""Benchmark results: figures side by side with what the machine allows, as JSON and as a table."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

UNITS = {
    "train_scenes": "samples/s",
    "train_base": "samples/s",
    "evaluate_base": "questions/s",
    "mask_base": "s",
    "read_features": "images/s",
    "accuracy": "s",
    "startup": "s",
    "demo": "s",
}
NAMES = tuple(UNITS)
DIGITS = 4  # significant ones kept: repeated runs differ in the third


@dataclass(frozen=True)
class Figure:
    """One line: ours and the peer's, in its unit, and the best that this machine allows; None where not measured.

    Higher is better for a unit that ends in "/s", lower for seconds. `floor` is in the same unit. `ratio` is how many
    times better ours is than the peer's, `share_of_floor` how close it comes to the floor, 0 to 1.
    """

    name: str
    ours: float | None = None
    peer: float | None = None
    floor: float | None = None
    note: str = ""

    @property
    def unit(self) -> str:
        return UNITS[self.name]

    @property
    def ratio(self) -> float | None:
        return self._better_than(self.peer)

    @property
    def share_of_floor(self) -> float | None:
        return self._better_than(self.floor)

    def as_json(self) -> dict[str, Any]:
        """Return the figure as it is stored; `note` only where there is one."""
        numbers = {
            "ours": self.ours,
            "peer": self.peer,
            "ratio": self.ratio,
            "unit": self.unit,
            "floor": self.floor,
            "share_of_floor": self.share_of_floor,
        }
        record = {"name": self.name} | {key: _short(value) for key, value in numbers.items()}
        return record | ({"note": self.note} if self.note else {})

    def _better_than(self, other: float | None) -> float | None:
        if not self.ours or not other:
            return None
        return self.ours / other if self.unit.endswith("/s") else other / self.ours


def from_json(record: Mapping[str, Any]) -> Figure:
    """Return the figure that `as_json` made `record` of; derived values are recomputed."""
    return Figure(**{key: record[key] for key in asdict(Figure("")) if key in record})


def merged(new: Sequence[Figure], old: Sequence[Figure]) -> list[Figure]:
    """Return all figures in the order of NAMES: from `new`, else from `old`, else empty."""
    known = {figure.name: figure for figure in [*old, *new]}
    return [known.get(name, Figure(name, note="not measured")) for name in NAMES]


def table(figures: Sequence[Figure], machine: Mapping[str, str]) -> str:
    """Return the figures as Markdown, below a description of the machine."""
    lines = [f"- {key}: {value}" for key, value in machine.items()]
    lines += ["", "| | ours | peer | unit | times better | floor | share of the floor |"]
    lines += ["|---|---:|---:|---|---:|---:|---:|"]
    for figure in figures:
        share = "" if figure.share_of_floor is None else f"{100 * figure.share_of_floor:.0f} %"
        cells = [figure.name, _shown(figure.ours), _shown(figure.peer), figure.unit, _shown(figure.ratio)]
        lines.append("| " + " | ".join([*cells, _shown(figure.floor), share]) + " |")
    notes = [f"- {figure.name}: {figure.note}." for figure in figures if figure.note]
    return "\n".join([*lines, "", *notes, ""])


def file_stem(machine: Mapping[str, str]) -> str:
    """Return a name for the files of a machine, such as "amd-epyc-2-cores"."""
    return re.sub(r"[^a-z0-9]+", "-", f"{machine.get('GPU') or machine['CPU']} {machine['cores']} cores".lower())


def _short(value: object) -> object:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"

"""Where a mask prunes: per tensor, per layer, per stream."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lxmert_tickets.artifacts import replacing
from lxmert_tickets.pruning.masks import Mask

STREAMS = {"layer": "language", "r_layers": "vision", "x_layers": "cross"}


@dataclass(frozen=True)
class SparsityLine:
    """How much of one part of a network is pruned; `part` says what `name` is: tensor, layer, stream or total."""

    part: str
    name: str
    stream: str
    n_prunable: int
    n_pruned: int
    reaches_answer: bool

    @property
    def sparsity_percent(self) -> float:
        return 100 * self.n_pruned / self.n_prunable


def sparsity_report(mask: Mask, n_cross_layers: int) -> list[SparsityLine]:
    """Return a line for every tensor, layer and stream, and one for the total; parts of the same name are summed.

    `reaches_answer` is False for the vision branch of the last cross layer: the answer head reads the language [CLS],
    so these weights never get a gradient, and pruning them costs nothing. Magnitude pruning does not know that.
    """
    # The network's last layer, not the mask's: patterns may leave layers out.
    dead = f".x_layers.{n_cross_layers - 1}.visn_"
    tensors = [
        SparsityLine("tensor", name, stream_of(name), kept.size, int(kept.size - kept.sum()), dead not in name)
        for name, kept in sorted(mask.items())
    ]
    return [
        *tensors,
        *_sums("layer", [(layer_of(line.name), line) for line in tensors]),
        *_sums("stream", [(line.stream, line) for line in tensors]),
        *_sums("total", [("total", line) for line in tensors]),
    ]


def write_sparsity_report(path: str | Path, mask: Mask, n_cross_layers: int) -> None:
    """Write `sparsity_report(mask, n_cross_layers)` as CSV."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(
            ["part", "name", "stream", "n_prunable", "n_pruned", "n_kept", "sparsity_percent", "reaches_answer"]
        )
        for line in sparsity_report(mask, n_cross_layers):
            n_kept = line.n_prunable - line.n_pruned
            sparsity = f"{line.sparsity_percent:.4f}"
            writer.writerow(
                [line.part, line.name, line.stream, line.n_prunable, line.n_pruned, n_kept, sparsity,
                 line.reaches_answer]
            )  # fmt: skip


def stream_of(name: str) -> str:
    """Return language, vision, cross or pooler; "other" for a tensor outside the layers."""
    for part, stream in STREAMS.items():
        if f".encoder.{part}." in name:
            return stream
    return "pooler" if ".pooler." in name else "other"


def layer_of(name: str) -> str:
    """Return "language 0", "cross 4 vision", ...: the layer, and in a cross layer the branch."""
    stream = stream_of(name)
    found = re.search(r"\.(?:layer|r_layers|x_layers)\.(\d+)\.(\w+?)[_.]", name)
    if found is None:
        return stream
    branch = {"visual": "attention", "lang": "language", "visn": "vision"}.get(found[2], "")
    return f"{stream} {found[1]} {branch}".rstrip() if stream == "cross" else f"{stream} {found[1]}"


def _sums(part: str, named: Iterable[tuple[str, SparsityLine]]) -> list[SparsityLine]:
    groups: dict[str, list[SparsityLine]] = {}
    for name, line in named:
        groups.setdefault(name, []).append(line)
    return [
        SparsityLine(
            part,
            name,
            lines[0].stream if part != "total" else "all",
            sum(line.n_prunable for line in lines),
            sum(line.n_pruned for line in lines),
            any(line.reaches_answer for line in lines),
        )
        for name, lines in groups.items()
    ]

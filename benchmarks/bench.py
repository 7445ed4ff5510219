"""Measures everything side by side, and writes benchmarks/results/<machine>.json and .md.

    python -m benchmarks.bench [--only NAME …] [--demo] [--output FOLDER]

Takes seven to fifteen minutes on two idle cores; `--demo` also runs the whole demo, four to sixteen more. `--only`
keeps the other figures in the file. Each contender has its own process, contenders take turns, and the best of their
rounds counts.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import machine
from benchmarks.accuracy_scoring import accuracy
from benchmarks.contenders import PROJECT
from benchmarks.demo_run import demo
from benchmarks.feature_reading import read_features
from benchmarks.figures import NAMES, Figure, file_stem, from_json, merged, table
from benchmarks.mask_selection import mask_base
from benchmarks.networks import measure
from benchmarks.startup import startup
from lxmert_tickets.artifacts import write_text

IDLE_LOAD = 0.5

MEASURES: dict[str, Callable[[Path], Figure]] = {
    "train_scenes": partial(measure, "train", "scenes"),
    "train_base": partial(measure, "train", "base"),
    "evaluate_base": partial(measure, "evaluate", "base"),
    "mask_base": mask_base,
    "read_features": read_features,
    "accuracy": accuracy,
    "startup": startup,
    "demo": demo,
}


def main() -> None:
    args = _arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    described = machine.describe()
    load = os.getloadavg()[0]
    described["load before the run"] = f"{load:.1f}"
    if load > IDLE_LOAD:
        print(f"bench: load {load:.1f}; others compute here too, and the figures will be wrong", file=sys.stderr)
    path = args.output / f"{file_stem(described)}.json"
    old = [from_json(record) for record in json.loads(path.read_text())] if args.only and path.exists() else []
    names = args.only or [name for name in NAMES if name != "demo" or args.demo]
    measured: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="lxmert_tickets_bench") as folder:
        for name in names:
            started = time.perf_counter()
            measured.append(MEASURES[name](Path(folder)))
            write(path, merged(measured, old), described)  # after each, so that a later failure loses nothing
            print(f"{name}: measured in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    print(path.with_suffix(".md").read_text())


def write(path: Path, figures: list[Figure], described: dict[str, str]) -> None:
    """Write the figures as JSON to `path` and as Markdown beside it."""
    records = [json.dumps(figure.as_json(), ensure_ascii=False) for figure in figures]
    write_text(path, "[\n" + ",\n".join(records) + "\n]\n")
    write_text(path.with_suffix(".md"), table(figures, described))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=f"some of {', '.join(NAMES)}")
    parser.add_argument("--demo", action="store_true", help="run the whole demo as well: four to sixteen minutes")
    parser.add_argument("--output", type=Path, default=PROJECT / "benchmarks/results", help="folder of the results")
    return parser.parse_args()


if __name__ == "__main__":
    main()

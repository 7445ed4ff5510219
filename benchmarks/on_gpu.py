"""All that a GPU changes, in one command of a few minutes: writes benchmarks/results/<machine>-gpu.md.

    python -m benchmarks.on_gpu [--output FOLDER]

LXMERT base on random features and real question lengths, in bfloat16: a training step at batch 32 beside transformers'
Trainer, as a CUDA graph and without, without our kernels, deterministic, with features outside GPU memory, and at batch
256; answering; and one, two and three trainings at once on the GPU, at both sizes; then where a step's time goes, by
kernel. Every line is a process of its own.
"""

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contenders, machine
from benchmarks.contenders import PROJECT
from benchmarks.figures import file_stem, highest_rate
from benchmarks.made_up_data import sizes
from lxmert_tickets.artifacts import write_text
from lxmert_tickets.data.feature_workers import available_cores

VARIATIONS = ((), ("plain",), ("unfused",), ("deterministic",), ("streamed",), ("large",), ("large", "unfused"))
AT_ONCE = (1, 2, 3)
N_KERNELS = 30  # that are shown


@dataclass(frozen=True)
class Line:
    """What was measured: questions a second, of all processes together."""

    what: str
    rate: float
    ms_a_step: float | None = None
    gpu_gb: float | None = None


def measured(folder: Path) -> list[Line]:
    """Return all lines, most important first."""
    for name in sizes():
        contenders.run("made_up_data", "prepare", folder / name, name)
    base = folder / "base"
    lines = [_line("training, ours, batch 32", _run("own_engine", "train", base, "base"))]
    lines.append(_line("training, transformers' Trainer, batch 32", _run("peer_engine", "train", base, "base")))
    lines += [
        _line(f"training, ours, {' and '.join(how)}", _run("own_engine", "train", base, "base", *how))
        for how in VARIATIONS[1:]
    ]
    lines += [
        _line(f"answering, {whose}", _run(engine, "evaluate", base, "base"))
        for whose, engine in (("ours", "own_engine"), ("transformers", "peer_engine"))
    ]
    return lines + [at_once(folder / name, name, n) for name in sizes() for n in AT_ONCE]


def at_once(files: Path, name: str, n: int) -> Line:
    """Return what `n` trainings that run at once do together."""
    with ThreadPoolExecutor(n) as pool:
        rates = list(pool.map(lambda _: _run("own_engine", "train", files, name)["rate"], range(n)))
    return Line(f"{n} trainings of {name} at once", sum(rates))


def _run(module: str, work: str, files: Path, name: str, *variations: str) -> dict[str, float]:
    started = time.perf_counter()
    found = contenders.run(module, work, files, name, *variations, threads=sizes()[name].threads or available_cores())
    spoken = " ".join([module, work, name, *variations])
    print(
        f"{spoken}: {found['rate']:.4g} a second ({time.perf_counter() - started:.0f} s)", file=sys.stderr, flush=True
    )
    return found


def _line(what: str, found: dict[str, float]) -> Line:
    seconds, memory = found.get("step_seconds"), found.get("gpu_bytes")
    return Line(what, found["rate"], 1000 * seconds if seconds else None, memory / 1e9 if memory else None)


def report(lines: list[Line], described: dict[str, str], floors: dict[str, float]) -> str:
    """Return the lines as Markdown; `floors` are the rates of the matrix peak, by the word that a line begins with."""
    text = [f"- {key}: {value}" for key, value in described.items()]
    text += ["", "| | questions/s | ms a step | share of the floor | GPU memory |", "|---|---:|---:|---:|---:|"]
    for line in lines:
        floor = next((rate for work, rate in floors.items() if line.what.startswith(work)), None)
        cells = [
            line.what,
            f"{line.rate:,.4g}",
            f"{line.ms_a_step:.2f}" if line.ms_a_step else "",
            f"{100 * line.rate / floor:.0f} %" if floor else "",
            f"{line.gpu_gb:.1f} GB" if line.gpu_gb else "",
        ]
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join([*text, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PROJECT / "benchmarks/results", help="folder of the results")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    described = machine.describe()
    with tempfile.TemporaryDirectory(prefix="lxmert_tickets_gpu") as folder:
        lines = measured(Path(folder))
        *profile, _, _ = contenders.said_by("profile_step", "profile", Path(folder) / "base", "base", N_KERNELS)
        needed = contenders.run("needed_flops", "count", Path(folder) / "base", "base")
        peak = contenders.run("machine", "matrix_peak", threads=available_cores())["flops"]
    floors = {"training": highest_rate(peak, needed["train"]), "answering": highest_rate(peak, needed["evaluate"])}
    described["matrix peak"] = f"{peak / 1e12:.3g} TFLOP/s"
    text = "\n".join([report(lines, described, floors), *profile, ""])
    write_text(output / f"{file_stem(described)}-gpu.md", text)
    print(text)


if __name__ == "__main__":
    main()

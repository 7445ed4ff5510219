"""All that a GPU changes, in one command of at most eight minutes: writes benchmarks/results/<machine>-gpu.md.

    python -m benchmarks.on_gpu [--output FOLDER] [--minutes 8]

LXMERT base on random features and real question lengths, in bfloat16: a training step at batch 32 against
transformers' Trainer, with and without CUDA graphs, without our kernels, with nothing run concurrently, deterministic,
with features outside GPU memory, and at batch 256; answering; one, two and three trainings at once on the GPU, at both
sizes; where a step's time goes, by kernel; and the plain operators under torch.compile.

Every measurement runs in processes of its own. One that fails is listed with the reason, and one that would take longer
than the time left is stopped; the file is rewritten after each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import contenders, machine
from benchmarks.contenders import PROJECT
from benchmarks.figures import file_stem
from benchmarks.made_up_data import sizes
from benchmarks.own_engine import TOGETHER
from lxmert_tickets.artifacts import write_text
from lxmert_tickets.environment import VISIBLE, available_cores

VARIATIONS = (
    ("plain",), ("unfused",), ("in line",), ("large",), ("deterministic",), ("streamed",), ("large", "unfused"),
)  # fmt: skip
AT_ONCE = (1, 2, 3)
WORKERS = 4  # that load data for the Trainer, in one of its lines
N_KERNELS = 30  # shown in the table
PROFILE_SECONDS = 45  # reserved for profiling them


@dataclass(frozen=True)
class Line:
    """One measurement, in questions per second of all processes together, or why there is none."""

    what: str
    rate: float | None = None
    ms_a_step: float | None = None
    gpu_gb: float | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Clock:
    """The time left."""

    end: float

    def left(self) -> float:
        """Return the seconds left; raises TimeoutError when there are none."""
        seconds = self.end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds


Work = Callable[[Clock], Mapping[str, float]]


def works(folder: Path) -> Iterator[tuple[str, Work]]:
    """Yield each measurement with its name in the table, most important first."""
    base = folder / "base"
    yield "training, ours, batch 32", partial(_run, "own_engine", "train", base, ())
    trainer = "training, transformers' Trainer, batch 32"
    yield trainer, partial(_run, "peer_engine", "train", base, ())
    yield f"{trainer}, {WORKERS} workers", partial(_run, "peer_engine", "train", base, (str(WORKERS),))
    for how in VARIATIONS:
        yield f"training, ours, {' and '.join(how)}", partial(_run, "own_engine", "train", base, how)
    yield "answering, ours", partial(_run, "own_engine", "evaluate", base, ())
    yield "answering, transformers", partial(_run, "peer_engine", "evaluate", base, ())
    for name in sizes():
        for n in AT_ONCE:
            yield f"{n} trainings of {name} at once", partial(_at_once, n, folder / name)
    yield "training, ours, compiled", partial(_run, "own_engine", "train", base, ("compiled",))  # takes long


def _run(module: str, work: str, files: Path, variations: Sequence[str], clock: Clock) -> Mapping[str, float]:
    threads = 1 if module == "own_engine" else available_cores()  # as the rules give a training job
    return contenders.run(module, work, files, files.name, *variations, threads=threads, seconds=clock.left())


def _at_once(n: int, files: Path, clock: Clock) -> Mapping[str, float]:
    """Return the combined rate of `n` concurrent trainings, from the start of timing to the end of the last."""
    with ThreadPoolExecutor(n) as pool:
        every = list(pool.map(lambda _: _run("own_engine", "train", files, (f"{TOGETHER}{n}",), clock), range(n)))
    seconds = max(one["ended"] for one in every) - min(one["began"] for one in every)
    return {"rate": sum(one["rate"] * (one["ended"] - one["began"]) for one in every) / seconds}


def attempted(what: str, work: Work, clock: Clock) -> Line:
    """Return the line that `work` measures, or one with the reason why it failed."""
    started = time.monotonic()
    try:
        found = work(clock)
        seconds, memory = found.get("step_seconds"), found.get("gpu_bytes")
        line = Line(what, found["rate"], 1000 * seconds if seconds else None, memory / 1e9 if memory else None)
    except (TimeoutError, subprocess.TimeoutExpired):
        line = Line(what, why_not="the minutes were over")
    except subprocess.CalledProcessError as error:  # its whole output is on the terminal
        said = (error.stderr or "").strip().splitlines() or [f"exit status {error.returncode}"]
        line = Line(what, why_not=f"failed: {said[-1]}")
    spoken = line.why_not or f"{line.rate:.4g} a second"
    print(f"{what}: {spoken} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
    return line


def by_kernel(files: Path, clock: Clock) -> list[str]:
    """Return where a step's time goes, as lines of Markdown."""
    try:
        said = contenders.said_by("profile_step", "profile", files, files.name, N_KERNELS, seconds=clock.left())
    except (TimeoutError, subprocess.SubprocessError) as error:
        return [f"By kernel: not measured, {type(error).__name__}."]
    *lines, _, _ = said
    return lines


def report(measured: list[Line], described: dict[str, str], floors: dict[str, float]) -> str:
    """Return the lines as Markdown; `floors` are the rates at matrix peak, by the first word of a line."""
    text = [f"- {key}: {value}" for key, value in described.items()]
    text += ["", "| | questions/s | ms a step | share of the floor | GPU memory |", "|---|---:|---:|---:|---:|"]
    for line in measured:
        floor = next((rate for work, rate in floors.items() if line.what.startswith(work)), None)
        cells = [
            line.what,
            f"{line.rate:,.4g}" if line.rate else line.why_not.replace("|", " "),
            f"{line.ms_a_step:.2f}" if line.ms_a_step else "",
            f"{100 * line.rate / floor:.0f} %" if floor and line.rate else "",
            f"{line.gpu_gb:.1f} GB" if line.gpu_gb else "",
        ]
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join([*text, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PROJECT / "benchmarks/results", help="folder of the results")
    parser.add_argument("--minutes", type=float, default=8, help="that it may take")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    os.environ.setdefault(VISIBLE, "0")  # else the Trainer would use all GPUs
    described = machine.describe() | contenders.run("machine", "gpu")
    if "GPU" not in described:
        sys.exit("on_gpu: no GPU that CUDA can use; expected one of NVIDIA. `make bench` measures a CPU.")
    options.output.mkdir(parents=True, exist_ok=True)
    path, measured = options.output / f"{file_stem(described)}-gpu.md", []
    with tempfile.TemporaryDirectory(prefix="lxmert_tickets_gpu") as name:
        folder = Path(name)
        clock = Clock(end)
        for size in sizes():
            made = contenders.run("made_up_data", "prepare", folder / size, size, seconds=clock.left())
            of_real = "real" if made["real"] else "made up"
            described[f"questions of {size}"] = f"{of_real}, {made['mean_tokens']:.2f} tokens on average"
        needed = contenders.run("needed_flops", "count", folder / "base", "base", seconds=clock.left())
        peak = contenders.run("machine", "matrix_peak", threads=available_cores(), seconds=clock.left())["flops"]
        described["matrix peak"] = f"{peak / 1e12:.3g} TFLOP/s"
        floors = {"training": peak / needed["train"], "answering": peak / needed["evaluate"]}
        for what, work in works(folder):
            measured.append(attempted(what, work, Clock(end - PROFILE_SECONDS)))
            write_text(path, report(measured, described, floors))
        of_kernels = by_kernel(folder / "base", Clock(end))
    write_text(path, "\n".join([report(measured, described, floors), *of_kernels, ""]))
    print(path.read_text(encoding="utf-8"))
    if any(line.rate is None for line in measured):
        sys.exit("not all of it was measured")


if __name__ == "__main__":
    main()

"""Training and evaluation, ours against transformers with its Trainer, and what the machine would allow."""

from functools import cache
from pathlib import Path

from benchmarks import contenders
from benchmarks.contenders import largest
from benchmarks.figures import Figure
from benchmarks.made_up_data import sizes
from lxmert_tickets.environment import available_cores

ROUNDS = {"scenes": 3, "base": 2}
OURS, PEER, PEAK = "own_engine", "peer_engine", "machine"


def measure(work: str, size_name: str, folder: Path) -> Figure:
    """Return the best rate of each over several alternating rounds, and the rate that the matrix peak allows."""
    threads = sizes()[size_name].threads or available_cores()
    files = folder / size_name
    prepare(files, size_name)
    rates: dict[str, list[dict[str, float]]] = {OURS: [], PEER: [], PEAK: []}
    for _ in range(ROUNDS[size_name]):
        rates[OURS].append(contenders.run(OURS, work, files, size_name, threads=threads))
        rates[PEER].append(contenders.run(PEER, work, files, size_name, threads=threads))
        rates[PEAK].append(contenders.run(PEAK, "matrix_peak", threads=threads))
    peak = largest(rates[PEAK], "flops")
    needed = contenders.run("needed_flops", "count", files, size_name)[work]
    ours, peer = largest(rates[OURS], "rate"), largest(rates[PEER], "rate")
    note = (
        f"{threads} thread{'s' if threads > 1 else ''}; {needed / 1e9:.3g} GFLOP each, matrix peak "
        f"{peak / 1e9:.0f} GFLOP/s; rounds of ours {_listed(rates[OURS])}, of the peer's {_listed(rates[PEER])}"
    )
    if work == "train":
        note += f"; peak memory {largest(rates[OURS], 'peak_bytes') / 1e9:.1f} GB"
    return Figure(f"{work}_{size_name}", ours, peer, peak / needed, note)


@cache
def prepare(files: Path, size_name: str) -> None:
    """Write the inputs of both, once."""
    contenders.run("made_up_data", "prepare", files, size_name)


def _listed(found: list[dict[str, float]]) -> str:
    return ", ".join(f"{numbers['rate']:.4g}" for numbers in found)

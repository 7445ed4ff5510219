"""The state of every part of an experiment, read from its files alone, on any machine that sees them."""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lxmert_tickets.configuration.experiment import DENSE, PRETRAIN, Experiment
from lxmert_tickets.configuration.sources import DataFiles
from lxmert_tickets.jobs.finished import NAME as FINISHED
from lxmert_tickets.jobs.locks import holder_of
from lxmert_tickets.layout import Layout, lock_of_training
from lxmert_tickets.monitoring.job_logs import error_at_end
from lxmert_tickets.monitoring.local_processes import runs
from lxmert_tickets.monitoring.pulse import NAME, STALE_SECONDS, Pulse, read_pulse
from lxmert_tickets.progress import duration_text
from lxmert_tickets.report.names import GRID_RULES, shown_files

State = Literal["done", "running", "failed", "stopped", "trained", "waiting"]
"""trained: not scored yet. stopped: interrupted, and not known to be running anywhere."""

SHOWING_RULES = ("collect_results", "make_table", "draw_", "show_")
DRAWS_DATA = "draw_images."  # which draws data, not results
CHECKPOINT = re.compile(r"step(\d+)\..*safetensors")


@dataclass(frozen=True)
class Status:
    """The state of one network, or of something that all networks share (then without a seed)."""

    name: str  # such as dense, low_magnitude/s50, data
    seed: int | None
    state: State
    note: str = ""
    log: str = ""  # of the job that failed
    pulse: Pulse | None = None  # of a running job


@dataclass(frozen=True)
class Clock:
    """The time (seconds since 1970) and the machine of the observer."""

    now: float
    host: str


class Files:
    """Which files exist; each folder is listed once, however many of its files are asked for."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def has(self, path: str) -> bool:
        """Return whether there is a file at `path`."""
        folder, name = os.path.split(path)
        return name in self.names(folder)

    def names(self, folder: str) -> frozenset[str]:
        """Return the names in `folder`; none where there is no such folder.

        Raises OSError when it cannot be read: what is in it is not known to be missing.
        """
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = frozenset(entry.name for entry in entries)
            except (FileNotFoundError, NotADirectoryError):
                self._names[folder] = frozenset()
        return self._names[folder]


def statuses(experiment: Experiment, paths: Layout, data: DataFiles, clock: Clock) -> list[Status]:
    """Return all states: what all networks need, then the networks seed by seed, then what shows them."""
    files = Files()
    networks = [
        _network(experiment, paths, data, files, clock, seed, model)
        for seed in experiment.seeds
        for model in experiment.models()
    ]
    return [*_needed(experiment, paths, data, files, clock), *networks, _shown(experiment, paths, files)]


def _network(
    experiment: Experiment, paths: Layout, data: DataFiles, files: Files, clock: Clock, seed: int, model: str
) -> Status:
    def filled(path: str, split: str = "") -> str:
        return path.format(seed=seed, model=model, split=split)

    weights, trained = filled(paths.weights), [filled(paths.weights), filled(paths.history)]
    trained += [] if model == DENSE else [filled(paths.model_mask), filled(paths.model_sparsity)]
    status = Status(model, seed, "waiting")
    name, _, sparsity = model.partition("/s")
    values = [str(seed), *([name, sparsity] if sparsity else [])]
    if not all(map(files.has, trained)):
        before = [] if name == DENSE else [experiment.subnetworks[name].rule]
        rule = "finetune" if name == DENSE else "retrain"
        logs = [paths.log_of(rule, *values) for rule in (*before, rule)]
        return _training(status, weights, logs, files, clock)
    predictions = [filled(paths.predictions, split) for split in experiment.evaluated_splits]
    submissions = [filled(paths.submission, split) for split in experiment.splits.test]
    scores = [filled(paths.score, split) for split in data.scored_splits]
    # The wildcard {model} contains a slash, so the log's name does too.
    logs = [paths.log_of(rule, str(seed), model) for rule in ("predict", "score")]
    is_scored = all(map(files.has, (*submissions, *scores)))
    if not (is_scored and all(map(files.has, predictions))) and (failed := _failed(status, logs, files)):
        return failed
    # Predictions that were deleted are made again only when a job needs them.
    return replace(status, state="done") if is_scored else replace(status, state="trained", note="to be scored")


def _training(status: Status, weights: str, logs: Sequence[str], files: Files, clock: Clock) -> Status:
    """Return the state of a network that is not trained yet; `logs` are those of the jobs that lead to it."""
    lock = lock_of_training(weights)
    folder = lock.parent
    left = files.names(str(folder)) if files.has(str(folder)) else frozenset()
    pulse = read_pulse(folder / NAME) if NAME in left else None
    if pulse is not None and pulse.is_alive(clock.now, clock.host):
        return replace(status, state="running", pulse=pulse)
    if failed := _failed(status, logs, files):  # not of a restarted job: Snakemake has removed its log
        return failed
    if held := _held(status, lock, left, pulse, clock):
        return held
    return replace(status, state="stopped", note=_broken_off(folder, left, pulse)) if left else status


def _held(status: Status, lock: Path, left: Collection[str], pulse: Pulse | None, clock: Clock) -> Status | None:
    """Return the state of a training without a live pulse whose `lock` a process holds; None if none holds it.

    Whether a process on another host still exists cannot be known from here: it is trusted for as long as a pulse would
    be, and then doubted. Files newer than its lock mean that it was past its start: without a pulse, it is gone.
    """
    holder = holder_of(lock) if lock.name in left else None
    if holder is None:
        return None
    is_here = holder.host == clock.host
    newest = max(_written(lock.parent / name) for name in left)
    is_gone = not runs(holder.process, holder.since) if is_here else newest > holder.since
    if is_gone:
        return None
    if not is_here and clock.now - holder.since > STALE_SECONDS:
        return replace(status, state="stopped", note=f"{holder} is waiting for a GPU, or has died")
    note = "starting, waiting for a GPU, or ending"
    if pulse is not None and (pulse.process, pulse.host) == (holder.process, holder.host):
        note = f"silent for {duration_text(pulse.age(clock.now))}, at step {pulse.step} of {pulse.n_steps}"
    return replace(status, state="running", note=f"{note}, {holder}")


def _written(path: Path) -> float:
    """Return when the file was last written, in seconds since 1970; 0 if it is gone by now."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _broken_off(folder: Path, left: Collection[str], pulse: Pulse | None) -> str:
    """Return what will become of a stopped training, from the files that it `left` in its `folder`."""
    # The last one written: there may be others, of a configuration that is no longer asked for.
    steps = [(_written(folder / found[0]), int(found[1])) for found in map(CHECKPOINT.fullmatch, left) if found]
    last, step = max(steps, default=(0.0, 0))
    if FINISHED in left and _written(folder / FINISHED) >= last:
        return "trained after Snakemake had died; used when its job starts again"
    goes_on = f"resumes from step {step}" if steps else "starts over"
    lost = f"process {pulse.process} on {pulse.host} has died or is silent; " if pulse is not None else ""
    return f"{lost}{goes_on} when its job starts again"


def _failed(status: Status, logs: Sequence[str], files: Files) -> Status | None:
    for log in logs:
        if files.has(log) and (error := error_at_end(Path(log))):
            return replace(status, state="failed", note=error, log=log)
    return None


def _needed(experiment: Experiment, paths: Layout, data: DataFiles, files: Files, clock: Clock) -> Iterator[Status]:
    """Yield the states of data, pretrained weights and initial weights."""
    splits = [experiment.splits.train, *experiment.evaluated_splits]
    splits += [PRETRAIN] if experiment.data == "scenes" else []
    made = [*data.features_of(splits), *(paths.encoded_questions.format(split=split) for split in splits)]
    others = (*GRID_RULES, "pretrain.", "import_weights", "snapshot_initial_weights")
    names = [name for name in sorted(files.names(paths.log)) if not (_shows(name) or name.startswith(others))]
    logs = [f"{paths.log}/{name}" for name in names]
    yield _made(Status("data", None, "waiting"), made, logs, files)
    status = Status("pretrained", None, "waiting")
    logs = [paths.log_of("pretrain"), paths.log_of("import_weights")]
    is_made = files.has(paths.pretrained)
    yield replace(status, state="done") if is_made else _training(status, paths.pretrained, logs, files, clock)
    for seed in experiment.seeds:
        logs = [paths.log_of("snapshot_initial_weights", str(seed))]
        yield _made(Status("initial", seed, "waiting"), [paths.initial.format(seed=seed)], logs, files)


def _shown(experiment: Experiment, paths: Layout, files: Files) -> Status:
    logs = [f"{paths.log}/{name}" for name in sorted(files.names(paths.log)) if _shows(name)]
    return _made(Status("tables, figures", None, "waiting"), shown_files(experiment, paths), logs, files)


def _shows(log: str) -> bool:
    """Return whether the log of this name is that of a job that shows results."""
    return log.startswith(SHOWING_RULES) and not log.startswith(DRAWS_DATA)


def _made(status: Status, made: Sequence[str], logs: Sequence[str], files: Files) -> Status:
    if all(map(files.has, made)):
        return replace(status, state="done")
    return _failed(status, logs, files) or status

"""Checkpoints of a training run: all that its next step depends on, so that a resumed run ends in the same bytes.

A checkpoint is disposable. Only the run that wrote it may use it: same settings, inputs, code and versions.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lxmert_tickets.artifacts import Metadata, canonical_json, load_tensors, read_metadata, save_tensors
from lxmert_tickets.errors import FULL_DISK, ArtifactError
from lxmert_tickets.model.operators import arithmetic_of
from lxmert_tickets.training.optimizer import BertAdam
from lxmert_tickets.training.recipe import TRAINING_VERSION

KIND = "checkpoint"
GENERATIONS = 2  # the newest may be damaged
OTHER_RUNS = 2  # whose last checkpoints are kept until this run has ended
ARITHMETIC = "arithmetic"  # in the identity of a run
LARGEST_SHARE = 0.02  # of a run's time, spent on checkpoints: where writing is slow, they are less frequent

log = logging.getLogger("lxmert_tickets")


class Interrupted(Exception):  # noqa: N818 (nothing is wrong)
    """The process was asked to end; a checkpoint is on disk if it could be written."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after `step` steps."""

    step: int
    tensors: dict[str, Tensor]  # on the CPU
    facts: dict[str, Any]  # as JSON; floats come back bit for bit


class Resumable(Protocol):
    """A state that can be saved and resumed."""

    step: int

    def checkpoint(self) -> Checkpoint: ...


def network_tensors(network: nn.Module, optimizer: BertAdam) -> dict[str, Tensor]:
    """Return weights, the optimiser's tensors and the states of random number generators, on the CPU."""
    tensors = {f"weights/{name}": tensor for name, tensor in network.state_dict().items()} | optimizer.state()
    tensors["random/cpu"] = torch.get_rng_state()
    device = next(network.parameters()).device
    if device.type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(device)
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


def restore_network(network: nn.Module, optimizer: BertAdam, tensors: dict[str, Tensor]) -> None:
    """Restore `network`, `optimizer` and the random number generators to what `network_tensors` saved.

    Tensors are popped from `tensors`, so that their memory can be freed.
    """
    weights = {name: tensors.pop(f"weights/{name}") for name in list(network.state_dict())}
    network.load_state_dict(weights)
    optimizer.restore(tensors)
    torch.set_rng_state(tensors.pop("random/cpu"))
    device = next(network.parameters()).device
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors.pop("random/cuda"), device)


def run_identity(code: str, settings: Mapping[str, Any], origin: Metadata, device: torch.device) -> Metadata:
    """Return what determines the bytes of a run: a checkpoint of a run that differs in any of it is refused.

    The exception is ARITHMETIC, which only causes a warning: where a cluster has nodes of several kinds, no work should
    be lost over last digits. Of an input above a gigabyte, only the size and both ends count (`artifacts.provenance`).

    Args:
        code: `code_digest` of the workflow script, as it was when the process started.
        settings: recipe and the like, as JSON values.
        origin: `artifacts.provenance` of the run's result: rule, seed and digests of its inputs.
    """
    return {
        "rule": origin["rule"],
        "seed": origin["seed"],
        "inputs": origin["parents"],
        "settings": dict(settings),
        "training_version": TRAINING_VERSION,
        "code": code,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": device.type,
        "threads": torch.get_num_threads(),
        ARITHMETIC: arithmetic_of(device),
    }


class Checkpoints:
    """The checkpoints of one run in a folder: the newest, and the one before.

    The last of the last two other runs stay beside them: a slip in the configuration must not cost weeks of training.
    """

    def __init__(
        self,
        folder: Path,
        identity: Metadata,
        interval_seconds: float,
        asked_to_end: Callable[[], str] = lambda: "",
    ) -> None:
        """`asked_to_end` returns the name of the signal that asked the process to end, "" if none did."""
        self._folder, self._identity, self._asked_to_end = folder, identity, asked_to_end
        self._interval = interval_seconds
        self._next = time.monotonic() + interval_seconds
        self._kept: list[Path] = []  # files that this process wrote or used, the newest last
        lasting = {name: value for name, value in identity.items() if name != ARITHMETIC}
        self._run = hashlib.sha256(canonical_json(lasting).encode()).hexdigest()[:8]  # in the names of its files

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole and of this run; None where there is none.

        Raises OSError when a file cannot be opened: it may be whole, and the work in it is not to be done again.
        """
        own, others = self._files()
        for path in own:
            path.open("rb").close()
        for path in own or others[:1]:  # of others one, for the log to say what differs
            try:
                found = read_checkpoint(path, self._identity)
            except ArtifactError as error:
                log.warning("checkpoint not used: %s", error)
                continue
            self._kept = [path]
            log.info("resuming from step %d (%s)", found.step, path)
            return found
        return None

    def keep(self, state: Resumable) -> None:
        """Write `state` if a checkpoint is due.

        Raises Interrupted, with `state` on disk if it could be written, when the process was asked to end.
        """
        asked = self._asked_to_end()
        if not asked and time.monotonic() < self._next:
            return
        path = self._folder / f"step{state.step:010d}.{self._run}.safetensors"
        if path not in self._kept:
            self._write(path, state)
        if asked:
            raise Interrupted(
                f"received {asked}: the run stops after step {state.step}, and will resume from {self._place(path)}"
            )

    def _place(self, path: Path) -> str:
        """Return, in words, where the run will resume: "there" if `path` was written."""
        if not self._kept:
            return "its beginning"
        newest = self._kept[-1]
        return "there" if newest == path else f"step {int(newest.name.removeprefix('step').partition('.')[0])}"

    def _files(self) -> tuple[list[Path], list[Path]]:
        """Return the checkpoints of this run, the highest step first, and those of others, the last written first."""
        found = sorted(self._folder.glob("step*.safetensors"), reverse=True)
        own = [path for path in found if path.name.endswith(f".{self._run}.safetensors")]
        others = [path for path in found if path not in own]
        return own, sorted(others, key=lambda path: path.lstat().st_mtime, reverse=True)

    def _write(self, path: Path, state: Resumable) -> None:
        started = time.monotonic()
        try:
            write_checkpoint(path, state.checkpoint(), self._identity)
        except OSError as error:  # a full disk must not end weeks of training
            log.warning("no checkpoint at step %d: %s", state.step, error)
            if error.errno in FULL_DISK:  # make room for the next
                self._kept = self._kept[-1:]
                self._remove_others()
        else:
            self._kept = [*self._kept, path][-GENERATIONS:]
            self._remove_others()
            log.info("checkpoint at step %d, %.1f s", state.step, time.monotonic() - started)
        now = time.monotonic()
        self._next = now + max(self._interval, (now - started) / LARGEST_SHARE)

    def _remove_others(self) -> None:
        """Remove all checkpoints but those to keep: this run's, and the last of each of the last other runs."""
        with suppress(OSError):  # what stays is removed after the next one
            own, others = self._files()
            newest: dict[str, Path] = {}  # of each other run
            for other in others:
                newest.setdefault(other.name.partition(".")[2], other)
            kept = [*self._kept, *list(newest.values())[:OTHER_RUNS]]
            for old in {*own, *others} - set(kept):
                with suppress(OSError):
                    old.unlink()


def write_checkpoint(path: Path, checkpoint: Checkpoint, identity: Metadata) -> None:
    """Write a checkpoint of the run `identity`, whole or not at all."""
    arrays = {name: tensor.numpy() for name, tensor in checkpoint.tensors.items()}
    about = {"identity": identity, "step": checkpoint.step, "facts": checkpoint.facts}
    save_tensors(path, KIND, arrays, about | {"digest": _digest(arrays, about)})


def read_checkpoint(path: Path, identity: Metadata) -> Checkpoint:
    """Return the checkpoint at `path`.

    Raises ArtifactError when it is damaged, or of a run with another identity, saying what differs.
    """
    differing = differences(read_metadata(path).get("identity"), identity)
    grave = [line for line in differing if not line.startswith(ARITHMETIC)]
    if grave:
        raise ArtifactError(path, f"is of another run ({'; '.join(grave)})", "one of this run")
    arrays, about = load_tensors(path, KIND)
    digest, _ = about.pop("digest", None), about.pop("kind", None)
    if digest != _digest(arrays, about):
        raise ArtifactError(path, "damaged: its content is not what was written", "a whole checkpoint")
    if differing:
        log.warning("%s: %s: the result may differ in its last digits", path, "; ".join(differing))
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Checkpoint(about["step"], tensors, about["facts"])


def differences(found: Any, expected: Metadata) -> list[str]:
    """Return what differs, such as "settings.learning_rate was 0.1, is 0.2"."""
    before, now = _flat(found), _flat(expected)
    return [
        f"{key} was {before.get(key, 'not there')}, is {now.get(key, 'not there')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


def _flat(value: Any, place: str = "") -> dict[str, str]:
    if isinstance(value, Mapping):
        parts = [_flat(inner, f"{place}.{key}" if place else str(key)) for key, inner in value.items()]
        return {key: text for part in parts for key, text in part.items()}
    return {place: json.dumps(value)}


def _digest(arrays: Mapping[str, np.ndarray], about: Metadata) -> str:
    digest = hashlib.sha256(canonical_json(about).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()

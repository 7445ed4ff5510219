"""From a published checkpoint to the weights that a run of this workflow starts from."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lxmert_tickets.artifacts import Metadata, Tensors, file_digest
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.foreign import read_tensors
from lxmert_tickets.model.hub import check_config, fetch_checkpoint
from lxmert_tickets.model.pretrained_answers import UNMATCHED, mapped_head, match_answers
from lxmert_tickets.model.published import published_weights

SHOWN = 10  # unmatched answers named in the log

_log = logging.getLogger("lxmert_tickets")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine, and the provenance to record in artifacts made from it."""

    path: Path
    about: Metadata


def checkpoint_file(path: Path) -> Checkpoint:
    """Return a checkpoint that was downloaded, or that the user put in place."""
    return Checkpoint(path, {"file": path.name, "sha256": file_digest(path)})


def hub_checkpoint(repository: str, revision: str, architecture: Architecture) -> Checkpoint:
    """Return a checkpoint from the hub, downloaded unless cached, whose config.json fits `architecture`.

    Raises DataError as `fetch_checkpoint` and `check_config` do.
    """
    found = fetch_checkpoint(repository, revision)
    _log.info("%s at %s: commit %s, %s", repository, revision, found.commit, found.weights.name)
    check_config(found.config, architecture)
    about = {
        "repository": repository,
        "revision": revision,
        "commit": found.commit,
        "file": found.weights.name,
        "sha256": found.sha256,
    }
    return Checkpoint(found.weights, about)


def import_weights(
    checkpoint: Checkpoint,
    architecture: Architecture,
    answers: Sequence[str],
    pretraining_answers: Sequence[str] | None = None,
) -> tuple[Tensors, Metadata]:
    """Return the encoder's weights, and what to record about them.

    With `pretraining_answers`, the answer head is included, the rows of its final layer matched to `answers` by text.

    Raises DataError when the checkpoint does not fit `architecture`, or cannot be read.
    """
    stored = read_tensors(checkpoint.path)
    n_rows = None if pretraining_answers is None else len(pretraining_answers)
    published = published_weights(stored, architecture, n_pretraining_answers=n_rows, place=checkpoint.path)
    about: Metadata = {"checkpoint": checkpoint.about | {"stored_as": published.stored_as}}
    if pretraining_answers is None:
        return published.encoder, about
    rows = match_answers(answers, pretraining_answers)
    unmatched = [answer for answer, row in zip(answers, rows, strict=True) if row == UNMATCHED]
    n_matched = len(answers) - len(unmatched)
    _log.info("answer head: %d of %d answers start from a row of pretraining", n_matched, len(answers))
    if unmatched:
        _log.info("answer head: %d start from zeros, such as %s", len(unmatched), unmatched[:SHOWN])
    about["answers"] = {"matched": n_matched, "of": len(answers), "pretraining": len(pretraining_answers)}
    return published.encoder | mapped_head(published.answer_head, rows), about

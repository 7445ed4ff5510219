"""Keeps the results of a finished training until Snakemake has recorded them.

A training may outlive the Snakemake that started it, or be asked to stop just after it ended. The next Snakemake then
deletes its outputs and starts it again; so they are kept beside its checkpoints and put back. They are kept as hard
links, which take no space, or as copies on another disk. The first job that reads the outputs removes what is kept: it
only starts once Snakemake has recorded them.
"""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lxmert_tickets.artifacts import Metadata, canonical_json, file_digest, replacing, write_text

PREFIX = "finished."
NAME = "finished.json"  # the identity of the run and the digests of its results; it is written last

log = logging.getLogger("lxmert_tickets")


def keep_results(folder: Path, identity: Metadata, outputs: Sequence[Path]) -> bool:
    """Keep `outputs` of the run `identity` in `folder`; return whether that succeeded."""
    try:
        _remove_kept(folder)
        for output in outputs:
            _link_or_copy(output, _kept(folder, output))
        digests = {output.name: file_digest(_kept(folder, output)) for output in outputs}
        write_text(folder / NAME, canonical_json({"identity": identity, "digests": digests}))
    except OSError as error:
        log.warning("%s: results cannot be kept for the next Snakemake: %s", folder, error)
        with suppress(OSError):
            _remove_kept(folder)
        return False
    return True


def put_back_results(folder: Path, identity: Metadata, outputs: Sequence[Path]) -> bool:
    """Restore `outputs` from what `keep_results` kept of the run `identity`; return whether all of it was there.

    What is kept of another run, or damaged, is left until this one has results to keep.
    """
    kept = {output.name: _kept(folder, output) for output in outputs}
    try:
        about = json.loads((folder / NAME).read_text(encoding="utf-8"))
        # An output shares its bytes with the link, and may have been written to.
        found = {"identity": identity, "digests": {name: file_digest(path) for name, path in kept.items()}}
        if about != json.loads(canonical_json(found)):
            return False
        for output in outputs:
            with replacing(output) as temporary:
                _link_or_copy(kept[output.name], temporary)
                os.utime(temporary)  # newer than the job's inputs, which may have been remade
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        log.warning("%s: results of an earlier process cannot be used: %s", folder, error)
        return False
    return True


def kept_results(folder: Path) -> list[Path]:
    """Return the files that are kept in `folder`."""
    return list(folder.glob(f"{PREFIX}*"))


def forget_results(folder: Path) -> None:
    """Remove what `keep_results` kept, and the folder if it is then empty."""
    with suppress(OSError):  # a failure only costs disk space, once the results themselves are deleted
        _remove_kept(folder)
        folder.rmdir()


def _link_or_copy(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # another disk, one without links, or somebody else's file
        shutil.copyfile(path, to)


def _remove_kept(folder: Path) -> None:
    for path in kept_results(folder):
        path.unlink(missing_ok=True)


def _kept(folder: Path, output: Path) -> Path:
    return folder / f"{PREFIX}{output.name}"

"""Results of a training that has ended, until Snakemake is known to have them.

A training may outlive the Snakemake that started it, or be told to end when it just has. The next Snakemake then
deletes its outputs and starts it again: they are linked from beside its checkpoints, where they take no room, and are
put back. The first job that reads them removes the links, since it is not started before Snakemake has noted them.
"""

import json
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lxmert_tickets.artifacts import Metadata, canonical_json, replacing, write_text

PREFIX = "finished."
NAME = "finished.json"  # the identity of the run; it is written last

log = logging.getLogger("lxmert_tickets")


def keep_results(folder: Path, identity: Metadata, outputs: Iterable[Path]) -> None:
    """Link `outputs` of the run `identity` into `folder`, unless it is on another disk, or on one without links."""
    try:
        _remove_links(folder)
        for output in outputs:
            os.link(output, _link(folder, output))
        write_text(folder / NAME, canonical_json(identity))
    except OSError as error:
        log.debug("%s: results cannot be linked: %s", folder, error)
        with suppress(OSError):
            _remove_links(folder)


def kept_results(folder: Path) -> list[Path]:
    """Return the files that are kept in `folder`."""
    return list(folder.glob(f"{PREFIX}*"))


def put_back_results(folder: Path, identity: Metadata, outputs: Iterable[Path]) -> bool:
    """Put in place of `outputs` what `keep_results` kept of the run `identity`; return whether it had kept anything."""
    links = {output: _link(folder, output) for output in outputs}
    try:
        found = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if found != json.loads(canonical_json(identity)) or not all(link.exists() for link in links.values()):
        return False
    for output, link in links.items():
        with replacing(output) as temporary:
            os.link(link, temporary)
            os.utime(temporary)  # newer than what the job reads, which may have been made again
    return True


def forget_results(folder: Path) -> None:
    """Remove what `keep_results` kept, and the folder where there is nothing else."""
    with suppress(OSError):  # it costs no more than room on the disk, once the results themselves are deleted
        _remove_links(folder)
        folder.rmdir()


def _remove_links(folder: Path) -> None:
    for link in kept_results(folder):
        link.unlink(missing_ok=True)


def _link(folder: Path, output: Path) -> Path:
    return folder / f"{PREFIX}{output.name}"

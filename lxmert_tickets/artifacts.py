"""Files that are complete or absent, and that record where they came from.

Tensors are stored as safetensors with all metadata as sorted JSON under one key, so that equal content gives
equal bytes. Nothing here is pickled. Every file is written in a temporary folder beside its destination, flushed to
disk and renamed.
"""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lxmert_tickets.errors import FULL_DISK, ArtifactError, raise_if_of_the_disk
from lxmert_tickets.layout import name_in_workflow

METADATA_KEY = "lxmert_tickets"
LARGE_BYTES = 1 << 30
END_BYTES = 1 << 20
TORN_SECONDS = 24 * 60 * 60
"""No write takes this long: anything older was left by a killed writer."""
REMAKE = "Delete it and run snakemake again: it will be rebuilt from its inputs."

Tensors = dict[str, np.ndarray]
Metadata = dict[str, Any]


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path of the same name; on success it replaces `path`, on any failure it is removed.

    It is in its own folder beside `path`, as are temporary files of the library that writes it. What a killed writer
    left is removed by the next writer at least a day later, or by `remove_torn`.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    remove_torn(final.parent, final.name, TORN_SECONDS)
    folder = final.with_name(f".{final.name}.{uuid.uuid4().hex}.tmp")  # process numbers repeat across machines
    try:
        folder.mkdir()
        yield folder / final.name
        put_in_place(folder / final.name, final)
    except OSError as error:
        is_nameless = error.filename is None and error.errno in FULL_DISK
        if is_nameless or str(error.filename).startswith(str(folder)):
            error.filename = str(final)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_torn(folder: Path, name: str = "", older_than_seconds: float = 0) -> None:
    """Remove what killed writers left in `folder`, for the file `name` or for all files."""
    for torn in folder.glob(f".{glob.escape(name) or '*'}.*.tmp"):
        with suppress(OSError):  # just removed by its writer or another process
            if time.time() - torn.stat().st_mtime >= older_than_seconds:
                shutil.rmtree(torn) if torn.is_dir() else torn.unlink()


def put_in_place(temporary: Path, final: Path) -> None:
    """Rename `temporary` to `final` on the same disk; from then on the complete file survives a power cut."""
    _flush(temporary, os.O_RDWR)
    temporary.replace(final)
    _flush(final.parent, os.O_RDONLY)  # the new name


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 `text` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys: equal values give equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as sorted, indented JSON, whole or not at all."""
    write_text(path, indented_json(value))


def indented_json(value: Any) -> str:
    """Return `value` as sorted, indented JSON, and a newline."""
    # The bytes of `json.dumps(indent=1)`, whose indenting is slow, in a third of the time.
    return msgspec.json.format(canonical_json(value), indent=1) + "\n"


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def input_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file or, above LARGE_BYTES, of its size and both ends, marked as such.

    Hashing 18 GB of features would cost every job that reads them a minute. Their own provenance is in their metadata,
    at the beginning.
    """
    size = Path(path).stat().st_size
    if size <= LARGE_BYTES:
        return file_digest(path)
    with open(path, "rb") as handle:
        first = handle.read(END_BYTES)
        handle.seek(-END_BYTES, os.SEEK_END)
        return "ends-sha256:" + hashlib.sha256(b"%d" % size + first + handle.read()).hexdigest()


def provenance(rule: str, spec: str, seed: int | None, parents: Iterable[str | Path]) -> Metadata:
    """Return where an artifact comes from: rule, digest of the settings that made it, seed, digests of its inputs."""
    return {
        "rule": rule,
        "spec": hashlib.sha256(spec.encode()).hexdigest(),
        "seed": seed,
        "parents": {name_in_workflow(parent): input_digest(parent) for parent in parents},
    }


def save_tensors(path: str | Path, kind: str, tensors: Mapping[str, np.ndarray], metadata: Metadata) -> None:
    """Write `tensors` as safetensors of `kind` ("weights", "mask", ...), with `metadata` under one sorted key.

    Raises OSError when they cannot be written, as other writers do: safetensors only words it.
    """
    about = canonical_json({**metadata, "kind": kind})
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata={METADATA_KEY: about})
        except SafetensorError as error:
            told = re.search(r"\(os error (\d+)\)", str(error))
            number, words = (int(told[1]), os.strerror(int(told[1]))) if told else (errno.EIO, str(error))
            raise OSError(number, words, str(temporary)) from None
        # safetensors makes files private; the folder was created with the user's umask.
        temporary.chmod(temporary.parent.stat().st_mode & 0o666)


def check_can_be_opened(path: str | Path, expected: str) -> None:
    """Raise ArtifactError when `path` is missing or this user may not read it: libraries report that as damage."""
    try:
        open(path, "rb").close()
    except FileNotFoundError:
        raise ArtifactError(path, "no such file", expected) from None
    except OSError as error:
        raise ArtifactError(path, f"cannot be read ({error.strerror})", "a file that this user can read") from None


def read_metadata(path: str | Path) -> Metadata:
    """Return the metadata of a safetensors artifact; {} for a file from elsewhere, such as a hub checkpoint.

    Raises ArtifactError when the file is missing, truncated or not safetensors at all.
    """
    with _opened(path) as handle:
        text = (handle.metadata() or {}).get(METADATA_KEY, "{}")
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise ArtifactError(path, f"damaged metadata ({error})", "a JSON object", REMAKE) from None


MAPPED_BYTES = 2**27
"""Read per mapping of a file: while a mapping lasts, mapped pages and their copies are both in memory."""


def load_tensors(path: str | Path, kind: str) -> tuple[Tensors, Metadata]:
    """Return the tensors of an artifact of `kind`, and its metadata.

    Raises ArtifactError when the file is missing, truncated, or an artifact of another kind.
    """
    metadata = read_metadata(path)
    if metadata.get("kind", kind) != kind:
        raise ArtifactError(path, f"is a {metadata['kind']} file", f"a {kind} file")
    with _opened(path) as handle:
        names = sorted(handle.keys())
    tensors: Tensors = {}
    while len(tensors) < len(names):
        before = len(tensors)
        with _opened(path) as handle:
            for name in names[before:]:
                try:
                    tensors[name] = handle.get_tensor(name)
                except TypeError as error:  # numpy has no bfloat16
                    raise ArtifactError(path, f"cannot be read ({error})", f"a {kind} file of this workflow") from None
                if sum(tensors[read].nbytes for read in names[before : len(tensors)]) > MAPPED_BYTES:
                    break
    return tensors, metadata


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    check_can_be_opened(path, "a safetensors file")
    try:
        with safe_open(path, framework="numpy") as handle:
            yield handle
    except (SafetensorError, OSError) as error:
        raise_if_of_the_disk(error, path)
        raise ArtifactError(path, f"damaged or truncated ({error})", "a complete safetensors file", REMAKE) from None

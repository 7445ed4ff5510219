"""A published checkpoint from the Hugging Face hub.

`huggingface_hub` handles the cache, resumed downloads, retries, tokens, offline mode and mirrors, and reads its usual
variables: HF_HOME, HF_TOKEN, HF_HUB_OFFLINE, HF_ENDPOINT; and HF_HUB_DISABLE_XET, for a mirror that forwards the hub's
Xet headers but not its storage. This module adds one commit for all files, a check of the weights' digest against the
hub's, and errors that say what to do.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from huggingface_hub import constants, get_token, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from lxmert_tickets.artifacts import file_digest
from lxmert_tickets.data.json_files import read_json
from lxmert_tickets.errors import DataError
from lxmert_tickets.model.architecture import TRANSFORMERS_NAMES, Architecture

CONFIG = "config.json"
PREFERRED_WEIGHTS, OTHER_WEIGHTS = "model.safetensors", "pytorch_model.bin"

FIXED = {"model_type": "lxmert", "hidden_act": "gelu", "type_vocab_size": 2, "visual_pos_dim": 4}

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SECRETS_IN_URLS = re.compile(r"(?<=://)[^/\s@]+@|\?[^\s'\"]+=[^\s'\")]*")
_TOKENS = re.compile(r"\b(?:hf|api_org)_\w{6,}")


@dataclass(frozen=True)
class HubCheckpoint:
    """Files of one commit in the hub's cache, and the SHA-256 of the weights."""

    weights: Path
    config: Path
    commit: str
    sha256: str


def fetch_checkpoint(
    repository: str, revision: str, *, endpoint: str | None = None, cache: str | Path | None = None
) -> HubCheckpoint:
    """Return the checkpoint of a hub repository at `revision` (branch, tag or commit), downloaded unless cached.

    Weights are model.safetensors if the repository has it, else pytorch_model.bin. A branch is resolved once, so that
    all files are of one commit. `endpoint` and `cache` default to the library's settings.

    Raises DataError when a file cannot be fetched, or the cached weights are not those of the hub.
    """

    def fetch(file: str, at: str) -> Path:
        return Path(hf_hub_download(repository, file, revision=at, endpoint=endpoint, cache_dir=cache))

    try:
        config = fetch(CONFIG, revision)
        commit = config.parent.name  # the cache has a folder for each commit
        weights = _fetch_weights(lambda file: fetch(file, commit))
    except Exception as error:  # the library's errors, its HTTP client's and the disk's have no common base
        raise _explained(error, repository, revision, endpoint) from None
    return HubCheckpoint(weights, config, commit, _checked_digest(weights))


def check_config(path: str | Path, architecture: Architecture) -> None:
    """Raise DataError, naming every difference, unless a hub's config.json describes `architecture`.

    A missing size is the published base network's. The number of heads shows in no tensor's shape: only this check
    tells a network of 8 heads from one of 12.
    """
    config = read_json(path, dict[str, Any], "the config.json of an LXMERT")
    wanted = msgspec.structs.asdict(architecture)
    base = msgspec.structs.asdict(Architecture(n_answers=architecture.n_answers))
    expected = {key: (base[size], wanted[size]) for key, size in TRANSFORMERS_NAMES.items()}
    expected |= {key: (value, value) for key, value in FIXED.items()}
    wrong = [
        f"{key} is {config.get(key, default)!r}, not {value!r}"
        for key, (default, value) in expected.items()
        if config.get(key, default) != value
    ]
    if wrong:
        raise DataError(
            path, "; ".join(wrong), "the sizes of the model section of the configuration",
            "Set the model section to the checkpoint's sizes, or name another checkpoint.",
        )  # fmt: skip


def _fetch_weights(fetch: Callable[[str], Path]) -> Path:
    try:
        return fetch(PREFERRED_WEIGHTS)
    except EntryNotFoundError:  # not in the repository; or not in the cache, and the hub is out of reach
        return fetch(OTHER_WEIGHTS)


def _checked_digest(weights: Path) -> str:
    """Return the SHA-256 of cached weights, after comparing it with the hub's.

    The library compares sizes only. Its cache links to a file named after the hub's ETag, which for files kept outside
    git is their SHA-256; that file may itself be a link, to a store shared by several repositories.
    """
    digest = file_digest(weights)
    etag = weights.readlink().name if weights.is_symlink() else ""
    if _SHA256.fullmatch(etag) and etag != digest:
        raise DataError(
            weights.resolve(), f"SHA-256 is {digest}", f"{etag}, as the hub has it",
            "The download or the disk is damaged: delete this file and run again.",
        )  # fmt: skip
    return digest


def _explained(error: Exception, repository: str, revision: str, endpoint: str | None) -> DataError:
    """Return an error that says what the user can do about the library's, without tokens or signatures of URLs."""
    if constants.is_offline_mode() and isinstance(error, LocalEntryNotFoundError):
        found = "is not in the cache, and HF_HUB_OFFLINE forbids the network"
        remedy = "Unset HF_HUB_OFFLINE once, with a network."
    else:
        # After any other failure, too, the library reports an empty cache, with that failure as the cause.
        lacks = isinstance(error, LocalEntryNotFoundError)
        found, remedy = _found_and_remedy((error.__cause__ if lacks else None) or error)
    command = f"hf download {repository} {CONFIG} {OTHER_WEIGHTS} --revision {revision}"
    by_hand = (
        f"Or fetch it elsewhere ({command}) and copy that machine's cache (HF_HOME) to this one; or put "
        f"{OTHER_WEIGHTS} where the original checkpoint belongs, with weights.source: original in the configuration."
    )
    place = f"{repository} at {revision} ({without_secrets(endpoint or constants.ENDPOINT)})"
    expected = f"{CONFIG}, and {PREFERRED_WEIGHTS} or {OTHER_WEIGHTS}"
    return DataError(place, found, expected, f"{remedy} {by_hand}")


def _found_and_remedy(error: BaseException) -> tuple[str, str]:
    access = "Check the repository's name; if it is private or gated, run hf auth login or set HF_TOKEN."
    mirror = "or set HF_ENDPOINT to a mirror."
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        for kind, found, remedy in (
            (GatedRepoError, "its owner must grant access first", access),
            (RepositoryNotFoundError, "no such repository, or no permission to read it", access),
            (RevisionNotFoundError, "no such revision", "Name a branch, a tag or a commit that exists."),
            (EntryNotFoundError, "a file is missing", "Check that the repository is an LXMERT's."),
        ):
            if isinstance(error, kind):
                return f"{found} ({status})", remedy
        if status in {401, 403}:
            return f"access is refused ({status})", "Check HF_TOKEN: a wrong token is refused where none would do."
        return f"the hub answers {status}", f"Try again later, {mirror}"
    if isinstance(error, FileMetadataError):
        return "what answers there is not a hub", "Check HF_ENDPOINT, and that no proxy or login page is in between."
    detail = without_secrets(str(error).partition("\n")[0]) or "no details"
    return f"cannot be fetched ({type(error).__name__}: {detail})", f"Check network, proxy and free disk, {mirror}"


def without_secrets(text: str) -> str:
    """Return `text` without tokens, and without the passwords and signatures in its URLs."""
    token = get_token()
    if token:
        text = text.replace(token, "…")
    return _SECRETS_IN_URLS.sub("", _TOKENS.sub("…", text))

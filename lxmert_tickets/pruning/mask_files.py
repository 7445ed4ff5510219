"""Masks as files: one bit per weight, checked when read."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from lxmert_tickets.artifacts import REMAKE, Metadata, load_tensors, save_tensors
from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.pruning.masks import Mask, n_kept, n_prunable

KIND = "mask"


class _Described(msgspec.Struct):
    """What the metadata says about a tensor."""

    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    n_kept: int


def save_mask(path: str | Path, mask: Mask, provenance: Metadata) -> None:
    """Write `mask`, eight weights per byte in element order, with shapes and counts in the metadata."""
    metadata = {
        "tensors": {
            name: {"shape": list(kept.shape), "n_kept": int(np.count_nonzero(kept))} for name, kept in mask.items()
        },
        "n_prunable": n_prunable(mask),
        "n_kept": n_kept(mask),
        "provenance": provenance,
    }
    save_tensors(path, KIND, {name: np.packbits(kept) for name, kept in mask.items()}, metadata)


def load_mask(path: str | Path) -> Mask:
    """Return the mask in `path`, its tensors in alphabetical order.

    Raises ArtifactError when the file is damaged or not a mask, or its bits disagree with its counts.
    """
    packed, metadata = load_tensors(path, KIND)
    try:
        described = msgspec.convert(metadata.get("tensors"), dict[str, _Described])
    except msgspec.ValidationError:
        described = {}
    if packed.keys() != described.keys():
        raise ArtifactError(path, "no description of its tensors", "a mask written by this workflow", REMAKE)
    return {name: _unpack(f"{path}, {name}", packed[name], described[name]) for name in sorted(packed)}


def _unpack(place: str, packed: np.ndarray, described: _Described) -> np.ndarray:
    shape, n_kept = described.shape, described.n_kept
    n_weights = math.prod(shape)
    if packed.dtype != np.uint8 or packed.size != (n_weights + 7) // 8:
        raise ArtifactError(place, f"{packed.size} bytes", f"{(n_weights + 7) // 8} for {shape}", REMAKE)
    bits = np.unpackbits(packed, count=n_weights)
    if int(np.count_nonzero(bits)) != n_kept:
        raise ArtifactError(place, f"{np.count_nonzero(bits)} weights kept", f"{n_kept}", REMAKE)
    return bits.view(bool).reshape(shape)


def check_fits(mask: Mask, weights: Mapping[str, np.ndarray], mask_path: str | Path, weights_path: str | Path) -> None:
    """Raise ArtifactError unless every tensor of `mask` has the name and shape of one in `weights`."""
    for name, kept in mask.items():
        found = tuple(weights[name].shape) if name in weights else None
        if found != kept.shape:
            raise ArtifactError(
                mask_path,
                f"is for another network: {name} has shape {kept.shape}",
                f"{'no such tensor' if found is None else found}, as in {weights_path}",
                "Use a mask that was made from weights of this architecture.",
            )


def check_only_removes(mask: Mask, previous: Mask, mask_path: str | Path, previous_path: str | Path) -> None:
    """Raise ArtifactError when `mask` keeps a weight that `previous` pruned, or covers other tensors."""
    if mask.keys() != previous.keys():
        name = min(mask.keys() ^ previous.keys())
        raise ArtifactError(mask_path, f"masks other tensors, such as {name}", f"those of {previous_path}", REMAKE)
    for name, kept in mask.items():
        revived = int(np.count_nonzero(kept & ~previous[name]))
        if revived:
            raise ArtifactError(
                mask_path, f"revives {revived} weights of {name}", f"only weights that {previous_path} keeps", REMAKE
            )

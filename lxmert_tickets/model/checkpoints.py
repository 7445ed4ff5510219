"""Weights as files: safetensors under the public parameter names, with the architecture that they belong to."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from lxmert_tickets.artifacts import REMAKE, Metadata, Tensors, load_tensors, save_tensors
from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.model.architecture import Architecture

KIND = "weights"


def save_weights(
    path: str | Path, weights: Mapping[str, np.ndarray], architecture: Architecture, provenance: Metadata
) -> None:
    """Write float32 weights; `transformers.LxmertForQuestionAnswering` of the same sizes loads them."""
    metadata = {"architecture": msgspec.structs.asdict(architecture), "provenance": provenance}
    save_tensors(path, KIND, weights, metadata)


def load_weights(path: str | Path) -> tuple[Tensors, Architecture]:
    """Return weights and the architecture that they belong to.

    Raises ArtifactError when the file is damaged, or was not written by this workflow.
    """
    weights, metadata = load_tensors(path, KIND)
    try:
        architecture = msgspec.convert(metadata.get("architecture"), Architecture)
    except msgspec.ValidationError as error:
        raise ArtifactError(
            path, f"not an architecture ({error})", "weights written by this workflow", REMAKE
        ) from None
    return weights, architecture

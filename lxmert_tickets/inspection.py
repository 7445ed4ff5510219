"""What any file of an experiment is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lxmert_tickets.artifacts import load_tensors, read_metadata
from lxmert_tickets.data.features import open_features
from lxmert_tickets.data.questions import load_questions
from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.evaluation.predictions import load_predictions
from lxmert_tickets.pruning.mask_files import load_mask
from lxmert_tickets.pruning.masks import n_kept, n_prunable
from lxmert_tickets.pruning.prunable import PAPER, prunable_names


def inspect_file(path: str | Path) -> dict[str, Any]:
    """Return what the artifact in `path` is, as plain JSON values; always with "kind" and "provenance".

    A mask tells n_prunable, n_kept and sparsity (pruned / prunable), in all and per tensor; weights tell their tensors
    and the zeros among the prunable ones.

    Raises ArtifactError when the file is damaged or nothing that this workflow writes.
    """
    suffix = Path(path).suffix
    if suffix not in INSPECTORS:
        raise ArtifactError(path, f"a {suffix or 'nameless'} file", f"one of {', '.join(INSPECTORS)}")
    return INSPECTORS[suffix](Path(path))


def _safetensors(path: Path) -> dict[str, Any]:
    metadata = read_metadata(path)
    about = _mask(path) if metadata.get("kind") == "mask" else _weights(path)
    return about | {"provenance": metadata.get("provenance")}


def _mask(path: Path) -> dict[str, Any]:
    mask = load_mask(path)
    return {
        "kind": "mask",
        "n_prunable": n_prunable(mask),
        "n_kept": n_kept(mask),
        "sparsity": 1 - n_kept(mask) / n_prunable(mask),
        "tensors": {
            name: {
                "shape": list(kept.shape),
                "n_prunable": kept.size,
                "n_kept": int(kept.sum()),
                "sparsity": 1 - float(kept.mean()),
            }
            for name, kept in mask.items()
        },
    }


def _weights(path: Path) -> dict[str, Any]:
    weights, metadata = load_tensors(path, "weights")
    names = prunable_names(weights, [pattern for pattern in PAPER if _matches_any(pattern, weights)])
    n_weights = sum(weights[name].size for name in names)
    zeros = {name: int(weights[name].size - np.count_nonzero(weights[name])) for name in names}
    return {
        "kind": "weights",
        "architecture": metadata.get("architecture"),
        "n_parameters": sum(tensor.size for tensor in weights.values()),
        "n_prunable": n_weights,
        "n_zeros_among_prunable": sum(zeros.values()),
        "sparsity": sum(zeros.values()) / n_weights if n_weights else 0.0,
        "tensors": {
            name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype)}
            | ({"n_zeros": zeros[name]} if name in zeros else {})
            for name, tensor in weights.items()
        },
    }


def _matches_any(pattern: str, weights: dict[str, np.ndarray]) -> bool:
    stem = pattern.split("*", maxsplit=1)[0]
    return any(name.startswith(stem) for name in weights)


def _hdf5(path: Path) -> dict[str, Any]:
    try:
        features = open_features(path)
    except ArtifactError:
        questions = load_questions(path)
        return {
            "kind": "questions",
            "n_questions": len(questions),
            "n_answers": questions.n_answers,
            "longest": int(questions.length.max()),
            "labelled": questions.labelled,
            "provenance": questions.metadata.get("provenance"),
        }
    n_images, regions, dim = features.features.shape
    return {
        "kind": "features",
        "n_images": n_images,
        "regions": regions,
        "feature_dim": dim,
        "dtype": str(features.features.dtype),
        "provenance": features.metadata.get("provenance"),
    }


def _predictions(path: Path) -> dict[str, Any]:
    predictions, metadata = load_predictions(path)
    return {"kind": "predictions", "n_questions": len(predictions.answers), "provenance": metadata.get("provenance")}


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(path, f"cannot be read ({error})", "JSON") from None
    if isinstance(content, list):
        return {"kind": "submission", "n_questions": len(content), "provenance": None}
    kind = next((kind for key, kind in JSON_KINDS.items() if key in content), "json")
    shown = {key: value for key, value in content.items() if not isinstance(value, dict | list)}
    return {"kind": kind, **shown, "provenance": content.get("provenance")}


# The key that tells what a JSON file is.
JSON_KINDS = {
    "per_question_type": "score",
    "answers": "answers",
    "questions": "vqa questions",
    "annotations": "vqa annotations",
}
INSPECTORS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".safetensors": _safetensors,
    ".h5": _hdf5,
    ".parquet": _predictions,
    ".json": _json,
}

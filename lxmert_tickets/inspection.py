"""What any file of an experiment is."""

import json
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from lxmert_tickets.artifacts import load_tensors, provenance, read_metadata
from lxmert_tickets.data import features, hdf5, questions
from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.evaluation.predictions import load_predictions
from lxmert_tickets.pruning.mask_files import KIND as MASK
from lxmert_tickets.pruning.mask_files import load_mask
from lxmert_tickets.pruning.masks import n_kept, n_prunable
from lxmert_tickets.pruning.prunable import PAPER

MASK_NAME = "mask.safetensors"
OF_NO_SETTINGS = provenance("", "", None, ())["spec"]  # of files that depend on their inputs alone


def inspect_file(path: str | Path) -> dict[str, Any]:
    """Return what the artifact in `path` is, as plain JSON values; always with "kind" and "provenance".

    A mask gives n_prunable, n_kept and sparsity (pruned / prunable), in total and per tensor; weights their tensors and
    the zeros among the prunable ones: those of the mask beside them, if there is one, else the paper's.

    Raises ArtifactError when the file is missing, damaged or not one of this workflow.
    """
    file = Path(path)
    if not file.is_file():
        raise ArtifactError(path, _other_than_file(file), "a file of an experiment")
    if file.suffix not in INSPECTORS:
        kind = f"a {file.suffix} file" if file.suffix else "a file without a suffix"
        raise ArtifactError(path, f"is {kind}", f"one of {', '.join(INSPECTORS)}")
    about = INSPECTORS[file.suffix](file)
    origin = about["provenance"]
    if isinstance(origin, dict) and origin.get("spec") == OF_NO_SETTINGS:
        about["provenance"] = origin | {"spec": None}
    return about


def _other_than_file(path: Path) -> str:
    if path.exists():
        return "is a folder" if path.is_dir() else "is a device or a pipe"
    return "is a broken link" if path.is_symlink() else "no such file"


def _safetensors(path: Path) -> dict[str, Any]:
    metadata = read_metadata(path)
    about = _mask(path) if metadata.get("kind") == MASK else _weights(path)
    return about | {"provenance": metadata.get("provenance")}


def _mask(path: Path) -> dict[str, Any]:
    mask = load_mask(path)
    return {
        "kind": MASK,
        **_counts(n_prunable(mask), n_kept(mask)),
        "tensors": {
            name: {"shape": list(kept.shape)} | _counts(kept.size, int(np.count_nonzero(kept)))
            for name, kept in mask.items()
        },
    }


def _counts(n_weights: int, n_left: int) -> dict[str, Any]:
    sparsity = (n_weights - n_left) / n_weights if n_weights else 0.0
    return {"n_prunable": n_weights, "n_kept": n_left, "sparsity": sparsity}


def _weights(path: Path) -> dict[str, Any]:
    weights, metadata = load_tensors(path, "weights")
    names = weights.keys() & _masked_beside(path)
    names = names or {name for name, tensor in weights.items() if _is_prunable(name, tensor)}
    prunable = [weights[name] for name in names]
    n_weights = sum(tensor.size for tensor in prunable)
    n_zeros = n_weights - sum(int(np.count_nonzero(tensor)) for tensor in prunable)
    return {
        "kind": "weights",
        "architecture": metadata.get("architecture"),
        "n_parameters": sum(tensor.size for tensor in weights.values()),
        "n_prunable": n_weights,
        "n_zeros_among_prunable": n_zeros,
        "sparsity": n_zeros / n_weights if n_weights else 0.0,
        "tensors": {name: _tensor(tensor, name in names) for name, tensor in weights.items()},
    }


def _tensor(tensor: np.ndarray, is_prunable: bool) -> dict[str, Any]:
    about = {"shape": list(tensor.shape), "dtype": str(tensor.dtype)}
    return about | {"n_zeros": int(tensor.size - np.count_nonzero(tensor))} if is_prunable else about


def _masked_beside(path: Path) -> frozenset[str]:
    """Return the tensors that the mask of the same subnetwork prunes; none where there is no mask, or a damaged one."""
    with suppress(ArtifactError):
        return frozenset(read_metadata(path.with_name(MASK_NAME)).get("tensors", ()))  # of other kinds it has none
    return frozenset()


def _is_prunable(name: str, tensor: np.ndarray) -> bool:
    return tensor.ndim == 2 and any(fnmatchcase(name, pattern) for pattern in PAPER)


def _hdf5(path: Path) -> dict[str, Any]:
    metadata = hdf5.read_metadata(path)
    kind = metadata["kind"]
    if kind not in HDF5_KINDS:
        raise ArtifactError(path, f"is a {kind} file", f"one of {', '.join(HDF5_KINDS)}")
    return {"kind": kind} | HDF5_KINDS[kind](path) | {"provenance": metadata.get("provenance")}


def _features(path: Path) -> dict[str, Any]:
    stored = features.open_features(path).features
    n_images, n_regions, feature_dim = stored.shape
    return {"n_images": n_images, "n_regions": n_regions, "feature_dim": feature_dim, "dtype": str(stored.dtype)}


def _questions(path: Path) -> dict[str, Any]:
    encoded = questions.load_questions(path)
    return {
        "n_questions": len(encoded),
        "n_answers": encoded.n_answers,
        "longest": int(encoded.length.max(initial=0)),  # tokens
        "labelled": encoded.labelled,
    }


def _predictions(path: Path) -> dict[str, Any]:
    predictions, metadata = load_predictions(path)
    return {"kind": "predictions", "n_questions": len(predictions.answers), "provenance": metadata.get("provenance")}


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # the last for deep nesting
        raise ArtifactError(path, f"cannot be read ({error})", "JSON") from None
    if isinstance(content, list) and all(isinstance(entry, dict) and "question_id" in entry for entry in content):
        return {"kind": "submission", "n_questions": len(content), "provenance": None}
    if not isinstance(content, dict):
        raise ArtifactError(path, f"is a JSON {type(content).__name__}", "a submission or an object")
    kind = next((kind for key, kind in JSON_KINDS.items() if key in content), "json")
    about = {key: value for key, value in content.items() if not isinstance(value, dict | list)}
    called = {"annotations": "captions"} if kind == "captions" else {}
    sizes = {f"n_{called.get(key, key)}": len(value) for key, value in content.items() if isinstance(value, list)}
    return {"kind": kind, **about, **(sizes if kind != "json" else {}), "provenance": content.get("provenance")}


HDF5_KINDS: dict[str, Callable[[Path], dict[str, Any]]] = {features.KIND: _features, questions.KIND: _questions}
# The kind of a JSON file by a key; the first present decides.
JSON_KINDS = {
    "per_question_type": "score",
    "answers": "answers",
    "questions": "vqa questions",
    "task_type": "vqa annotations",
    "annotations": "captions",
    "added_tokens": "tokenizer",
}
INSPECTORS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".safetensors": _safetensors,
    ".h5": _hdf5,
    ".parquet": _predictions,
    ".json": _json,
}

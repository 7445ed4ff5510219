"""LXMERT's published weights in the names and types of this workflow, checked tensor by tensor.

Two layouts are known. The original code writes `bert.*` and `answer_head.*`, with `module.` before each name when it
ran on several GPUs; the hub's checkpoint, of `transformers.LxmertForPreTraining`, has `lxmert.*` and `answer_head.*`.
Old files call the scale and shift of a LayerNorm `gamma` and `beta`. Both layouts also
hold the heads of the other pretraining tasks (`cls.*`, `obj_predict_head.*`), which answering does not need.

The original loader of encoder weights (`LXRTEncoder.load` in `src/lxrt/entry.py` of the public repository) keeps only
the names with `module.` and takes whatever fits: from a file without that prefix it silently loads nothing. Here either
form loads, and a file that does not fit is an error.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from lxmert_tickets.artifacts import Tensors
from lxmert_tickets.errors import DataError, listed
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.shapes import parameter_shapes

HEAD = "answer_head."
UNUSED_HEADS = ("cls.", "obj_predict_head.")
UNUSED_BUFFER = ".position_ids"
OLD_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}
READABLE = (torch.float32, torch.float16, torch.bfloat16)
SHOWN = 20  # tensors listed in an error
REMEDY = "Check that the model section of the configuration has the checkpoint's sizes, and that it is an LXMERT's."

_log = logging.getLogger("lxmert_tickets")


@dataclass(frozen=True)
class PublishedWeights:
    """Encoder and, if requested, the answer head of pretraining; float32, under our names.

    `stored_as` counts these tensors by their dtype in the file; all but float32 were widened.
    """

    encoder: Tensors
    answer_head: Tensors
    stored_as: dict[str, int]


def published_weights(
    stored: Mapping[str, Tensor],
    architecture: Architecture,
    *,
    n_pretraining_answers: int | None = None,
    place: str | Path = "checkpoint",
) -> PublishedWeights:
    """Return the weights of `architecture` from a published checkpoint's tensors.

    With `n_pretraining_answers`, the answer head, of that many answers, is taken too; without, the checkpoint may have
    one of any size, or none. float16 and bfloat16 are widened to float32, and this is logged. float32 is not copied.

    Raises DataError, naming `place` and the tensors in order of their names, when any is unknown, missing, of another
    shape or type, or not finite.
    """
    ours, wrong = _renamed(stored)
    with_head = n_pretraining_answers is not None
    expected = parameter_shapes(msgspec.structs.replace(architecture, n_answers=n_pretraining_answers or 1))
    if not with_head:
        expected = {name: shape for name, shape in expected.items() if not name.startswith(HEAD)}
    unused = {name for name in ours if _is_unused(name) or (name.startswith(HEAD) and not with_head)}
    wrong |= dict.fromkeys(ours.keys() - expected.keys() - unused, "is unknown")
    wrong |= dict.fromkeys(expected.keys() - ours.keys(), "is missing")
    taken = {name: ours[name] for name in expected if name in ours}
    wrong |= {name: problem for name, tensor in taken.items() if (problem := _problem(tensor, expected[name]))}
    if wrong:
        problems = [f"{name} {problem}" for name, problem in sorted(wrong.items())]
        raise DataError(place, listed(problems, SHOWN), f"the {len(expected)} tensors of {architecture}", REMEDY)

    stored_as = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in taken.values())
    for dtype in sorted(stored_as.keys() - {"float32"}):
        _log.info("%s: %d of %d tensors are %s; made float32", place, stored_as[dtype], len(taken), dtype)
    _log.info("%s: %d tensors taken, %d of other heads left out", place, len(taken), len(unused))
    weights = {name: tensor.detach().to(torch.float32).contiguous().numpy() for name, tensor in taken.items()}
    return PublishedWeights(
        encoder={name: tensor for name, tensor in weights.items() if not name.startswith(HEAD)},
        answer_head={name: tensor for name, tensor in weights.items() if name.startswith(HEAD)},
        stored_as=dict(sorted(stored_as.items())),
    )


def our_name(published: str) -> str:
    """Return our name for a published parameter: "module.bert.pooler.dense.bias" -> "lxmert.pooler.dense.bias"."""
    name = published.removeprefix("module.")
    if name.startswith("bert."):
        name = "lxmert." + name.removeprefix("bert.")
    for old, new in OLD_ENDINGS.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _renamed(stored: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors under our names, and what is wrong with each name that two stored ones map to."""
    ours: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for published, tensor in stored.items():
        name = our_name(published)
        if name in ours:
            wrong[name] = f"appears twice, as {origin[name]} and {published}"
        ours[name], origin[name] = tensor, published
    return ours, wrong


def _is_unused(name: str) -> bool:
    return name.startswith(UNUSED_HEADS) or name.endswith(UNUSED_BUFFER)


def _problem(tensor: Tensor, shape: tuple[int, ...]) -> str:
    """Return what is wrong with a tensor that should have `shape`; "" for nothing."""
    if tuple(tensor.shape) != shape:
        return f"is {tuple(tensor.shape)}, not {shape}"
    if tensor.dtype not in READABLE:
        return f"is {str(tensor.dtype).removeprefix('torch.')}, not float32, float16 or bfloat16"
    return "" if torch.isfinite(tensor).all() else "has values that are not finite numbers"

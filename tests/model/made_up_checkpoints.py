"""Checkpoints of random values in the layouts in which LXMERT's weights are published, at any size."""

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from toys import is_scale
from transformers import LxmertConfig, LxmertForPreTraining

from lxmert_tickets.model.architecture import Architecture

N_PRETRAINING_ANSWERS = 9500


def random_pretrained(
    architecture: Architecture, n_pretraining_answers: int = N_PRETRAINING_ANSWERS, seed: int = 0, std: float = 0.02
) -> dict[str, Tensor]:
    """Return the tensors of transformers' `LxmertForPreTraining`, no two alike; LayerNorm scales are around 1.

    The word head shares the word embeddings' memory, as in a trained network.
    """
    config = LxmertConfig(**architecture.transformers_config() | {"num_qa_labels": n_pretraining_answers})
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in LxmertForPreTraining(config).state_dict().items()}
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes.items():
        values = np.float32(std) * rng.standard_normal(shape, dtype=np.float32)
        tensors[name] = torch.from_numpy(values + np.float32(is_scale(name)))
    tensors["cls.predictions.decoder.weight"] = tensors["lxmert.embeddings.word_embeddings.weight"]
    return tensors


def original_name(name: str, prefix: str = "module.") -> str:
    """Return the original code's name for a parameter of transformers."""
    return prefix + ("bert." + name.removeprefix("lxmert.") if name.startswith("lxmert.") else name)


def write_original_checkpoint(
    path: Path,
    architecture: Architecture,
    n_pretraining_answers: int = N_PRETRAINING_ANSWERS,
    seed: int = 0,
    *,
    prefix: str = "module.",
    zipped: bool = False,
) -> dict[str, Tensor]:
    """Write a file like model_LXRT.pth, and return its tensors in the names of transformers.

    The published file is from 2019, hence in the format that PyTorch used before zip files.
    """
    tensors = random_pretrained(architecture, n_pretraining_answers, seed)
    renamed = OrderedDict((original_name(name, prefix), tensor) for name, tensor in tensors.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(renamed, path, _use_new_zipfile_serialization=zipped)
    return tensors


def write_hub_repository(
    folder: Path,
    architecture: Architecture,
    n_pretraining_answers: int = N_PRETRAINING_ANSWERS,
    seed: int = 0,
    *,
    safetensors: bool = False,
    zipped: bool = True,
) -> dict[str, Tensor]:
    """Write config.json and pytorch_model.bin, or model.safetensors, as in unc-nlp/lxmert-base-uncased.

    Returns the tensors in the names of transformers, which are also the file's. In the published file the word head is
    a separate tensor, although it equals the word embeddings.
    """
    tensors = random_pretrained(architecture, n_pretraining_answers, seed)
    tensors["cls.predictions.decoder.weight"] = tensors["cls.predictions.decoder.weight"].clone()
    folder.mkdir(parents=True, exist_ok=True)
    config = architecture.transformers_config() | {
        "architectures": ["LxmertForPreTraining"],
        "model_type": "lxmert",
        "hidden_act": "gelu",
        "num_qa_labels": n_pretraining_answers,
        "type_vocab_size": 2,
        "visual_pos_dim": 4,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    if safetensors:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    return tensors


def write_pretraining_answers(path: Path, answers: list[str]) -> None:
    """Write a list like LXMERT's all_ans.json."""
    path.write_text(json.dumps([{"ans": answer, "dsets": ["vqa"]} for answer in answers]), encoding="utf-8")

"""Published weights, from the hub or a file, become our pretrained weights; the log and the output say how."""

import json
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hub_server import COMMIT, Hub, serving
from huggingface_hub import constants
from made_up_checkpoints import (
    N_PRETRAINING_ANSWERS,
    write_hub_repository,
    write_original_checkpoint,
    write_pretraining_answers,
)
from script_runs import ScriptRun, run_apart, run_here
from torch import Tensor
from toys import TINY, changed, random_inputs
from transformers import LxmertConfig, LxmertForPreTraining

from lxmert_tickets.artifacts import file_digest, read_metadata
from lxmert_tickets.configuration.experiment import ModelSizes
from lxmert_tickets.data.answers import read_answers, write_answers
from lxmert_tickets.downloads.receipts import Receipt, write_receipt
from lxmert_tickets.errors import DataError
from lxmert_tickets.model import importing
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.checkpoints import load_weights, save_weights
from lxmert_tickets.model.hub import fetch_checkpoint
from lxmert_tickets.model.importing import checkpoint_file, hub_checkpoint, import_weights
from lxmert_tickets.model.initial import random_classifier

TABLE = ["no", "yes", "2", "3", "gray", "dog", "cat", "red", "blue", "left", "right"]
ANSWERS = ["", "Dog", "yes", "grey", "a cat", "two", "elephants"]  # as many as TINY has
ROWS = [-1, 5, 1, 4, 6, 2, -1]
TOKEN = "hf_" + "Secret" * 5


def network_of_pretraining(architecture: Architecture, tensors: dict[str, Tensor], n_answers: int) -> torch.nn.Module:
    config = LxmertConfig(**architecture.transformers_config() | {"num_qa_labels": n_answers})
    with torch.device("meta"):
        network = LxmertForPreTraining(config)
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval()


def expected_logits(
    architecture: Architecture,
    tensors: dict[str, Tensor],
    n_pretraining: int,
    inputs: tuple[Tensor, ...],
    rows: list[int],
) -> Tensor:
    """Return the logits of transformers' network for the answers of `rows`, 0 for -1."""
    ids, attention_mask, features, boxes = inputs
    with torch.no_grad():
        network = network_of_pretraining(architecture, tensors, n_pretraining)
        logits = network(ids, features, boxes, attention_mask.long()).question_answering_score
    matched = torch.tensor(rows) >= 0
    return torch.where(matched, logits[:, torch.tensor(rows)], torch.zeros(()))


def params_of(architecture: Architecture, **more: object) -> dict[str, object]:
    sizes = {name: getattr(architecture, name) for name in ModelSizes.__struct_fields__}
    return {
        "model": msgspec.json.encode(sizes, order="sorted").decode(),
        "vocab_size": architecture.vocab_size,
        "feature_dim": architecture.feature_dim,
        "repository": "unc-nlp/lxmert-base-uncased",
        "revision": "main",
    } | more


def import_job(folder: Path, architecture: Architecture, **inputs: Path) -> dict[str, Any]:
    return {
        "input": {"answers": folder / "answers.json"} | inputs,
        "output": {"weights": folder / "weights.safetensors"},
        "params": params_of(architecture),
    }


def run_import(folder: Path, architecture: Architecture, environment: dict[str, str], **inputs: Path) -> ScriptRun:
    """Return the run of the rule in a process of its own, with its hub cache in `folder`."""
    environment = {"HF_HOME": str(folder / "hub")} | environment
    job = import_job(folder, architecture, **inputs)
    return run_apart("import_weights", folder / "import.log", environment, **job)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_answers(tmp_path / "answers.json", ANSWERS, {})
    write_pretraining_answers(tmp_path / "all_ans.json", TABLE)
    return tmp_path


def test_only_the_encoder_is_imported_when_no_pretraining_answers_are_given(folder: Path) -> None:
    write_original_checkpoint(folder / "model_LXRT.pth", TINY, len(TABLE))
    weights, about = import_weights(checkpoint_file(folder / "model_LXRT.pth"), TINY, ANSWERS)
    assert {name.partition(".")[0] for name in weights} == {"lxmert"}
    assert about == {
        "checkpoint": {
            "file": "model_LXRT.pth",
            "sha256": file_digest(folder / "model_LXRT.pth"),
            "stored_as": {"float32": len(weights)},
        }
    }
    assert build_network(weights | random_classifier(TINY, seed=0), TINY)


def test_the_head_is_mapped_and_log_and_metadata_say_how_many_answers_matched(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = write_original_checkpoint(folder / "model_LXRT.pth", TINY, len(TABLE))
    with caplog.at_level(logging.INFO, "lxmert_tickets"):
        weights, about = import_weights(checkpoint_file(folder / "model_LXRT.pth"), TINY, ANSWERS, TABLE)
    assert about["answers"] == {"matched": 5, "of": 7, "pretraining": 11}
    assert "5 of 7 answers start from a row of pretraining" in caplog.text
    assert "2 start from zeros, such as ['', 'elephants']" in caplog.text
    inputs = tuple(tensor.float() if tensor.is_floating_point() else tensor for tensor in random_inputs(TINY, (6, 3)))
    expected = expected_logits(TINY, tensors, len(TABLE), inputs, ROWS)
    assert torch.allclose(build_network(weights, TINY).eval()(*inputs), expected, rtol=1e-4, atol=1e-5)
    assert expected[:, [1, 2, 3]].abs().min() > 0


def test_a_list_of_answers_that_does_not_fit_the_head_is_refused(folder: Path) -> None:
    write_original_checkpoint(folder / "model_LXRT.pth", TINY, len(TABLE))
    with pytest.raises(DataError, match=r"logit_fc\.3\.weight is \(11, 64\), not \(10, 64\)"):
        import_weights(checkpoint_file(folder / "model_LXRT.pth"), TINY, ANSWERS, TABLE[:-1])


def test_the_rule_imports_a_verified_download_and_the_snapshot_keeps_its_head(folder: Path) -> None:
    checkpoint = folder / "model_LXRT.pth"
    write_original_checkpoint(checkpoint, TINY, len(TABLE))
    receipt = folder / "model_LXRT.pth.verified"
    write_receipt(receipt, Receipt(file_digest(checkpoint), checkpoint.stat().st_size))
    log = folder / "rule.log"
    job = import_job(folder, TINY, checkpoint=receipt, pretraining_answers=folder / "all_ans.json")
    run_here("import_weights", str(log), **job)
    weights, architecture = load_weights(folder / "weights.safetensors")
    assert architecture == TINY
    assert set(weights) == set(build_network(weights, TINY).state_dict())
    assert "5 of 7 answers start from a row" in log.read_text()
    origin = read_metadata(folder / "weights.safetensors")["provenance"]
    assert origin["rule"] == "import_weights"
    assert origin["checkpoint"]["sha256"] == file_digest(checkpoint)
    assert origin["answers"]["matched"] == 5
    assert set(origin["parents"]) == {str(receipt), str(folder / "answers.json"), str(folder / "all_ans.json")}

    run_here(
        "snapshot_initial_weights",
        str(log),
        input={"weights": folder / "weights.safetensors"},
        output={"weights": folder / "initial.safetensors"},
        params={"answer_head": "pretrained"},
        wildcards={"seed": "3"},
    )
    initial, _ = load_weights(folder / "initial.safetensors")
    assert initial.keys() == weights.keys()
    assert all(np.array_equal(initial[name], tensor) for name, tensor in weights.items())


def test_the_rule_uses_the_hub_from_the_environment_and_its_cache_when_offline(folder: Path) -> None:
    write_hub_repository(folder / "repository", TINY, len(TABLE))
    with serving(Hub(folder / "repository", token=TOKEN)) as hub:
        run = run_import(folder, TINY, {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN})
    assert run.status == 0, run.terminal
    online = (folder / "weights.safetensors").read_bytes()
    origin = read_metadata(folder / "weights.safetensors")["provenance"]["checkpoint"]
    assert origin["commit"] == COMMIT
    assert origin["revision"] == "main"
    assert origin["file"] == "pytorch_model.bin"
    assert f"commit {COMMIT}" in run.log
    assert TOKEN not in run.terminal + run.log + json.dumps(origin)

    offline = run_import(folder, TINY, {"HF_HUB_OFFLINE": "1"})
    assert offline.status == 0, offline.terminal
    assert (folder / "weights.safetensors").read_bytes() == online


def test_without_network_or_cache_the_rule_fails_and_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    with pytest.raises(SystemExit, match="1"):
        run_here("import_weights", str(folder / "rule.log"), **import_job(folder, TINY))
    log = (folder / "rule.log").read_text()
    assert "is not in the cache, and HF_HUB_OFFLINE forbids the network" in log
    assert "hf download unc-nlp/lxmert-base-uncased config.json pytorch_model.bin --revision main" in log
    assert "Traceback" not in log
    assert not (folder / "weights.safetensors").exists()


def test_a_hubs_checkpoint_is_described_and_its_config_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_hub_repository(folder / "repository", TINY, len(TABLE))
    with serving(Hub(folder / "repository")) as hub:
        fetch = partial(fetch_checkpoint, endpoint=hub.url, cache=folder / "cache")
        monkeypatch.setattr(importing, "fetch_checkpoint", fetch)
        found = hub_checkpoint(hub.repository, "main", TINY)
        assert found.about == {
            "repository": hub.repository,
            "revision": "main",
            "commit": COMMIT,
            "file": "pytorch_model.bin",
            "sha256": file_digest(found.path),
        }
        with pytest.raises(
            DataError, match=r"num_attention_heads is 2, not 4; expected the sizes of the model section"
        ):
            hub_checkpoint(hub.repository, "main", changed(TINY, n_heads=4))


BASE = Architecture(n_answers=3129)


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[Path]:
    """A folder whose large files are deleted after the test."""
    yield tmp_path
    for file in tmp_path.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.stat().st_size > 1 << 26:
            file.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["original", "hub", "hub, safetensors", "hub, PyTorch before 1.6"])
def test_a_full_size_checkpoint_is_imported_with_equal_outputs_in_bounded_memory(
    shared_data: Path, roomy: Path, layout: str
) -> None:
    answers = read_answers(shared_data / "answers" / "trainval_label2ans.json")
    assert len(answers) == BASE.n_answers
    table = [f"another answer {row}" for row in range(N_PRETRAINING_ANSWERS - 3124)] + list(answers[5:])
    rows = [-1] * 5 + list(range(N_PRETRAINING_ANSWERS - 3124, N_PRETRAINING_ANSWERS))
    write_answers(roomy / "answers.json", answers, {})
    write_pretraining_answers(roomy / "all_ans.json", table)
    if layout == "original":
        file = roomy / "model_LXRT.pth"
        tensors = write_original_checkpoint(file, BASE)
        run = run_import(roomy, BASE, {}, checkpoint=file, pretraining_answers=roomy / "all_ans.json")
    else:
        safetensors = layout.endswith("safetensors")
        file = roomy / "repository" / ("model.safetensors" if safetensors else "pytorch_model.bin")
        tensors = write_hub_repository(file.parent, BASE, safetensors=safetensors, zipped="before" not in layout)
        with serving(Hub(file.parent, breaks_after=300_000_000)) as hub:
            run = run_import(roomy, BASE, {"HF_ENDPOINT": hub.url}, pretraining_answers=roomy / "all_ans.json")
            assert [path for path in hub.paths("GET") if path.endswith(file.name)]
            assert any("Range" in headers for _, _, headers in hub.requests)
    assert run.status == 0, run.terminal
    assert "3124 of 3129 answers start from a row of pretraining" in run.log
    print(f"{layout}: peak {run.peak_bytes / file.stat().st_size:.2f} times the file")  # noqa: T201
    assert run.peak_bytes < 2.5 * file.stat().st_size

    weights, _ = load_weights(roomy / "weights.safetensors")
    ids, attention_mask, features, boxes = random_inputs(BASE, (12, 20), n_regions=36)
    inputs = ids, attention_mask, features.float().abs(), boxes.float()
    with torch.no_grad():
        found = build_network(weights, BASE).eval()(*inputs)
    expected = expected_logits(BASE, tensors, N_PRETRAINING_ANSWERS, inputs, rows)
    assert expected.std() > 0.01
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_without_pretraining_answers_a_full_size_import_holds_only_the_encoder(roomy: Path) -> None:
    write_answers(roomy / "answers.json", [str(answer) for answer in range(BASE.n_answers)], {})
    write_original_checkpoint(roomy / "model_LXRT.pth", BASE, prefix="", zipped=True)
    run = run_import(roomy, BASE, {}, checkpoint=roomy / "model_LXRT.pth")
    assert run.status == 0, run.terminal
    weights, architecture = load_weights(roomy / "weights.safetensors")
    assert architecture == BASE
    assert sum(tensor.size for tensor in weights.values()) == 207_936_768
    save_weights(roomy / "initial.safetensors", weights | random_classifier(BASE, 0), BASE, {})
    assert build_network(load_weights(roomy / "initial.safetensors")[0], BASE)

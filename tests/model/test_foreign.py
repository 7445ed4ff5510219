"""Tensors in foreign files are read as stored; anything else is refused, and no code runs."""

import os
import pickle
import re
import shlex
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from lxmert_tickets.errors import DataError
from lxmert_tickets.model.foreign import read_tensors

PROJECT = Path(__file__).resolve().parents[2]
TENSORS = {
    "a.weight": torch.arange(6, dtype=torch.float32).view(2, 3),
    "a.bias": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "b": torch.tensor([[0.25]], dtype=torch.bfloat16),
    "ids": torch.arange(4),
}


def save_zipped(content: Any, path: Path) -> None:
    torch.save(content, path)


def save_legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_safetensors(content: dict[str, Tensor], path: Path) -> None:
    save_file(content, path)


PYTORCH = [save_zipped, save_legacy]
FORMATS = [*PYTORCH, save_safetensors]
Save = Callable[[Any, Path], None]


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("save", FORMATS)
@pytest.mark.parametrize("name", ["file.pth", "0123abcd"])
def test_tensors_come_back_as_stored_whatever_the_name_of_the_file(tmp_path: Path, save: Save, name: str) -> None:
    save(TENSORS, tmp_path / name)
    assert_equal(read_tensors(tmp_path / name), TENSORS)


@pytest.mark.parametrize("save", PYTORCH)
def test_state_dicts_parameters_and_shared_memory_are_read_like_plain_tensors(tmp_path: Path, save: Save) -> None:
    layer = nn.Linear(2, 3)
    content = OrderedDict(layer.state_dict()) | {"kept": layer.weight, "row": layer.weight.detach()[1]}
    save(content, tmp_path / "file.pth")
    assert_equal(read_tensors(tmp_path / "file.pth"), {name: tensor.detach() for name, tensor in content.items()})


def test_tensors_saved_on_a_gpu_are_read_without_one(tmp_path: Path) -> None:
    save_legacy(TENSORS, tmp_path / "file.pth")
    content = (tmp_path / "file.pth").read_bytes()
    on_cpu, on_gpu = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    assert content.count(on_cpu) >= 1
    (tmp_path / "file.pth").write_bytes(content.replace(on_cpu, on_gpu))
    assert_equal(read_tensors(tmp_path / "file.pth"), TENSORS)


def test_a_zipped_checkpoint_is_mapped_rather_than_read(tmp_path: Path) -> None:
    save_zipped({"big": torch.ones(1 << 23)}, tmp_path / "file.pth")
    before = anonymous_bytes()
    tensors = read_tensors(tmp_path / "file.pth")
    assert tensors["big"].sum() == 1 << 23
    assert anonymous_bytes() - before < 1 << 24  # half of the tensor's 32 MiB


def anonymous_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    pytest.skip("this system does not tell memory of its own from mapped files")


class Touches:
    """Unpickled the usual way, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (shlex.join(["touch", str(self.path)]),)


class Builds(Touches):
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"open({str(self.path)!r}, 'w')",)


class HidesInState(Touches):
    """Code where a state dict keeps its metadata, after harmless tensors."""

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, (), {"_metadata": Touches(self.path)}


def save_pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("save", [save_zipped, save_legacy, save_pickle])
@pytest.mark.parametrize("evil", [Touches, Builds, HidesInState])
@pytest.mark.parametrize("inside", [False, True])
def test_code_in_a_pickle_is_refused_by_name_and_never_runs(
    tmp_path: Path, save: Save, evil: type[Touches], inside: bool
) -> None:
    trace = tmp_path / "trace"
    content = TENSORS | {"x": evil(trace)} if inside else evil(trace)
    save(content, tmp_path / "file.pth")
    found = r"damaged, or holds more" if save is save_pickle else r"asks to run code \((posix\.system|eval)\)"
    with pytest.raises(DataError, match=rf"file\.pth: {found}") as refusal:
        read_tensors(tmp_path / "file.pth")
    assert not trace.exists()
    assert "weights_only" not in str(refusal.value)  # torch's own error says how to run it anyway


def test_the_code_in_these_tests_runs_if_loaded_unsafely(tmp_path: Path) -> None:
    save_zipped(Touches(tmp_path / "trace"), tmp_path / "file.pth")
    torch.load(tmp_path / "file.pth", weights_only=False)
    assert (tmp_path / "trace").exists()


def test_code_stays_refused_when_the_environment_asks_torch_to_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    save_zipped(Touches(tmp_path / "trace"), tmp_path / "file.pth")
    with pytest.raises(DataError, match=r"asks to run code \(posix\.system\), which was refused"):
        read_tensors(tmp_path / "file.pth")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("save", PYTORCH)
@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"state_dict": TENSORS, "epoch": 4}, "state_dict is of type dict; epoch is of type int"),
        ({3: TENSORS["b"]}, "the key 3 is not a string"),
        ([TENSORS["b"]], "holds one list"),
        (TENSORS["b"], "holds one Tensor"),
        ({"a": torch.eye(3).to_sparse()}, "a is not a dense tensor"),
        ({"a": torch.ones(2, 2, device="meta")}, "a is not a dense tensor"),
        ({str(i): i for i in range(6)}, "4 is of type int; and 1 more"),
    ],
)
def test_anything_but_a_mapping_of_names_to_dense_tensors_is_refused(
    tmp_path: Path, save: Save, content: Any, found: str
) -> None:
    save(content, tmp_path / "file.pth")
    with pytest.raises(DataError, match=f"{found}.*; expected a PyTorch checkpoint"):
        read_tensors(tmp_path / "file.pth")


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    save_zipped(nn.Linear(2, 2), tmp_path / "file.pth")
    with pytest.raises(DataError, match="asks to run code"):
        read_tensors(tmp_path / "file.pth")


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="jit"):
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "file.pth")
    with pytest.raises(DataError, match=r"file\.pth: "):
        read_tensors(tmp_path / "file.pth")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>503</body></html>", "is a web page"),
        (b"\n <html lang='en'>", "is a web page"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- sorry --><!DOCTYPE html>', "is a web page"),
        (b"<Error><Code>NoSuchKey</Code></Error>", r"is another kind of file \(starts with b'<Error>"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "is a Git LFS pointer"),
        (b'{"a": 1}', r"is another kind of file \(starts with "),
    ],
)
def test_a_file_that_is_no_checkpoint_is_reported_as_what_it_is(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "model_LXRT.pth").write_bytes(content)
    with pytest.raises(DataError, match=rf"model_LXRT\.pth: {found}"):
        read_tensors(tmp_path / "model_LXRT.pth")


def test_a_missing_file_is_reported_as_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model_LXRT\.pth: cannot be read \(No such file"):
        read_tensors(tmp_path / "model_LXRT.pth")


@pytest.mark.parametrize("save", FORMATS)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, save: Save, share: float) -> None:
    save(TENSORS, tmp_path / "file.pth")
    content = (tmp_path / "file.pth").read_bytes()
    (tmp_path / "file.pth").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"file\.pth: "):
        read_tensors(tmp_path / "file.pth")


WITH_LITTLE_MEMORY = f"""
import resource, sys
from pathlib import Path
from lxmert_tickets.errors import DataError
from lxmert_tickets.model.foreign import read_tensors

size_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size_bytes + {2**26},) * 2)
for path in sys.argv[1:]:
    try:
        print("read", read_tensors(path).keys())
    except DataError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the size of a process is read from /proc")
def test_a_file_for_which_memory_is_lacking_is_not_called_damaged(tmp_path: Path) -> None:
    files = [tmp_path / f"{save.__name__}.pth" for save in FORMATS]
    for save, file in zip(FORMATS, files, strict=True):
        save({"a": torch.zeros(2**25)}, file)  # 128 MiB
    # A process of its own: this one may have freed as much, and still hold it.
    command = [sys.executable, "-c", WITH_LITTLE_MEMORY, *map(str, files)]
    told = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(told) == len(files)
    for file, line in zip(files, told, strict=True):
        assert re.match(rf"{re.escape(str(file))}: does not fit into memory \(.*; expected memory .*ulimit -v", line)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FORMATS), st.integers(0, 2000), st.binary(min_size=1, max_size=4))
def test_damage_anywhere_gives_tensors_or_a_readable_error(tmp_path: Path, save: Save, at: int, damage: bytes) -> None:
    save(TENSORS, tmp_path / "file.pth")
    content = bytearray((tmp_path / "file.pth").read_bytes())
    at %= len(content)
    content[at : at + len(damage)] = damage
    (tmp_path / "file.pth").write_bytes(content)
    try:
        tensors = read_tensors(tmp_path / "file.pth")
    except DataError as error:
        assert "file.pth" in str(error)  # noqa: PT017 (either outcome will do)
    else:
        assert all(type(tensor) in (Tensor, nn.Parameter) for tensor in tensors.values())

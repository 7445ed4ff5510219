"""Files are complete or absent, equal content gives equal bytes, and damaged or foreign files are refused by name."""

import errno
import gc
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors import SafetensorError
from safetensors.numpy import save_file

from lxmert_tickets import artifacts as subject
from lxmert_tickets.artifacts import (
    METADATA_KEY,
    canonical_json,
    file_digest,
    load_tensors,
    provenance,
    read_metadata,
    replacing,
    save_tensors,
    write_json,
    write_text,
)
from lxmert_tickets.errors import ArtifactError

PROJECT = Path(__file__).resolve().parents[1]
TENSORS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([1, 0, 255], dtype=np.uint8)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_tensors(tmp_path / "a.safetensors", "mask", TENSORS, {"seed": 3})
    return tmp_path / "a.safetensors"


def test_a_file_appears_whole_and_without_leftovers_in_a_folder_made_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "newer"
    with replacing(folder / "a.txt") as temporary:
        temporary.write_text("whole")
        assert not (folder / "a.txt").exists()
        assert temporary.name == "a.txt"
        assert temporary.parent.parent == folder  # on the same disk
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a.txt": "whole"}


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(failure), replacing(tmp_path / "a.txt") as temporary:
        raise temporary.write_text("half") and failure
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old"}


def test_a_disk_full_error_names_the_file_and_other_errors_are_unchanged(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "a.txt"))), replacing(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as `write` does
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "another.bin")
    for other in (OSError("it is late"), OSError(errno.EIO, "Input/output error", "read.bin"), full):
        before = str(other)
        with pytest.raises(OSError, match=re.escape(before)), replacing(tmp_path / "a.txt"):
            raise other


def test_an_error_before_anything_can_be_written_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / f"{'a' * 250}.txt"  # which leaves no room for the name of a temporary folder
    with pytest.raises(OSError, match=re.escape(f": '{path}'")), replacing(path):
        pass


def test_a_failure_before_anything_is_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="early"), replacing(tmp_path / "a.txt"):
        raise ValueError("early")
    assert list(tmp_path.iterdir()) == []


def test_a_later_write_removes_a_killed_writers_leftovers_and_nothing_of_other_writers(tmp_path: Path) -> None:
    torn, at_work, other = (tmp_path / f".{name}.tmp" for name in ("a.safetensors.1", "a.safetensors.2", "b.txt.3"))
    for folder in (torn, at_work, other):
        folder.mkdir()
        (folder / ".tmpXyZ").write_bytes(b"half")
    pulse = tmp_path / ".a.safetensors.4.tmp"  # not all writers use a folder
    pulse.write_bytes(b"half")
    for left in (torn, other, pulse):
        os.utime(left, (0, 0))
    save_tensors(tmp_path / "a.safetensors", "mask", TENSORS, {})
    assert {path.name for path in tmp_path.iterdir()} == {at_work.name, other.name, "a.safetensors"}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_tensor_files_get_the_permissions_of_the_users_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "a.safetensors", "mask", TENSORS, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == mode


KILLED_WHILE_WRITING = """
import os, resource, signal, sys
import numpy as np
from lxmert_tickets.artifacts import save_tensors

signal.signal(signal.SIGXFSZ, getattr(signal, sys.argv[2]))  # the disk is full, or the writer ends
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
save_tensors(sys.argv[1], "weights", {"a": np.zeros(100_000, np.float32)}, {})
"""


def test_a_failed_write_of_tensors_is_an_error_of_the_system_however_the_library_words_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise SafetensorError("failed to write whole buffer")

    monkeypatch.setattr(subject, "save_file", fail)
    with pytest.raises(OSError, match=r"failed to write whole buffer.*a\.safetensors"):
        save_tensors(tmp_path / "a.safetensors", "mask", TENSORS, {})


@pytest.mark.parametrize("what", ["SIG_IGN", "SIG_DFL"])
def test_a_failed_write_of_tensors_names_the_path_and_leaves_nothing_that_cleanup_misses(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "a.safetensors"
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(path), what]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if what == "SIG_IGN":
        assert ended.stderr.endswith(f"OSError: [Errno {errno.EFBIG}] File too large: '{path}'\n")
        assert not list(tmp_path.iterdir())
    else:
        assert ended.returncode == -signal.SIGXFSZ
        assert list(tmp_path.iterdir())
        subject.remove_torn(tmp_path, path.name)
        assert not list(tmp_path.iterdir())


def test_writers_of_one_file_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.txt") as first, replacing(tmp_path / "a.txt") as second:
        first.write_text("first")
        second.write_text("second")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "first"}


def test_a_file_is_on_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, bool]] = []

    def sync(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), (tmp_path / "a.txt").exists()))

    monkeypatch.setattr(subject.os, "fsync", sync)
    write_text(tmp_path / "a.txt", "text")
    assert synced == [(False, False), (True, True)]  # the file, then the folder that has its name


def test_a_written_file_is_closed(tmp_path: Path) -> None:
    gc.collect()  # else files that other tests left open are closed meanwhile
    n_open = psutil.Process().num_fds()
    write_text(tmp_path / "a.txt", "text")
    assert psutil.Process().num_fds() == n_open


def test_json_is_sorted_and_nan_is_refused(tmp_path: Path) -> None:
    assert canonical_json({"b": 1, "a": "ü"}) == '{"a": "ü", "b": 1}'
    write_json(tmp_path / "a.json", {"b": [1], "a": None})
    assert list(json.loads((tmp_path / "a.json").read_text())) == ["a", "b"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"accuracy": float("nan")})
    assert not (tmp_path / "b.json").exists()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    )
)
def test_json_is_what_the_standard_library_writes_with_an_indent(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert path.read_text(encoding="utf-8") == json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1) + "\n"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tensors=st.dictionaries(
        st.text("abc.", min_size=1), arrays(st.sampled_from([np.float32, np.uint8]), array_shapes())
    )
)
def test_tensors_come_back_bit_for_bit(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    save_tensors(tmp_path / "a.safetensors", "weights", tensors, {})
    found, _ = load_tensors(tmp_path / "a.safetensors", "weights")
    assert found.keys() == tensors.keys()
    assert all(found[name].dtype == tensors[name].dtype for name in tensors)
    assert all(found[name].tobytes() == tensors[name].tobytes() for name in tensors)


def test_tensors_that_are_not_contiguous_come_back_with_equal_values(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", "weights", {"turned": TENSORS["b"].T}, {})
    assert np.array_equal(load_tensors(tmp_path / "a.safetensors", "weights")[0]["turned"], TENSORS["b"].T)


def test_a_file_too_large_for_one_mapping_is_read_through_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {name: np.full(3, number, np.float32) for number, name in enumerate("abcd")}
    save_tensors(tmp_path / "a.safetensors", "weights", tensors, {})
    opened: list[Path] = []
    safe_open = subject.safe_open
    monkeypatch.setattr(subject, "safe_open", lambda path, **how: opened.append(path) or safe_open(path, **how))
    monkeypatch.setattr(subject, "MAPPED_BYTES", tensors["a"].nbytes + 1)
    found, _ = load_tensors(tmp_path / "a.safetensors", "weights")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }
    assert len(opened) == 2 + 2  # for metadata, for names, and for every two tensors


def test_metadata_comes_back_with_the_kind(saved: Path) -> None:
    assert read_metadata(saved) == load_tensors(saved, "mask")[1] == {"kind": "mask", "seed": 3}


def test_equal_content_gives_equal_bytes_in_any_order(tmp_path: Path) -> None:
    about = {"seed": 1, "parents": {"a": "0", "b": "1"}}
    turned = {"parents": dict(reversed(about["parents"].items())), "seed": 1}
    save_tensors(tmp_path / "a", "weights", TENSORS, about)
    save_tensors(tmp_path / "b", "weights", dict(reversed(TENSORS.items())), turned)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_truncated_anywhere_is_refused_by_name(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(len(whole)):
        saved.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match=r"a\.safetensors: damaged or truncated") as caught:
            load_tensors(saved, "mask")
        assert "run snakemake again" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_damaged_metadata_is_refused_by_name(tmp_path: Path, text: str) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors", metadata={METADATA_KEY: text})
    with pytest.raises(ArtifactError, match=r"a\.safetensors: damaged metadata"):
        read_metadata(tmp_path / "a.safetensors")


def test_a_file_of_another_kind_is_refused_by_name(saved: Path) -> None:
    with pytest.raises(ArtifactError, match=r"a\.safetensors: is a mask file; expected a weights file"):
        load_tensors(saved, "weights")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"none\.safetensors: no such file"):
        load_tensors(tmp_path / "none.safetensors", "weights")


def test_a_folder_in_place_of_a_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=rf"{tmp_path}: cannot be read \(Is a directory\)"):
        load_tensors(tmp_path, "weights")


def test_a_file_from_elsewhere_has_no_metadata_and_loads_as_any_kind(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "hub.safetensors")
    tensors, metadata = load_tensors(tmp_path / "hub.safetensors", "weights")
    assert metadata == {}
    assert tensors.keys() == TENSORS.keys()


def test_provenance_names_the_rule_the_seed_and_digests_of_settings_and_parents(saved: Path) -> None:
    found = provenance("prune_round", "{}", 3, [saved])
    assert found == {
        "rule": "prune_round",
        "spec": hashlib.sha256(b"{}").hexdigest(),
        "seed": 3,
        "parents": {str(saved): hashlib.sha256(saved.read_bytes()).hexdigest()},
    }


def test_provenance_changes_with_a_parent(saved: Path) -> None:
    before = provenance("prune_round", "{}", 3, [saved])
    saved.write_bytes(saved.read_bytes() + b"\0")
    assert provenance("prune_round", "{}", 3, [saved]) != before
    assert file_digest(saved) == hashlib.sha256(saved.read_bytes()).hexdigest()


def test_a_huge_parent_is_identified_by_its_size_and_its_ends(tmp_path: Path) -> None:
    def digest(size: int, marks: dict[int, bytes]) -> str:
        path = tmp_path / "features.h5"
        with open(path, "wb") as handle:
            handle.truncate(size)  # sparse: takes no disk
            for place, mark in marks.items():
                handle.seek(place)
                handle.write(mark)
        return str(provenance("r", "", 0, [path])["parents"][str(path)])

    huge = subject.LARGE_BYTES + 5
    found = [digest(huge, marks) for marks in ({}, {0: b"a"}, {huge - 1: b"a"}, {subject.END_BYTES - 1: b"a"})]
    found += [digest(huge + 1, {})]
    assert len(set(found)) == len(found)
    assert all(one.startswith("ends-sha256:") for one in found)
    assert digest(huge, {}) == digest(huge, {huge // 2: b"a"}) == found[0]  # the middle is not read

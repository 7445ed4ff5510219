"""Masks are stored at one bit per weight; damaged ones and those of another network are refused."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lxmert_tickets.artifacts import read_metadata, save_tensors
from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.pruning.mask_files import check_fits, check_only_removes, load_mask, save_mask
from lxmert_tickets.pruning.masks import Mask

NAMES = ("lxmert.a.weight", "lxmert.b.weight")
ORIGIN = {"rule": "prune_round"}


def random_mask(*shapes: tuple[int, int], seed: int = 0) -> Mask:
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape) < 0.5 for name, shape in zip(NAMES, shapes, strict=False)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_mask(tmp_path / "mask.safetensors", random_mask((7, 9), (16, 4)), ORIGIN)
    return tmp_path / "mask.safetensors"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=2), st.integers(0, 99))
def test_a_mask_is_read_back_unchanged(tmp_path: Path, shapes: list[tuple[int, int]], seed: int) -> None:
    mask = random_mask(*shapes, seed=seed)
    save_mask(tmp_path / "mask.safetensors", mask, ORIGIN)
    loaded = load_mask(tmp_path / "mask.safetensors")
    assert loaded.keys() == mask.keys()
    assert all(loaded[name].dtype == bool and np.array_equal(loaded[name], mask[name]) for name in mask)


def test_a_mask_takes_one_bit_per_weight(tmp_path: Path) -> None:
    save_mask(tmp_path / "mask.safetensors", random_mask((1000, 800)), ORIGIN)
    size_bytes = (tmp_path / "mask.safetensors").stat().st_size
    assert 100_000 < size_bytes < 101_000


def test_tensors_come_in_alphabetical_order_however_they_were_given(tmp_path: Path, saved: Path) -> None:
    save_mask(tmp_path / "again.safetensors", dict(reversed(random_mask((7, 9), (16, 4)).items())), ORIGIN)
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()
    assert tuple(load_mask(saved)) == NAMES


def test_counts_and_shapes_can_be_read_without_the_bits(saved: Path) -> None:
    mask, about = random_mask((7, 9), (16, 4)), read_metadata(saved)
    assert about["n_prunable"] == 7 * 9 + 16 * 4
    assert about["n_kept"] == sum(int(kept.sum()) for kept in mask.values())
    assert about["tensors"][NAMES[0]] == {"shape": [7, 9], "n_kept": int(mask[NAMES[0]].sum())}
    assert about["provenance"] == ORIGIN


@pytest.mark.parametrize("n_lost", [1, 8, 100])
def test_a_truncated_mask_is_refused_by_name(saved: Path, n_lost: int) -> None:
    saved.write_bytes(saved.read_bytes()[:-n_lost])
    with pytest.raises(ArtifactError, match=r"mask\.safetensors: damaged or truncated"):
        load_mask(saved)


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_refused_naming_the_tensor(saved: Path, bit: int) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1 << bit
    saved.write_bytes(content)
    n_kept = int(random_mask((7, 9), (16, 4))[NAMES[1]].sum())
    with pytest.raises(ArtifactError, match=rf"{NAMES[1]}: \d+ weights kept; expected {n_kept}\."):
        load_mask(saved)


@pytest.mark.parametrize(
    ("packed", "found"),
    [
        ({"a": np.full(1, 0b11111111, np.uint8)}, r"a: 1 bytes; expected 2 for \[4, 4\]"),
        ({"a": np.full(3, 0b01010101, np.uint8)}, r"a: 3 bytes; expected 2 for \[4, 4\]"),
        ({"a": np.full(2, 0b01010101, np.int8)}, r"a: 2 bytes; expected 2 for \[4, 4\]"),
        ({}, "no description of its tensors"),
    ],
)
def test_bits_that_do_not_fill_the_shape_are_refused(tmp_path: Path, packed: dict[str, np.ndarray], found: str) -> None:
    about = {"tensors": {"a": {"shape": [4, 4], "n_kept": 8}}}
    save_tensors(tmp_path / "mask.safetensors", "mask", packed, about)
    with pytest.raises(ArtifactError, match=found):
        load_mask(tmp_path / "mask.safetensors")


@pytest.mark.parametrize(
    "described",
    [{"shype": [4, 4], "n_kept": 8}, {"shape": [-4, -4], "n_kept": 8}, {"shape": "4", "n_kept": 8}, 8, None],
)
def test_a_damaged_description_is_refused(tmp_path: Path, described: object) -> None:
    packed = {"a": np.full(2, 0b01010101, np.uint8)}
    save_tensors(tmp_path / "mask.safetensors", "mask", packed, {"tensors": {"a": described}})
    with pytest.raises(ArtifactError, match=r"mask\.safetensors: no description of its tensors"):
        load_mask(tmp_path / "mask.safetensors")


def test_foreign_files_and_artifacts_of_another_kind_are_refused(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"a": np.ones((2, 2), dtype=bool)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ArtifactError, match=r"foreign\.safetensors: no description of its tensors"):
        load_mask(tmp_path / "foreign.safetensors")
    save_tensors(tmp_path / "weights.safetensors", "weights", {"a": np.ones(2, dtype=np.float32)}, {})
    with pytest.raises(ArtifactError, match="is a weights file; expected a mask file"):
        load_mask(tmp_path / "weights.safetensors")


def test_a_mask_fits_the_weights_it_was_made_from_and_no_fewer() -> None:
    weights = {name: np.zeros(kept.shape) for name, kept in random_mask((7, 9), (16, 4)).items()}
    mask = random_mask((7, 9), (16, 4))
    check_fits(mask, weights | {"bias": np.zeros(3)}, "mask", "weights")
    for missing in weights:
        others = {name: tensor for name, tensor in weights.items() if name != missing}
        with pytest.raises(ArtifactError, match=f"another network: {missing} "):
            check_fits(mask, others, "mask", "weights")


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        ({NAMES[0]: np.zeros((9, 7))}, r"\(7, 9\); expected \(9, 7\), as in weights"),
        ({}, r"\(7, 9\); expected no such tensor, as in weights"),
    ],
)
def test_a_mask_of_another_network_is_refused(weights: dict[str, np.ndarray], found: str) -> None:
    with pytest.raises(ArtifactError, match=rf"mask: is for another network: {NAMES[0]} has shape {found}"):
        check_fits(random_mask((7, 9)), weights, "mask", "weights")


def test_a_mask_that_revives_weights_is_refused() -> None:
    previous = random_mask((7, 9), (16, 4))
    kept = {name: tensor.copy() for name, tensor in previous.items()}
    kept[NAMES[0]][np.unravel_index(int(previous[NAMES[0]].argmax()), (7, 9))] = False
    check_only_removes(kept, previous, "mask", "previous")
    kept[NAMES[1]][np.unravel_index(int(previous[NAMES[1]].argmin()), (16, 4))] = True
    with pytest.raises(ArtifactError, match=rf"mask: revives 1 weights of {NAMES[1]}; expected only .* previous keeps"):
        check_only_removes(kept, previous, "mask", "previous")


def test_successive_masks_must_be_of_the_same_tensors() -> None:
    both, one = random_mask((7, 9), (16, 4)), random_mask((7, 9))
    for mask, previous in [(one, both), (both, one)]:
        with pytest.raises(ArtifactError, match=rf"mask: masks other tensors, such as {NAMES[1]}"):
            check_only_removes(mask, previous, "mask", "previous")

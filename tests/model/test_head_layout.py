"""Rows split into heads keep their places, keys are padded, and heads can be joined again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_places import places_of, sources
from torch import Tensor

from lxmert_tickets.model.head_layout import LEAST_KEYS, HeadLayout, layout_of
from lxmert_tickets.model.places import Places

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=30)
kinds = st.sampled_from(["q", "kv", "qkv", "vqk"])
n_heads = st.integers(1, 4)


def split(layout: HeadLayout, padded: Tensor, kinds: str) -> list[Tensor]:
    """Return padded rows (B * T, parts * H) as one (B, heads, T, H / heads) per part."""
    places = layout.places
    shape = places.n_sequences, places.n_places, len(kinds), layout.n_heads, -1
    return list(padded.view(shape).permute(2, 0, 3, 1, 4))


@given(lengths, kinds, n_heads)
def test_rows_split_into_heads_keep_their_places_and_can_be_joined_again(
    lengths: list[int], kinds: str, n_heads: int
) -> None:
    places = places_of(lengths)
    layout = HeadLayout(places, n_heads)
    rows = torch.randn(places.n_rows, len(kinds) * n_heads * 2)
    heads = layout.at_heads(rows, kinds)
    tokens = (torch.arange(9) < torch.tensor(lengths)[:, None])[:, None, :, None]
    for kind, found, expected in zip(kinds, heads, split(layout, places.pad(rows), kinds), strict=True):
        n_found = 9 if kind == "q" else layout.n_keys
        assert found.shape == (len(lengths) * n_heads, n_found, 2)
        shaped = found.view(len(lengths), n_heads, n_found, 2)[:, :, :9]
        assert torch.equal(shaped.where(tokens, 0), expected.where(tokens, 0))
    pieces, views = layout.empty(heads[0], kinds)
    for view, head in zip(views, heads, strict=True):
        view.copy_(head)
    assert torch.equal(layout.to_rows(pieces, kinds), rows)


@given(lengths, st.integers(1, 3))
def test_a_gradient_that_is_0_at_padding_is_0_there_in_every_head(lengths: list[int], n_heads: int) -> None:
    places = places_of(lengths)
    present = torch.arange(9) < torch.tensor(lengths)[:, None]
    gradient = torch.ones(places.n_rows, 2 * n_heads) * places.pack(present.flatten())[:, None]
    [heads] = HeadLayout(places, n_heads).at_heads(gradient, "q")
    found = heads.view(len(lengths), n_heads, 9, 2)
    assert torch.equal(found, present[:, None, :, None].expand_as(found).float())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), n_heads, st.sampled_from([9, 40]))
def test_padding_among_keys_gets_a_bias_of_minus_infinity_in_every_head(
    lengths: list[int], n_heads: int, n_places: int
) -> None:
    layout = HeadLayout(places_of(lengths, n_places), n_heads)
    absent = layout.absent
    assert absent is not None
    assert layout.n_keys == max(n_places, LEAST_KEYS)
    assert absent.shape == (n_heads * len(lengths), 1, layout.n_keys)
    for number, bias in enumerate(absent[:, 0]):
        length = lengths[number // n_heads]
        assert (bias[:length] == 0).all()
        assert (bias[length:] == -torch.inf).all()


@pytest.mark.parametrize("n_places", [1, 15, 16, 17, 36])
def test_without_padding_all_sequences_share_one_bias_against_spare_keys(n_places: int) -> None:
    absent = HeadLayout(Places(3, n_places), 2).absent
    if n_places >= LEAST_KEYS:
        assert absent is None
    else:
        assert absent is not None
        assert absent.flatten().tolist() == [0.0] * n_places + [-torch.inf] * (LEAST_KEYS - n_places)


@given(sources, kinds, n_heads)
def test_sequences_that_share_rows_get_the_same_heads_as_with_copies(source: Tensor, kinds: str, n_heads: int) -> None:
    shared = Places(3, 5).shared_by(source)
    rows = torch.randn(15, len(kinds) * n_heads * 2)
    copies = rows.view(3, 5, -1)[source].flatten(0, 1)
    layout = HeadLayout(shared, n_heads)
    heads = layout.at_heads(rows, kinds)
    of_copies = HeadLayout(shared.apart, n_heads).at_heads(copies, kinds)
    assert all(torch.equal(one[:, :5], other[:, :5]) for one, other in zip(heads, of_copies, strict=True))
    assert torch.equal(layout.to_rows(torch.cat([head.flatten(0, 1) for head in heads]), kinds), copies)


def test_a_layout_is_made_once_for_all_layers() -> None:
    packed, whole = places_of([3, 1]), Places(2, 9)
    assert layout_of(packed, 2) is layout_of(packed, 2)
    assert layout_of(packed, 2) is not layout_of(packed, 4)
    assert layout_of(whole, 2) is layout_of(Places(2, 9), 2)
    shared = whole.shared_by(torch.tensor([0, 1, 1]))
    assert layout_of(shared, 2).places is shared

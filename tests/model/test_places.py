"""Packed rows are the tokens, in order, and come back to where they stood."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.model.places import ROWS_STEP, Places

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=30)


def places_of(lengths: list[int], n_places: int = 9) -> Places:
    return Places.of(len(lengths), n_places, torch.arange(n_places) < torch.tensor(lengths)[:, None])


@given(lengths)
def test_every_token_is_a_row_in_order_and_few_rows_are_padding(lengths: list[int]) -> None:
    places = places_of(lengths)
    tokens = [9 * sentence + place for sentence, length in enumerate(lengths) for place in range(length)]
    if places.rows is None:
        assert places.n_rows == 9 * len(lengths) <= len(tokens) + ROWS_STEP
    else:
        assert places.rows[: len(tokens)].tolist() == tokens
        assert len(tokens) < places.n_rows == len(set(places.rows.tolist())) <= len(tokens) + ROWS_STEP
        assert places.n_rows % ROWS_STEP == 0


@given(lengths)
def test_what_is_padded_packs_to_the_same_rows_and_is_0_elsewhere(lengths: list[int]) -> None:
    places = places_of(lengths)
    rows = torch.arange(1.0, 1 + places.n_rows)[:, None].repeat(1, 3)
    padded = places.pad(rows)
    assert padded.shape == (9 * len(lengths), 3)
    assert torch.equal(places.pack(padded), rows)
    assert padded.sum() == rows.sum()


@given(lengths, st.integers(1, 3), st.integers(1, 4))
def test_heads_are_the_rows_of_each_head_at_their_places(lengths: list[int], n_parts: int, n_heads: int) -> None:
    places = places_of(lengths)
    rows = torch.randn(places.n_rows, n_parts * n_heads * 2)
    heads = places.to_heads(rows, n_parts, n_heads)
    assert heads.shape == (n_parts, len(lengths) * n_heads, 9, 2)
    padded = places.pad(rows).view(len(lengths), 9, n_parts, n_heads, 2).permute(2, 0, 3, 1, 4)
    tokens = padded.new_tensor(lengths)[:, None, None] > torch.arange(9)
    shaped = heads.view(padded.shape)
    assert torch.equal(shaped.where(tokens[..., None], 0), padded.where(tokens[..., None], 0))
    assert torch.equal(places.to_rows(heads, n_heads), rows)


@given(lengths, st.integers(1, 3))
def test_a_gradient_that_is_0_at_padding_is_0_there_in_every_head(lengths: list[int], n_heads: int) -> None:
    places = places_of(lengths)
    present = torch.arange(9) < torch.tensor(lengths)[:, None]
    gradient = torch.ones(places.n_rows, 2 * n_heads) * places.pack(present.flatten())[:, None]
    heads = places.to_heads(gradient, 1, n_heads).view(len(lengths), n_heads, 9, 2)
    assert torch.equal(heads, present[:, None, :, None].expand_as(heads).float())


@given(lengths)
def test_the_first_row_of_every_sequence_is_found(lengths: list[int]) -> None:
    places = places_of(lengths)
    rows = places.pack(torch.arange(9 * len(lengths)))[:, None]
    assert places.first(rows).flatten().tolist() == [9 * sentence for sentence in range(len(lengths))]


@given(lengths, st.integers(1, 4))
def test_logits_at_padding_are_shut_out_for_every_head(lengths: list[int], n_heads: int) -> None:
    absent = places_of(lengths).absent(n_heads)
    assert absent is not None
    assert absent.shape == (n_heads * len(lengths), 1, 9)
    for number, bias in enumerate(absent[:, 0]):
        length = lengths[number // n_heads]
        assert (bias[:length] == 0).all()
        assert (bias[length:] == -torch.inf).all()


def test_without_padding_every_place_is_a_row() -> None:
    places = Places.of(3, 4, None)
    rows = torch.arange(12)[:, None]
    assert places.n_rows == 12
    assert places.pad(rows) is rows
    assert places.pack(rows) is rows
    assert places.first(rows).flatten().tolist() == [0, 4, 8]
    assert places.absent(2) is None


def test_on_other_devices_nothing_is_packed() -> None:
    present = torch.ones(3, 4, dtype=torch.bool, device="meta")
    assert Places.of(3, 4, present).rows is None

"""Packed rows are the tokens, in order, and come back to where they stood."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lxmert_tickets.model.places import ROWS_STEP, Places, Reading

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


sources = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(torch.tensor)
"""The one of three sequences whose rows each of some has."""


@given(sources, st.integers(1, 3), st.integers(1, 4))
def test_sequences_that_share_rows_have_the_heads_of_copies(source: Tensor, n_parts: int, n_heads: int) -> None:
    own = Places(3, 5)
    shared = own.shared_by(source)
    rows = torch.randn(15, n_parts * n_heads * 2)
    copies = rows.view(3, 5, -1)[source].flatten(0, 1)
    assert (shared.n_rows, shared.apart.n_rows) == (15, 5 * len(source))
    assert torch.equal(shared.to_apart(rows), copies)
    assert torch.equal(shared.pad(rows), copies)
    heads = shared.to_heads(rows, n_parts, n_heads)
    assert torch.equal(heads, shared.apart.to_heads(copies, n_parts, n_heads))
    assert torch.equal(shared.to_rows(heads, n_heads), copies)


@given(sources)
def test_the_gradient_of_shared_rows_is_that_of_all_their_copies(source: Tensor) -> None:
    shared, rows = Places(3, 5).shared_by(source), torch.randn(15, 4, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(5 * len(source), 4, dtype=torch.float64)
    [expected] = torch.autograd.grad(shared.to_apart(rows), rows, gradient)
    assert torch.allclose(shared.from_apart(gradient), expected, rtol=1e-12)


def test_without_sharing_rows_are_apart_already() -> None:
    places, rows = places_of([3, 9, 1]), torch.randn(32, 4)
    assert places.apart is places
    assert places.to_apart(rows) is rows
    assert places.from_apart(rows) is rows


@given(lengths, st.data())
def test_rows_are_found_by_their_places(lengths: list[int], data: st.DataObject) -> None:
    places = places_of(lengths)
    tokens = [9 * sentence + place for sentence, length in enumerate(lengths) for place in range(length)]
    sought = torch.tensor(data.draw(st.lists(st.sampled_from(tokens), min_size=1)))
    rows = places.pack(torch.arange(9 * len(lengths)))[:, None]
    assert torch.equal(places.at(rows, sought)[:, 0], sought)


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=8).map(torch.tensor))
def test_a_reading_is_the_first_place_and_what_was_asked_for_in_order(asked: Tensor) -> None:
    reading = Reading.of(asked)
    expected = [[place for place in range(6) if place == 0 or sentence[place]] for sentence in asked.tolist()]
    read = [places[present].tolist() for places, present in zip(reading.places, reading.present, strict=True)]
    assert read == expected
    assert reading.places.shape[1] == max(map(len, expected))
    flat = reading.flat(6).view(reading.places.shape)
    assert torch.equal(flat // 6, torch.arange(len(asked))[:, None].expand_as(flat))
    assert torch.equal(flat % 6, reading.places)


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

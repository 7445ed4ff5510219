"""Packed rows are the tokens, in order, and can be put back in their places."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lxmert_tickets.model.places import ROWS_STEP, Places

CPU = torch.device("cpu")

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
def test_padded_rows_are_0_elsewhere_and_pack_to_the_same_rows(lengths: list[int]) -> None:
    places = places_of(lengths)
    rows = torch.arange(1.0, 1 + places.n_rows)[:, None].repeat(1, 3)
    padded = places.pad(rows)
    assert padded.shape == (9 * len(lengths), 3)
    assert torch.equal(places.pack(padded), rows)
    assert padded.sum() == rows.sum()


@given(lengths)
def test_the_first_row_of_every_sequence_is_found(lengths: list[int]) -> None:
    places = places_of(lengths)
    at = places.pack(torch.arange(9 * len(lengths)))
    assert at[places.firsts(CPU)].tolist() == [9 * sentence for sentence in range(len(lengths))]
    read = places.read(CPU)
    assert torch.equal(read.rows, places.firsts(CPU))
    assert (read.places.n_sequences, read.places.n_places) == (len(lengths), 1)


sources = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(torch.tensor)
"""For each of some sequences, which of three it takes its rows from."""


@given(sources)
def test_sequences_that_share_rows_get_a_copy_each_when_set_apart(source: Tensor) -> None:
    shared, rows = Places(3, 5).shared_by(source), torch.randn(15, 4)
    copies = rows.view(3, 5, -1)[source].flatten(0, 1)
    assert (shared.n_rows, shared.apart.n_rows) == (15, 5 * len(source))
    assert torch.equal(shared.to_apart(rows), copies)
    assert torch.equal(shared.pad(rows), copies)


@given(sources)
def test_the_gradient_of_shared_rows_is_the_sum_over_their_copies(source: Tensor) -> None:
    shared, rows = Places(3, 5).shared_by(source), torch.randn(15, 4, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(5 * len(source), 4, dtype=torch.float64)
    [expected] = torch.autograd.grad(shared.to_apart(rows), rows, gradient)
    assert torch.allclose(shared.from_apart(gradient), expected, rtol=1e-12)


def test_rows_that_are_not_shared_are_already_apart() -> None:
    places, rows = places_of([3, 9, 1]), torch.randn(32, 4)
    assert places.apart is places
    assert places.to_apart(rows) is rows
    assert places.from_apart(rows) is rows


@given(lengths, st.data())
def test_the_places_read_are_each_first_one_and_those_asked_for_in_order(
    lengths: list[int], data: st.DataObject
) -> None:
    places = places_of(lengths)
    asked = torch.tensor(
        [[data.draw(st.booleans()) if place < length else False for place in range(9)] for length in lengths]
    )
    read, are_asked = places.read_also(asked)
    expected = [[place for place in range(9) if place == 0 or of_its[place]] for of_its in asked.tolist()]
    assert read.places.n_places == max(map(len, expected))
    at = places.pack(torch.arange(9 * len(lengths)))[read.rows]
    present = read.places.present
    tokens = torch.ones(len(at), dtype=torch.bool) if present is None else read.places.pack(present.flatten())
    assert at[tokens].tolist() == [9 * number + place for number, of_its in enumerate(expected) for place in of_its]
    assert at[are_asked].tolist() == asked.flatten().nonzero().flatten().tolist()


def test_tokens_are_packed_into_as_many_rows_as_asked_for() -> None:
    present = torch.arange(9) < torch.tensor([3, 5])[:, None]
    assert Places.of(2, 9, present, n_rows=11).rows.tolist() == [0, 1, 2, 9, 10, 11, 12, 13, 3, 4, 5]


def test_without_padding_every_place_is_a_row() -> None:
    places = Places.of(3, 4, None)
    rows = torch.arange(12)[:, None]
    assert places.n_rows == 12
    assert places.pad(rows) is rows
    assert places.pack(rows) is rows
    assert places.firsts(CPU).tolist() == [0, 4, 8]


def test_on_other_devices_nothing_is_packed() -> None:
    present = torch.ones(3, 4, dtype=torch.bool, device="meta")
    assert Places.of(3, 4, present).rows is None

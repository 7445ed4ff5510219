"""A download resumes after whatever breaks it, and each byte is sent once."""

import time
from pathlib import Path

import pytest
from breaking_server import Answer, BreakingServer, Served
from downloads_made import OTHER_ZIP, QUICK, ZIP, Get, break_off, part_of, receipt_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_zips import zip_bytes

from lxmert_tickets.downloads.fetch import Patience, fetch
from lxmert_tickets.errors import DataError


def test_a_download_resumes_by_range_after_its_connection_breaks(
    server: BreakingServer, get: Get, target: Path
) -> None:
    last = len(ZIP) - 1
    server.answers = [Answer(break_after=n) for n in (70_000, 50_000, last - 120_000)]
    assert get(server.url()) == receipt_of(ZIP)
    assert target.read_bytes() == ZIP
    assert [asked.first_byte for asked in server.asked] == [None, 70_000, 120_000, last]
    assert [asked.headers.get("if-range") for asked in server.asked] == [None, *3 * ['"one"']]
    assert server.sent == len(ZIP)


def test_a_modification_date_identifies_the_version_as_well_as_an_etag(server: BreakingServer, get: Get) -> None:
    old = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.files["/train.zip"] = Served(ZIP, etag=None, last_modified=old)
    server.answers = [Answer(break_after=70_000)]
    get(server.url())
    assert server.asked[1].headers["if-range"] == old
    assert server.sent == len(ZIP)


@pytest.mark.parametrize("etag", [None, 'W/"one"'])
def test_a_half_file_without_a_strong_validator_is_not_resumed(
    server: BreakingServer, get: Get, target: Path, etag: str | None
) -> None:
    server.files["/train.zip"] = Served(ZIP, etag=etag)
    server.answers = [Answer(break_after=70_000)]
    get(server.url())
    assert [asked.first_byte for asked in server.asked] == [None, None]
    assert target.read_bytes() == ZIP


def test_more_breaks_than_attempts_do_no_harm_while_bytes_arrive(server: BreakingServer, get: Get) -> None:
    server.answers = [Answer(break_after=20_000)] * 9
    assert get(server.url()) == receipt_of(ZIP)
    assert server.sent == len(ZIP)


def test_the_next_run_resumes_where_the_last_gave_up(server: BreakingServer, get: Get, target: Path) -> None:
    break_off(get, server, 150_000)
    assert part_of(target).read_bytes() == ZIP[:150_000]
    assert get(server.url()) == receipt_of(ZIP)
    assert [asked.first_byte for asked in server.asked] == [150_000]
    assert target.read_bytes() == ZIP


@pytest.mark.parametrize("statuses", [(503, 500), (408, 425)])
def test_a_server_that_fails_for_a_while_is_asked_again(
    server: BreakingServer, get: Get, statuses: tuple[int, int]
) -> None:
    server.answers = [Answer(status=status) for status in statuses]
    assert get(server.url()) == receipt_of(ZIP)
    assert [asked.status for asked in server.asked] == [*statuses, 200]


def test_a_server_that_asks_for_a_pause_gets_it(server: BreakingServer, get: Get) -> None:
    server.answers = [Answer(status=429, headers={"Retry-After": "1"})]
    started = time.monotonic()
    get(server.url())
    assert time.monotonic() - started >= 1


def test_a_server_that_asks_for_too_long_a_pause_is_left_for_the_next_mirror(
    server: BreakingServer, mirror: BreakingServer, get: Get
) -> None:
    server.answers = [Answer(status=503, headers={"Retry-After": "86400"})]
    assert get(server.url(), mirror.url()) == receipt_of(ZIP)
    assert len(server.asked) == 1


def test_a_server_that_falls_silent_is_asked_again(server: BreakingServer, get: Get) -> None:
    server.answers = [Answer(stall_after=90_000), Answer(stall_after=0)]
    assert get(server.url()) == receipt_of(ZIP)
    assert [asked.first_byte for asked in server.asked] == [None, 90_000, 90_000]


def test_a_slow_server_is_waited_for(server: BreakingServer, get: Get) -> None:
    server.answers = [Answer(bytes_per_second=200_000)]  # a second in all, twice the silence that is tolerated
    assert get(server.url()) == receipt_of(ZIP)
    assert len(server.asked) == 1


def test_a_download_from_a_server_without_ranges_begins_anew(server: BreakingServer, get: Get, target: Path) -> None:
    server.answers = [Answer(break_after=70_000), Answer(ignores_range=True)]
    assert get(server.url()) == receipt_of(ZIP)
    assert [asked.status for asked in server.asked] == [200, 200]
    assert target.read_bytes() == ZIP


def test_a_server_without_ranges_whose_connection_always_breaks_is_given_up(server: BreakingServer, get: Get) -> None:
    server.always = Answer(break_after=70_000, ignores_range=True)
    with pytest.raises(DataError, match="breaks off"):
        get(server.url())
    assert len(server.asked) == QUICK.attempts + 1


def test_only_bytes_beyond_all_earlier_ones_earn_more_attempts(server: BreakingServer, get: Get) -> None:
    server.answers = [Answer(break_after=n, ignores_range=True) for n in (70_000, 50_000, 60_000, 50_000, 60_000)]
    with pytest.raises(DataError, match="breaks off"):
        get(server.url())
    assert len(server.asked) == QUICK.attempts + 1


def test_halves_of_two_versions_are_never_joined(server: BreakingServer, get: Get, target: Path) -> None:
    break_off(get, server, 70_000)
    server.files["/train.zip"] = Served(OTHER_ZIP, etag='"two"')
    assert get(server.url()) == receipt_of(OTHER_ZIP)
    assert target.read_bytes() == OTHER_ZIP


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (Served(b"a" * 9999), Served(b"b" * 9999, etag='"two"')),
        (Served(b"a" * 9999), Served(b"b" * 9999, etag='W/"one"')),
        (
            Served(b"a" * 9999, etag=None, last_modified="Wed, 21 Oct 2015 07:28:00 GMT"),
            Served(b"b" * 9999, etag=None, last_modified="Thu, 22 Oct 2015 07:28:00 GMT"),
        ),
    ],
)
def test_halves_of_two_versions_are_not_joined_where_the_server_ignores_if_range(
    server: BreakingServer, target: Path, lock: Path, before: Served, now: Served
) -> None:
    target = target.with_name("a.tsv")  # no checksum within would reveal the join
    server.files["/a.tsv"] = before
    server.answers = [Answer(break_after=5000), Answer(status=404)]
    with pytest.raises(DataError):
        fetch([server.url("/a.tsv")], target, lock=lock, patience=QUICK)
    server.files["/a.tsv"], server.always = now, Answer(ignores_condition=True)
    assert fetch([server.url("/a.tsv")], target, lock=lock, patience=QUICK) == receipt_of(now.content)
    assert target.read_bytes() == now.content


def test_status_416_for_a_whole_file_means_that_it_is_complete(server: BreakingServer, get: Get) -> None:
    server.answers = [Answer(break_after=70_000), Answer(chunked=True, break_after=len(ZIP))]  # all but the last chunk
    assert get(server.url()) == receipt_of(ZIP)
    assert [asked.status for asked in server.asked] == [200, 206, 416]


def test_status_416_for_a_whole_file_that_has_become_shorter_makes_it_begin_anew(
    server: BreakingServer, get: Get
) -> None:
    server.answers = [
        Answer(break_after=70_000), Answer(chunked=True, break_after=len(ZIP)),
        Answer(status=416, headers={"Content-Range": "bytes */100"}),
    ]  # fmt: skip
    assert get(server.url()) == receipt_of(ZIP)
    assert [asked.first_byte for asked in server.asked] == [None, 70_000, len(ZIP), None]


def test_status_416_for_a_file_of_unknown_size_makes_it_begin_anew(server: BreakingServer, get: Get) -> None:
    shrunk = {"Content-Range": "bytes */70000"}
    server.answers = [Answer(chunked=True, break_after=70_000), Answer(status=416, headers=shrunk)]
    assert get(server.url()) == receipt_of(ZIP)
    assert [asked.first_byte for asked in server.asked] == [None, 70_000, None]


def test_a_rest_without_the_size_of_the_file_makes_one_of_unknown_size_begin_anew(
    server: BreakingServer, get: Get
) -> None:
    server.answers = [
        Answer(chunked=True, break_after=70_000), Answer(headers={"Content-Range": "bytes 70000-200115/*"})
    ]  # fmt: skip
    assert get(server.url()) == receipt_of(ZIP)
    assert [asked.first_byte for asked in server.asked] == [None, 70_000, None]


def test_status_416_for_a_half_file_makes_it_begin_anew(server: BreakingServer, get: Get) -> None:
    server.answers = [Answer(break_after=70_000), Answer(status=416, headers={"Content-Range": "bytes */100"})]
    assert get(server.url()) == receipt_of(ZIP)
    assert [asked.first_byte for asked in server.asked] == [None, 70_000, None]


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 69999-200114/200116",
        "bytes 0-129999/200116",
        "bytes 70001-200115/200116",
        "bytes 70000-200115/300000",
        "bytes 70000-79999/200116",
        "bytes 70000-/200116",
        "",
    ],
)
def test_a_range_that_was_not_asked_for_is_not_accepted(
    server: BreakingServer, get: Get, target: Path, content_range: str
) -> None:
    assert len(ZIP) == 200_116
    server.answers = [Answer(break_after=70_000), Answer(headers={"Content-Range": content_range})]
    assert get(server.url()) == receipt_of(ZIP)
    assert target.read_bytes() == ZIP
    assert [asked.first_byte for asked in server.asked] == [None, 70_000, None]


def test_more_bytes_than_were_announced_are_not_accepted(server: BreakingServer, get: Get, target: Path) -> None:
    break_off(get, server, 70_000)
    longer = Answer(chunked=True, headers={"Content-Range": "bytes 70000-200115/200116"})
    server.files["/train.zip"], server.answers = Served(ZIP + b"x"), [longer, Answer(status=404)]
    with pytest.raises(DataError):
        get(server.url())
    assert len(part_of(target).read_bytes()) <= len(ZIP)
    server.files["/train.zip"] = Served(ZIP, etag='"two"')
    assert get(server.url()) == receipt_of(ZIP)


@pytest.mark.parametrize("total", ["200116", "*"])
def test_a_server_may_send_less_than_the_rest(server: BreakingServer, get: Get, total: str) -> None:
    some = {"Content-Range": f"bytes 70000-79999/{total}", "Content-Length": "10000"}
    server.answers = [Answer(break_after=70_000), Answer(headers=some, break_after=10_000)]
    assert get(server.url()) == receipt_of(ZIP)
    assert [asked.first_byte for asked in server.asked] == [None, 70_000, 80_000]


def test_a_size_that_is_never_reached_is_a_failure(server: BreakingServer, get: Get, target: Path) -> None:
    server.always = Answer(headers={"Content-Length": str(len(ZIP) + 1000)})
    with pytest.raises(DataError, match="times in a row"):
        get(server.url())
    assert not target.exists()


def test_a_size_that_is_too_small_shows_in_the_content(server: BreakingServer, get: Get, target: Path) -> None:
    server.always = Answer(headers={"Content-Length": str(len(ZIP) - 1000)}, ignores_range=True)
    with pytest.raises(DataError, match="damaged zip"):
        get(server.url())
    assert not target.exists()
    assert not part_of(target).exists()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(0, 120_000),
    seed=st.integers(0, 9),
    breaks=st.lists(st.integers(0, 60_000), max_size=6),
    n_kept=st.integers(1, 3),
)
def test_whatever_breaks_a_file_arrives_intact_and_is_sent_once(
    server: BreakingServer,
    tmp_path_factory: pytest.TempPathFactory,
    size: int,
    seed: int,
    breaks: list[int],
    n_kept: int,
) -> None:
    content, folder = zip_bytes(size, seed), tmp_path_factory.mktemp("broken")
    server.files["/train.zip"] = Served(content)
    server.answers = [Answer(break_after=n) for n in breaks]
    server.asked.clear()
    patience = Patience(attempts=n_kept + 6, first_pause_seconds=0, longest_pause_seconds=0)
    fetch([server.url()], folder / "train.zip", lock=folder / "lock.json", patience=patience)
    assert (folder / "train.zip").read_bytes() == content
    assert server.sent <= len(content) + 4096 * len(breaks)  # bytes too few to tell the kind of file are not kept


def test_pauses_grow_up_to_the_longest() -> None:
    patience = Patience(first_pause_seconds=2, longest_pause_seconds=10)
    for n, longest in [(0, 2), (1, 2), (2, 4), (3, 8), (4, 10), (50, 10)]:
        pauses = [patience.pause(n) for _ in range(200)]
        assert longest / 2 <= min(pauses) < longest * 0.6
        assert longest * 0.9 < max(pauses) <= longest

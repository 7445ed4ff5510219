"""What is not the file is refused; the next mirror is asked, and every reason is reported."""

from pathlib import Path

import pytest
from breaking_server import Answer, BreakingServer, Served
from downloads_made import OTHER_ZIP, PAGE, QUICK, ZIP, Get, break_off, part_of, pin, receipt_of
from made_zips import zip_bytes

from lxmert_tickets.downloads.fetch import fetch
from lxmert_tickets.downloads.half_file import HalfFile, Origin
from lxmert_tickets.errors import DataError


def test_a_page_instead_of_the_file_is_refused_with_its_title(
    server: BreakingServer, mirror: BreakingServer, get: Get, target: Path
) -> None:
    server.files["/train.zip"] = Served(PAGE, content_type="application/zip")
    with pytest.raises(DataError, match='is a web page with the title "Sorry, we are down"'):
        get(server.url())
    assert len(server.asked) == 1
    assert get(server.url(), mirror.url()) == receipt_of(ZIP)
    assert target.read_bytes() == ZIP


def test_a_page_is_recognised_even_by_its_type_alone(server: BreakingServer, target: Path, lock: Path) -> None:
    server.files["/a.txt"] = Served(b"Sorry", content_type="text/html")
    with pytest.raises(DataError, match="is a web page"):
        fetch([server.url("/a.txt")], target.with_name("a.txt"), lock=lock, patience=QUICK)


def test_a_page_instead_of_the_rest_leaves_the_half_file_unharmed(
    server: BreakingServer, get: Get, target: Path
) -> None:
    break_off(get, server, 150_000)
    server.files["/train.zip"] = Served(PAGE, etag='"page"', content_type="text/html")
    with pytest.raises(DataError, match=r"150\.0 kB have arrived and are kept"):
        get(server.url())
    assert part_of(target).read_bytes() == ZIP[:150_000]


def test_a_truncated_zip_is_refused_though_its_size_is_as_announced(
    server: BreakingServer, get: Get, target: Path
) -> None:
    server.files["/train.zip"] = Served(ZIP[:-100])
    with pytest.raises(DataError, match="damaged zip"):
        get(server.url())
    assert len(server.asked) == 1  # nothing was joined: it would be the same again
    assert not target.exists()
    assert not part_of(target).exists()


def test_a_truncated_zip_on_one_mirror_leads_to_the_next(
    server: BreakingServer, mirror: BreakingServer, get: Get
) -> None:
    server.files["/train.zip"] = Served(ZIP[:-100])
    assert get(server.url(), mirror.url()) == receipt_of(ZIP)


def test_json_nested_too_deeply_leads_to_the_next_mirror(
    server: BreakingServer, mirror: BreakingServer, target: Path, lock: Path
) -> None:
    target = target.with_name("a.json")
    server.files["/a.json"], mirror.files["/a.json"] = Served(b"[" * 2_000_000), Served(b"[]")
    with pytest.raises(DataError, match="gave a file that is JSON nested too deep"):
        fetch([server.url("/a.json")], target, lock=lock, patience=QUICK)
    assert not part_of(target).exists()
    urls = [server.url("/a.json"), mirror.url("/a.json")]
    assert fetch(urls, target, lock=lock, patience=QUICK) == receipt_of(b"[]")


def test_bytes_other_than_the_pinned_ones_are_refused_with_both_digests_and_the_remedy(
    server: BreakingServer, get: Get, target: Path, lock: Path
) -> None:
    server.files["/train.zip"] = Served(OTHER_ZIP)
    pin(lock, ZIP)
    before = lock.read_bytes()
    with pytest.raises(DataError) as caught:
        get(server.url())
    assert receipt_of(ZIP).sha256 in str(caught.value)
    assert receipt_of(OTHER_ZIP).sha256 in str(caught.value)
    assert f'remove the entry "vqa2/train.zip" from {lock}' in str(caught.value)
    assert not target.exists()
    assert lock.read_bytes() == before


def test_a_file_of_another_size_than_the_pinned_one_is_not_even_downloaded(
    server: BreakingServer, get: Get, lock: Path
) -> None:
    pin(lock, zip_bytes(5_000_000))
    with pytest.raises(DataError, match=r"file of 200116 bytes; expected 5000116.*remove the entry"):
        get(server.url())
    assert len(server.asked) == 1


def test_a_gzipped_answer_is_refused(server: BreakingServer, get: Get) -> None:
    server.always = Answer(headers={"Content-Encoding": "gzip"})
    with pytest.raises(DataError, match="coded as 'gzip'"):
        get(server.url())


def test_a_chunked_answer_without_a_size_is_accepted(server: BreakingServer, get: Get, target: Path) -> None:
    server.answers = [Answer(chunked=True, break_after=70_000)]
    assert get(server.url()) == receipt_of(ZIP)
    assert server.sent == len(ZIP)


def test_an_answer_of_unknown_length_is_refused_unless_the_file_itself_shows_its_end(
    server: BreakingServer, target: Path, lock: Path
) -> None:
    server.files["/a.txt"] = Served(b"a line\n" * 1000)
    server.always = Answer(leave_out=("Content-Length",), headers={"Connection": "close"})
    with pytest.raises(DataError, match="does not say how long"):
        fetch([server.url("/a.txt")], target.with_name("a.txt"), lock=lock, patience=QUICK)
    assert fetch([server.url()], target, lock=lock, patience=QUICK) == receipt_of(ZIP)
    server.always = Answer(chunked=True)
    fetch([server.url("/a.txt")], target.with_name("a.txt"), lock=lock, patience=QUICK)


def test_a_redirect_is_followed_with_its_range(server: BreakingServer, mirror: BreakingServer, get: Get) -> None:
    mirror.files["/store"] = Served(ZIP)
    mirror.answers = [Answer(break_after=70_000)]
    server.always = Answer(status=302, headers={"Location": mirror.url("/store?signature=secret")})
    assert get(server.url()) == receipt_of(ZIP)
    assert [asked.first_byte for asked in mirror.asked] == [None, 70_000]


def test_circular_redirects_end_with_an_error(server: BreakingServer, get: Get) -> None:
    server.always = Answer(status=302, headers={"Location": "/train.zip"})
    with pytest.raises(DataError, match="redirects more than 10 times"):
        get(server.url())
    assert len(server.asked) == 11


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[::1", "gopher:x"])
def test_a_redirect_that_leaves_the_web_is_refused(server: BreakingServer, get: Get, location: str) -> None:
    server.always = Answer(status=302, headers={"Location": location})
    with pytest.raises(DataError, match="redirects to"):
        get(server.url())


def test_a_missing_file_is_not_asked_for_again_and_every_mirror_is_named(
    server: BreakingServer, mirror: BreakingServer, get: Get, target: Path
) -> None:
    server.files.clear()
    mirror.always = Answer(status=503)
    with pytest.raises(DataError) as caught:
        get(server.url(), mirror.url())
    message = str(caught.value)
    assert f"{server.url()}, which answers 404 Not Found" in message
    assert f"{mirror.url()}, which answers 503 Service Unavailable (3 times in a row)" in message
    assert f"put the file at {target} by hand" in message
    assert (len(server.asked), len(mirror.asked)) == (1, 3)


def test_a_host_that_is_down_leads_to_the_next_mirror(server: BreakingServer, get: Get) -> None:
    assert get("http://127.0.0.1:9/train.zip", server.url()) == receipt_of(ZIP)


def test_an_impossible_host_name_leads_to_the_next_mirror(server: BreakingServer, get: Get) -> None:
    with pytest.raises(DataError, match="host name that cannot be looked up"):
        get(f"http://{'a' * 64}.invalid/train.zip")
    assert get(f"http://{'a' * 64}.invalid/train.zip", server.url()) == receipt_of(ZIP)


def test_the_rest_of_a_half_file_is_first_asked_for_where_it_came_from(
    server: BreakingServer, mirror: BreakingServer, get: Get
) -> None:
    break_off(get, mirror, 150_000)
    assert get(server.url(), mirror.url()) == receipt_of(ZIP)
    assert (server.sent, mirror.sent) == (0, len(ZIP) - 150_000)


def test_a_half_file_is_resumed_from_another_mirror_when_its_digest_is_pinned(
    server: BreakingServer, mirror: BreakingServer, get: Get, lock: Path, target: Path
) -> None:
    pin(lock, ZIP)
    break_off(get, server, 150_000)
    mirror.files["/train.zip"] = Served(ZIP, etag='"of another host"')
    assert get(mirror.url()) == receipt_of(ZIP)
    assert mirror.sent == len(ZIP) - 150_000
    assert target.read_bytes() == ZIP


def test_another_mirror_begins_a_half_file_anew_when_nothing_is_pinned(
    server: BreakingServer, mirror: BreakingServer, get: Get
) -> None:
    break_off(get, server, 150_000)
    mirror.files["/train.zip"] = Served(ZIP, etag='"of another host"')
    assert get(mirror.url()) == receipt_of(ZIP)
    assert mirror.sent == len(ZIP)


def test_mismatched_halves_are_downloaded_once_more_from_the_start(
    server: BreakingServer, get: Get, lock: Path, target: Path
) -> None:
    break_off(get, server, 150_000, content=OTHER_ZIP)  # the same ETag: a server that lies
    pin(lock, ZIP)
    server.files["/train.zip"] = Served(ZIP)
    assert get(server.url()) == receipt_of(ZIP)
    assert [asked.first_byte for asked in server.asked] == [150_000, None]
    assert target.read_bytes() == ZIP


def test_mismatched_halves_of_two_mirrors_are_downloaded_once_more_too(
    server: BreakingServer, mirror: BreakingServer, get: Get, lock: Path
) -> None:
    pin(lock, ZIP)
    server.files["/train.zip"] = Served(OTHER_ZIP)
    server.answers = [Answer(break_after=150_000), Answer(status=404)]
    assert get(server.url(), mirror.url()) == receipt_of(ZIP)
    assert [asked.first_byte for asked in mirror.asked] == [150_000, None]


@pytest.mark.parametrize("origin", [b"{", b"\0" * 100, b'{"mirror": "\xff", "validator": null, "size_bytes": null}'])
def test_a_half_file_of_unknown_origin_is_discarded(
    server: BreakingServer, get: Get, target: Path, origin: bytes
) -> None:
    break_off(get, server, 150_000)
    target.with_name(".train.zip.part.json").write_bytes(origin)
    with pytest.raises(DataError):
        get(server.url("/gone.zip"))
    assert not part_of(target).exists()
    assert get(server.url()) == receipt_of(ZIP)
    assert server.sent == len(ZIP)


def test_a_download_killed_before_its_last_step_is_finished_without_network(
    server: BreakingServer, get: Get, target: Path
) -> None:
    break_off(get, server, 150_000)
    part_of(target).write_bytes(ZIP)
    assert get() == receipt_of(ZIP)
    assert target.read_bytes() == ZIP
    assert not server.asked


def test_json_left_by_a_killed_run_is_discarded_when_nested_too_deeply(
    server: BreakingServer, mirror: BreakingServer, target: Path, lock: Path
) -> None:
    target, bad = target.with_name("a.json"), b"[" * 200_000
    target.parent.mkdir(parents=True)
    with HalfFile(target) as half:
        half.begin(Origin(server.url("/a.json"), '"1"', len(bad)))
        half.append(bad)
    mirror.files["/a.json"] = Served(b"[]")
    urls = [server.url("/a.json"), mirror.url("/a.json")]
    assert fetch(urls, target, lock=lock, patience=QUICK) == receipt_of(b"[]")
    assert target.read_bytes() == b"[]"

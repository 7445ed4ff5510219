"""Which headers of an answer may be trusted."""

from datetime import UTC, datetime

import pytest

from lxmert_tickets.downloads.transfer import retry_after_seconds, strong_validator

NOW = datetime(2015, 10, 21, 7, 28, tzinfo=UTC)
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
SECOND_LATER = "Wed, 21 Oct 2015 07:28:01 GMT"
BEYOND_ALL_DATES = "Wed, 21 Oct 2015 07:28:00 +99999999999999"


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"etag": '"a"'}, '"a"'),
        ({"etag": 'W/"a"'}, None),
        ({"etag": 'W/"a"', "last-modified": DATE, "date": SECOND_LATER}, None),
        ({"etag": "unquoted"}, None),
        ({"last-modified": DATE, "date": SECOND_LATER}, DATE),
        ({"last-modified": DATE, "date": DATE}, None),
        ({"last-modified": DATE}, None),
        ({"last-modified": "yesterday", "date": SECOND_LATER}, None),
        ({"last-modified": BEYOND_ALL_DATES, "date": SECOND_LATER}, None),
        ({}, None),
    ],
)
def test_only_a_header_that_identifies_one_version_is_a_strong_validator(
    headers: dict[str, str], validator: str | None
) -> None:
    assert strong_validator(headers) == validator


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, None), ("7", 7), (" 0 ", 0), (SECOND_LATER, 1), ("Wed, 21 Oct 2015 07:20:00 GMT", 0), ("soon", None),
     ("Wed, 21 Oct 2015 07:28:01 -0000", 1), ("Wed, 21 Oct 2015 09:28:01 +0200", 1),
     ("-5", None), ("1.5", None), ("9" * 400, None), (BEYOND_ALL_DATES, None)],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(text, NOW) == seconds

"""An address is shown without its secrets, and leads only where it may."""

import pytest
from httpx2 import URL

from lxmert_tickets.downloads.addresses import parsed, refusal, shown
from lxmert_tickets.errors import ConfigError


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("https://host/a.zip", "https://host/a.zip"),
        ("https://me:hunter2@host:8443/a.zip?X-Signature=hunter2#hunter2", "https://host:8443/a.zip"),
        ("https://hunter2@host/a%20b.zip?hunter2", "https://host/a%20b.zip"),
    ],
)
def test_an_address_is_shown_without_user_query_and_fragment(address: str, text: str) -> None:
    assert shown(URL(address)) == text


@pytest.mark.parametrize("start", ["ftp://", "", "https:", "https:/", "https:///", "https//"])
def test_the_error_for_a_refused_address_shows_no_secrets(start: str) -> None:
    with pytest.raises(ConfigError, match=r"^urls: '.*host/a'; expected an address that starts with") as caught:
        parsed(f"{start}me:hunter2@host/a?hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("origin", "leads_to", "is_refused"),
    [
        ("https://a/x", "https://b/x", False),
        ("http://a/x", "https://b/x", False),
        ("http://a/x", "http://b/x", False),
        ("https://a/x", "http://me:hunter2@b/x?hunter2", True),
        ("https://a/x", "http://a/x", True),
        ("https://a/x", "http://127.0.0.1.evil/x", True),
        ("https://a/x", "http://127.0.0.1:80/x", False),
        ("https://a/x", "http://[::1]/x", False),
        ("https://a/x", "http://localhost/x", False),
        ("http://a/x", "file:///etc/passwd", True),
        ("http://a/x", "ftp://b/x", True),
    ],
)
def test_a_redirect_never_leads_from_https_to_http_or_off_the_web(origin: str, leads_to: str, is_refused: bool) -> None:
    told = refusal(URL(origin), URL(leads_to))
    assert (told is not None) == is_refused
    assert "hunter2" not in str(told)

"""Addresses: what may be shown of them, and where a redirect may lead."""

import ipaddress
import os

from httpx2 import URL, InvalidURL

from lxmert_tickets.errors import ConfigError

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")


def parsed(url: str, place: str = "urls") -> URL:
    """Return `url`, parsed; `place` names where it comes from.

    Raises ConfigError, which shows neither password nor query, when it is not an http or https address.
    """
    try:
        address = URL(url)
    except InvalidURL:
        raise ConfigError(place, "an address that cannot be read", "https://HOST/PATH") from None
    if address.scheme not in ("http", "https") or not address.host:
        told = shown(address)
        if not address.host:  # then user and password are part of the path
            told = told.rpartition("@")[2]
        raise ConfigError(place, f"{told!r}", "an address that starts with https:// or http://")
    return address


def check_proxies() -> None:
    """Raise ConfigError, naming the environment variable, for a proxy that is not an http or https address."""
    for name, value in os.environ.items():
        if name.lower() in PROXY_VARIABLES and value:
            parsed(value if "://" in value else f"http://{value}", name)


def check_certificates(error: OSError) -> None:
    """Raise ConfigError, naming the environment variables that ssl reads, if `error` may be of their files."""
    if named := [f"{name}={os.environ[name]}" for name in CERTIFICATE_VARIABLES if os.environ.get(name)]:
        found = f"cannot be used ({error.strerror or error})"
        raise ConfigError(" ".join(named), found, "files of certificates", "Correct the variable, or unset it.")


def shown(address: URL) -> str:
    """Return an address without user, password, query and fragment: these carry tokens and signatures."""
    return str(address.copy_with(username=None, password=None, query=None, fragment=None))


def refusal(origin: URL, leads_to: URL) -> str | None:
    """Return why a redirect from `origin` is not followed; None when it is."""
    if leads_to.scheme not in ("http", "https"):
        return f"redirects to {leads_to.scheme}://, which is not a web address"
    if origin.scheme == "https" and leads_to.scheme == "http" and not _is_loopback(leads_to.host):
        return f"redirects from https to the unprotected {shown(leads_to)}"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

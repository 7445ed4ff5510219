"""A file ends up in place and verified, whether downloaded or put there by hand; no secret is shown."""

import errno
import json
import logging
import os
import shutil
import ssl
import subprocess
import zipfile
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pytest
from breaking_server import Answer, BreakingServer, Served
from downloads_made import OTHER_ZIP, PAGE, ZIP, Get, break_off, part_of, pin, receipt_of

from lxmert_tickets.downloads.addresses import CERTIFICATE_VARIABLES
from lxmert_tickets.errors import ArtifactError, ConfigError, DataError


def test_a_file_is_downloaded_verified_and_pinned(server: BreakingServer, get: Get, target: Path, lock: Path) -> None:
    assert get(server.url()) == receipt_of(ZIP)
    assert target.read_bytes() == ZIP
    entry = {"sha256": receipt_of(ZIP).sha256, "size_bytes": len(ZIP), "url": server.url()}
    assert json.loads(lock.read_text()) == {"vqa2/train.zip": entry}
    assert server.asked[0].headers["accept-encoding"] == "identity"


def test_nothing_is_left_beside_the_file_but_its_lock(server: BreakingServer, get: Get, target: Path) -> None:
    get(server.url())
    assert sorted(path.name for path in target.parent.iterdir()) == [".train.zip.lock", "train.zip"]


def test_a_download_is_flushed_to_disk_before_it_gets_its_name(
    server: BreakingServer, get: Get, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: dict[int, bool] = {}
    monkeypatch.setattr(os, "fsync", lambda file: flushed.setdefault(os.fstat(file).st_ino, target.exists()))
    get(server.url())
    assert flushed[target.stat().st_ino] is False


def test_a_file_put_in_place_by_hand_is_accepted_without_network(get: Get, target: Path, lock: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(ZIP)
    assert get("http://127.0.0.1:9/train.zip") == receipt_of(ZIP)
    entry = {"sha256": receipt_of(ZIP).sha256, "size_bytes": len(ZIP), "url": None}
    assert json.loads(lock.read_text()) == {"vqa2/train.zip": entry}


def test_a_link_put_in_place_is_followed(get: Get, target: Path, tmp_path: Path) -> None:
    (tmp_path / "big_disk.zip").write_bytes(ZIP)
    target.parent.mkdir(parents=True)
    target.symlink_to(tmp_path / "big_disk.zip")
    assert get() == receipt_of(ZIP)
    assert target.is_symlink()
    (tmp_path / "big_disk.zip").unlink()
    with pytest.raises(DataError, match="broken link"):
        get()


def test_a_folder_in_place_of_the_file_is_refused_and_left_alone(get: Get, target: Path) -> None:
    target.mkdir(parents=True)
    with pytest.raises(DataError, match=r"train\.zip: a folder or .*; expected a file\. Nothing was changed"):
        get()
    assert target.is_dir()


def test_a_file_in_place_of_the_folder_is_named_with_the_remedy(get: Get, target: Path) -> None:
    target.parent.parent.mkdir()
    target.parent.write_bytes(b"")
    with pytest.raises(ArtifactError, match=rf"cannot be opened for locking .* Remove {target.parent}\."):
        get()


@pytest.mark.parametrize(
    ("content", "message"),
    [(PAGE, "is a web page"), (ZIP[:-100], "damaged zip"), (b"", "is empty"), (b"hello", "begins with b'hello'")],
)
def test_a_wrong_file_put_in_place_is_refused_and_left_alone(
    server: BreakingServer, get: Get, target: Path, content: bytes, message: str
) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    with pytest.raises(DataError, match=f"(?s){message}.*Nothing was changed"):
        get(server.url())
    assert target.read_bytes() == content
    assert not server.asked


def test_a_file_put_in_place_that_is_not_the_pinned_one_is_refused(get: Get, target: Path, lock: Path) -> None:
    pin(lock, ZIP)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(OTHER_ZIP)
    with pytest.raises(DataError, match=r"remove the entry.*Nothing was changed") as caught:
        get()
    assert receipt_of(ZIP).sha256 in str(caught.value)
    assert receipt_of(OTHER_ZIP).sha256 in str(caught.value)
    assert target.read_bytes() == OTHER_ZIP


def test_a_file_put_in_place_replaces_an_unfinished_download(server: BreakingServer, get: Get, target: Path) -> None:
    break_off(get, server, 150_000)
    target.write_bytes(ZIP)
    get(server.url())
    assert not part_of(target).exists()


@pytest.mark.parametrize("content", [ZIP, OTHER_ZIP])
def test_a_file_put_in_place_during_the_download_is_not_overwritten(
    server: BreakingServer, get: Get, target: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lxmert_tickets.downloads.fetch.check_content", lambda path, name: target.write_bytes(content))
    if content == ZIP:
        assert get(server.url()) == receipt_of(ZIP)
        assert not part_of(target).exists()
    else:
        with pytest.raises(DataError, match="Nothing was changed"):
            get(server.url())
    assert target.read_bytes() == content


def test_a_disk_that_fails_while_a_download_is_checked_costs_no_byte_of_it(
    server: BreakingServer, get: Get, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "open", fails)
        with pytest.raises(OSError, match=r"Input/output error: .*\.train\.zip\.part"):
            get(server.url())
    server.asked.clear()
    assert get(server.url()) == receipt_of(ZIP)
    assert target.read_bytes() == ZIP
    assert not server.asked


def test_without_a_mirror_or_a_file_the_error_gives_the_remedy(get: Get, target: Path) -> None:
    with pytest.raises(DataError, match=f"expected a mirror in the configuration.*{target} by hand"):
        get()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "vqa.zip", "http://", "http://[::1"])
def test_an_invalid_address_is_refused(get: Get, url: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        get(url)


def test_a_proxy_is_used_when_the_environment_names_one(
    server: BreakingServer, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["http://nowhere.invalid/train.zip"] = Served(ZIP)
    monkeypatch.delenv("http_proxy", raising=False)  # it would count before the other
    monkeypatch.setenv("HTTP_PROXY", server.url(""))
    assert get("http://nowhere.invalid/train.zip") == receipt_of(ZIP)


def test_a_proxy_that_opens_no_connection_is_asked_again_and_then_named_as_the_reason(
    server: BreakingServer, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("https_proxy", raising=False)  # it would count before the other
    monkeypatch.setenv("HTTPS_PROXY", server.url(""))  # answers CONNECT with 501
    with pytest.raises(DataError, match=r"cannot be reached through the proxy \(3 times in a row\)"):
        get("https://nowhere.invalid/train.zip")


@pytest.mark.parametrize(
    ("variable", "proxy", "message"),
    [
        ("ALL_PROXY", "socks5://me:hunter2@127.0.0.1:1", "'socks5://127.0.0.1:1'; expected an address that starts"),
        ("HTTP_PROXY", "ftp://127.0.0.1:1", "'ftp://127.0.0.1:1'; expected an address that starts"),
        ("HTTPS_PROXY", "http://[::1", "an address that cannot be read"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_reported_with_its_variable(
    get: Get, monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str, message: str
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):  # they would count before the others
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("Http_Proxy", "")  # is as good as unset
    monkeypatch.setenv("HTTP_PROXY", "127.0.0.1:9")
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(ConfigError) as caught:
        get("http://nowhere.invalid/train.zip")
    assert str(caught.value).startswith(f"{variable}: {message}")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "content"), [("SSL_CERT_FILE", None), ("SSL_CERT_FILE", "no certificate"), ("SSLKEYLOGFILE", None)]
)
def test_certificates_that_cannot_be_read_are_reported_with_their_variable(
    get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, content: str | None
) -> None:
    file = tmp_path / ("no such folder" if content is None else "") / "ca.pem"
    if content is not None:
        file.write_text(content)
    for name in CERTIFICATE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))  # only beside certificates is the other file opened
    monkeypatch.setenv(variable, str(file))
    with pytest.raises(ConfigError, match=rf"{variable}={file}.*: cannot be used \(.+\); .*Correct the variable"):
        get("http://nowhere.invalid/train.zip")


def test_a_server_with_an_unknown_certificate_is_refused_at_once_with_what_to_do(
    get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    make += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    (tmp_path / "train.zip").write_bytes(ZIP)
    with HTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"https://127.0.0.1:{server.server_port}/train.zip"
            with pytest.raises(DataError, match=r"CERTIFICATE_VERIFY_FAILED.* set SSL_CERT_FILE"):
                get(url)
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            assert get(url) == receipt_of(ZIP)
        finally:
            server.shutdown()
            thread.join()


def test_secrets_in_addresses_are_used_but_never_shown(
    server: BreakingServer, mirror: BreakingServer, get: Get, target: Path, lock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers = [Answer(status=503), Answer(break_after=70_000), Answer(status=404)]
    mirror.always = Answer(status=302, headers={"Location": server.url("/gone?signature=hunter2")})
    secret = server.url("/train.zip?signature=hunter2").replace("://", "://me:hunter2@")
    with pytest.raises(DataError) as caught:
        get(secret, mirror.url("/x?token=hunter2"))
    told = [str(caught.value), caplog.text, target.with_name(".train.zip.part.json").read_text()]
    get(secret)
    assert server.asked[-1].headers["authorization"].startswith("Basic ")
    assert "signature=hunter2" in server.asked[-1].path
    assert "hunter2" not in "".join([*told, caplog.text, lock.read_text()])


def test_a_half_file_is_resumed_though_the_signature_in_its_address_is_new(server: BreakingServer, get: Get) -> None:
    server.answers = [Answer(break_after=70_000), Answer(status=404)]
    with pytest.raises(DataError):
        get(server.url("/train.zip?signature=a"))
    get(server.url("/train.zip?signature=b"))
    assert server.sent == len(ZIP)


def test_the_progress_of_a_resumed_download_counts_the_bytes_already_there(
    server: BreakingServer, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.answers = [Answer(break_after=150_000)]
    get(server.url())
    assert any(line.startswith("downloading train.zip: 200.1 kB of 200.1 kB") for line in caplog.messages)
    assert any("breaks off" in line and "after 150.0 kB; trying again" in line for line in caplog.messages)

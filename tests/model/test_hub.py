"""Checkpoints come from the hub or its cache, at one commit and undamaged; otherwise an error says what to do."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hub_server import COMMIT, OTHER_COMMIT, Hub, serving
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st
from made_up_checkpoints import write_hub_repository
from toys import TINY, changed

from lxmert_tickets.errors import DataError
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.hub import HubCheckpoint, check_config, fetch_checkpoint, without_secrets

TOKEN = "hf_" + "Secret" * 5


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    write_hub_repository(folder, TINY, n_pretraining_answers=11)
    return folder


@pytest.fixture
def hub(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # it retries with pauses
    with serving(Hub(repository)) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fetch(hub: Hub, cache: Path, revision: str = "main") -> HubCheckpoint:
    return fetch_checkpoint(hub.repository, revision, endpoint=hub.url, cache=cache)


def refusal(hub: Hub, cache: Path, revision: str = "main") -> str:
    with pytest.raises(DataError) as error:
        fetch(hub, cache, revision)
    message = str(error.value)
    assert message.startswith(f"{hub.repository} at {revision} ({without_secrets(hub.url)}): ")
    assert f"hf download {hub.repository} config.json pytorch_model.bin --revision {revision}" in message
    assert "pytorch_model.bin" in message
    return message


def test_weights_and_config_arrive_intact_with_the_commit_of_the_branch(hub: Hub, cache: Path) -> None:
    found = fetch(hub, cache)
    assert found.weights.read_bytes() == (hub.folder / "pytorch_model.bin").read_bytes()
    assert json.loads(found.config.read_text()) == json.loads((hub.folder / "config.json").read_text())
    assert found.commit == COMMIT
    assert found.sha256 == found.weights.resolve().name


def test_safetensors_are_preferred_and_pytorch_weights_are_then_not_fetched(
    hub: Hub, cache: Path, tmp_path: Path
) -> None:
    write_hub_repository(tmp_path / "both", TINY, 11)
    write_hub_repository(tmp_path / "both", TINY, 11, safetensors=True)
    hub.folder = tmp_path / "both"
    assert fetch(hub, cache).weights.name == "model.safetensors"
    assert not [path for path in hub.paths("GET") if "pytorch_model" in path]


@pytest.mark.parametrize("knows_error_codes", [True, False])
def test_without_safetensors_the_pytorch_weights_are_fetched_from_mirrors_too(
    hub: Hub, cache: Path, knows_error_codes: bool
) -> None:
    hub.knows_error_codes = knows_error_codes
    assert fetch(hub, cache).weights.name == "pytorch_model.bin"


def test_all_files_come_from_the_commit_that_the_branch_had_at_first(hub: Hub, cache: Path) -> None:
    fetch(hub, cache)
    revisions = [path.split("/resolve/")[1].split("/")[0] for path in hub.paths("HEAD")]
    assert revisions == ["main", COMMIT, COMMIT]


def test_a_pinned_commit_is_fetched_and_once_cached_not_fetched_again(hub: Hub, cache: Path) -> None:
    hub.branches["v1"] = OTHER_COMMIT
    assert fetch(hub, cache, OTHER_COMMIT).commit == OTHER_COMMIT
    asked = len(hub.requests)
    assert fetch(hub, cache, OTHER_COMMIT).commit == OTHER_COMMIT
    assert {path.rpartition("/")[2] for _, path, _ in hub.requests[asked:]} <= {"model.safetensors"}  # may exist now


def test_a_broken_download_resumes_where_it_broke(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # an incomplete chunk is lost
    hub.breaks_after = 10_000
    assert fetch(hub, cache).weights.read_bytes() == (hub.folder / "pytorch_model.bin").read_bytes()
    ranges = [headers.get("Range") for method, path, headers in hub.requests if method == "GET" and "model" in path]
    assert ranges == [None, "bytes=10000-"]


def test_weights_that_do_not_match_the_hub_are_refused_until_deleted(hub: Hub, cache: Path) -> None:
    hub.garbles = True
    with pytest.raises(
        DataError, match=r"SHA-256 is [0-9a-f]{64}; expected [0-9a-f]{64}, as the hub has it.*delete this file"
    ) as error:
        fetch(hub, cache)
    with pytest.raises(DataError, match="SHA-256"):
        fetch(hub, cache)
    hub.garbles = False
    Path(error.value.place).unlink()
    assert fetch(hub, cache).commit == COMMIT


def test_weights_in_a_store_shared_by_repositories_are_checked_too(hub: Hub, cache: Path) -> None:
    blob = fetch(hub, cache).weights.resolve()
    store = cache / "blobs" / ("0" * 64)  # not named after its SHA-256
    store.parent.mkdir()
    blob.rename(store)
    blob.symlink_to(store)
    assert fetch(hub, cache).sha256 == blob.name
    store.write_bytes(b"\0" + store.read_bytes()[1:])
    with pytest.raises(DataError, match=f"{store}: SHA-256 is"):
        fetch(hub, cache)


def test_a_private_repository_opens_with_the_token_from_the_environment(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = TOKEN
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch(hub, cache).commit == COMMIT


def test_a_wrong_token_is_refused_and_not_shown(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.token = TOKEN
    monkeypatch.setenv("HF_TOKEN", "hf_wrong" + TOKEN)
    message = refusal(hub, cache)
    assert "access is refused (401)" in message
    assert "HF_TOKEN" in message
    assert TOKEN not in message
    assert TOKEN not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("status", "code", "found", "remedy"),
    [
        (401, "RepoNotFound", "no such repository, or no permission to read it (401)", "hf auth login or set HF_TOKEN"),
        (404, "RepoNotFound", "no such repository, or no permission to read it (404)", "Check the repository's name"),
        (403, "GatedRepo", "its owner must grant access first (403)", "hf auth login"),
        (403, "", "access is refused (403)", "HF_TOKEN"),
        (404, "RevisionNotFound", "no such revision (404)", "a branch, a tag or a commit"),
        (404, "EntryNotFound", "a file is missing (404)", "Check that the repository is an LXMERT's"),
        (404, "", "the hub answers 404", "HF_ENDPOINT"),
        (500, "", "the hub answers 500", "Try again later, or set HF_ENDPOINT to a mirro"),
        (503, "", "the hub answers 503", "Try again later, or set HF_ENDPOINT to a mirro"),
    ],
)
def test_errors_from_the_hub_say_what_to_do(
    hub: Hub, cache: Path, status: int, code: str, found: str, remedy: str
) -> None:
    hub.status, hub.error_code = status, code
    message = refusal(hub, cache)
    assert found in message
    assert remedy in message


def test_a_hub_that_is_down_does_no_harm_once_the_files_are_cached(hub: Hub, cache: Path) -> None:
    before = fetch(hub, cache)
    hub.status = 503
    assert fetch(hub, cache) == before


def test_a_server_that_is_not_a_hub_is_reported_as_such(hub: Hub, cache: Path) -> None:
    hub.names_commits = False
    assert "what answers there is not a hub; expected " in refusal(hub, cache)


def test_an_unreachable_server_is_reported_with_the_advice_to_set_a_mirror(hub: Hub, cache: Path) -> None:
    hub.url = "http://127.0.0.1:9"
    message = refusal(hub, cache)
    assert "cannot be fetched (ConnectError: " in message
    assert "set HF_ENDPOINT to a mirror" in message


def test_a_password_in_the_address_of_a_mirror_is_not_shown(hub: Hub, cache: Path) -> None:
    hub.url = "http://someone:pass-word@127.0.0.1:9"
    assert "pass-word" not in refusal(hub, cache)


def test_offline_with_a_filled_cache_no_request_is_made(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fetch(hub, cache)
    asked = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(hub, cache) == before
    assert fetch(hub, cache, COMMIT) == before
    assert len(hub.requests) == asked


@pytest.mark.parametrize("kept", [(), ("config.json",)])
def test_offline_without_the_files_the_error_says_how_to_get_them(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, kept: tuple[str, ...]
) -> None:
    if kept:
        fetch(hub, cache).weights.unlink()
    else:
        shutil.rmtree(cache, ignore_errors=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refusal(hub, cache)
    assert "is not in the cache, and HF_HUB_OFFLINE forbids the network" in message
    assert "copy that machine's cache" in message


@pytest.mark.parametrize("name", ["", "two/slashes/here", "-dash/x", "https://x.org/y"])
def test_an_invalid_repository_name_is_refused(hub: Hub, cache: Path, name: str) -> None:
    hub.repository = name
    assert "cannot be fetched (HFValidationError: " in refusal(hub, cache)


def test_our_sizes_must_be_those_of_the_config_except_for_the_number_of_answers(hub: Hub) -> None:
    refused = []
    for size, ours in msgspec.structs.asdict(TINY).items():
        try:
            check_config(hub.folder / "config.json", changed(TINY, **{size: 2 * ours}))
        except DataError:
            refused.append(size)
    check_config(hub.folder / "config.json", TINY)
    assert refused == [size for size in msgspec.structs.asdict(TINY) if size != "n_answers"]


@pytest.mark.parametrize(
    ("ours", "found"),
    [
        ({"n_heads": 4}, "num_attention_heads is 2, not 4"),
        ({"n_cross_layers": 5, "vocab_size": 31}, "x_layers is 2, not 5; vocab_size is 30, not 31"),
        ({"max_positions": 512}, "max_position_embeddings is 12, not 512"),
    ],
)
def test_sizes_that_differ_are_all_named(hub: Hub, ours: dict[str, int], found: str) -> None:
    with pytest.raises(DataError, match=rf"config\.json: {found}; expected the sizes of the model section"):
        check_config(hub.folder / "config.json", changed(TINY, **ours))


def test_sizes_that_a_config_leaves_out_are_those_of_the_base_network(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "lxmert"}')
    check_config(tmp_path / "config.json", Architecture(n_answers=3129))
    with pytest.raises(DataError, match="hidden_size is 768, not 32"):
        check_config(tmp_path / "config.json", TINY)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"model_type": "bert"}', "model_type is 'bert', not 'lxmert'"),
        ('{"hidden_act": "relu"}', "hidden_act is 'relu', not 'gelu'"),
        ('{"type_vocab_size": 1, "visual_pos_dim": 7}', "type_vocab_size is 1, not 2; visual_pos_dim is 7, not 4"),
        ("<html>", "not valid JSON"),
        ("[]", "Expected `object`"),
    ],
)
def test_a_config_that_is_not_an_lxmerts_is_refused(tmp_path: Path, content: str, found: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(DataError, match=rf"config\.json.*{found}"):
        check_config(tmp_path / "config.json", Architecture(n_answers=3129))


@given(
    st.from_regex(r"hf_[A-Za-z0-9]{20,40}", fullmatch=True), st.sampled_from(["(%s)", "at %s.", "x=%s", "%s", "'%s'"])
)
def test_tokens_are_always_removed_from_messages(token: str, around: str) -> None:
    assert token not in without_secrets(around % token)


def test_the_token_in_use_is_removed_whatever_it_looks_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "open-sesame")
    assert without_secrets("Authorization: Bearer open-sesame") == "Authorization: Bearer …"


def test_passwords_and_signatures_are_removed_from_urls() -> None:
    text = "GET https://me:pw@cdn.example.org/a/b.bin?X-Signature=abc&Expires=3: 403 (is it there?)"
    assert without_secrets(text) == "GET https://cdn.example.org/a/b.bin 403 (is it there?)"

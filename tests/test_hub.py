"""Sources and uploads, through huggingface_hub's real client against the local Hub of hub_server.py."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hub_client import HubClient, client_environment
from hub_server import TOKEN, Ending, HubServer, Refusal
from safetensors.numpy import save

from pytorch_to_mlx import hub
from pytorch_to_mlx.checkpoint import open_checkpoint
from pytorch_to_mlx.errors import FolderError, PytorchToMlxError, SourceError, UnsafeFileError

WEIGHTS = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hf_home")


@pytest.fixture(scope="module")
def client(hub_server: HubServer, home: Path) -> Iterator[HubClient]:
    with HubClient(client_environment(hub_server.url, home)) as client:
        yield client


@pytest.fixture(scope="module")
def member(hub_server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    """A client that is logged in."""
    home = tmp_path_factory.mktemp("member_home")
    with HubClient(client_environment(hub_server.url, home, HF_TOKEN=TOKEN)) as client:
        yield client


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def assert_presentable(error: PytorchToMlxError) -> None:
    """One line, and no token."""
    assert "\n" not in str(error)
    assert TOKEN not in str(error)


# Downloads


def test_revisions_are_pinned_to_their_commit(hub_server: HubServer, client: HubClient) -> None:
    old = hub_server.commit("acme/pinned", {"model.pt": b"old"})
    new = hub_server.commit("acme/pinned", {"model.pt": b"new"})
    hub_server.commit("acme/pinned", {"model.pt": b"tagged"}, ref="v2")
    for revision, commit, data in [(None, new, b"new"), (old, old, b"old"), ("main", new, b"new")]:
        source = client.resolve("acme/pinned", revision=revision)
        assert (source.kind, source.location, source.revision) == ("hub", "acme/pinned", commit)
        assert contents(source.path) == {"model.pt": data}
    assert contents(client.resolve("acme/pinned", revision="v2").path) == {"model.pt": b"tagged"}


def test_a_moved_branch_is_followed(hub_server: HubServer, client: HubClient) -> None:
    hub_server.commit("acme/moving", {"model.pt": b"before"})
    assert contents(client.resolve("acme/moving").path) == {"model.pt": b"before"}
    after = hub_server.commit("acme/moving", {"model.pt": b"after"})
    source = client.resolve("acme/moving")
    assert source.revision == after
    assert contents(source.path) == {"model.pt": b"after"}


def test_only_matching_files_are_fetched(hub_server: HubServer, client: HubClient) -> None:
    files = {
        "config.json": b"{}",
        "ve.safetensors": WEIGHTS,
        "t3.safetensors": WEIGHTS * 2,
        "run.py": b"boom",
    }
    hub_server.commit("acme/many", files)
    source = client.resolve("acme/many", patterns=["config.json", "ve.*"])
    assert hub_server.downloaded("acme/many") == ["config.json", "ve.safetensors"]
    assert contents(source.path) == {"config.json": b"{}", "ve.safetensors": WEIGHTS}


def test_files_are_listed_without_fetching_any(hub_server: HubServer, client: HubClient) -> None:
    hub_server.commit("acme/listed", {"b.pt": WEIGHTS, "sub/a.json": b"{}"})
    assert client.hub_files("acme/listed") == ["b.pt", "sub/a.json"]
    assert hub_server.downloaded("acme/listed") == []


def test_what_is_cached_is_not_fetched_again(hub_server: HubServer, client: HubClient) -> None:
    hub_server.commit("acme/cached", {"model.pt": WEIGHTS})
    first = client.resolve("acme/cached")
    hub_server.commit("acme/cached", {"model.pt": WEIGHTS, "README.md": b"new"})
    second = client.resolve("acme/cached")
    assert hub_server.downloaded("acme/cached") == ["README.md", "model.pt"]
    assert first.revision != second.revision
    assert contents(first.path) == {"model.pt": WEIGHTS}


def test_sharded_checkpoint(hub_server: HubServer, client: HubClient) -> None:
    shards = {f"model-{n:05}-of-00007.safetensors": WEIGHTS + bytes([n]) for n in range(1, 8)}
    files = {**shards, "model.safetensors.index.json": b"{}"}
    hub_server.commit("acme/sharded", {**files, "optimizer.bin": WEIGHTS})
    source = client.resolve("acme/sharded", patterns=["model-*.safetensors", "*.index.json"])
    assert contents(source.path) == files
    assert hub_server.downloaded("acme/sharded") == sorted(files)


def test_a_cached_checkpoint_opens_through_its_links(hub_server: HubServer, client: HubClient) -> None:
    tensors = {f"layer.{n}": np.full((2, 3), n, np.float32) for n in (1, 2)}
    shards = {name: f"model-0000{name[-1]}-of-00002.safetensors" for name in tensors}
    files = {shard: save({name: tensors[name]}) for name, shard in shards.items()}
    index = json.dumps({"metadata": {}, "weight_map": shards}).encode()
    hub_server.commit("acme/checkpoint", {**files, "model.safetensors.index.json": index})
    source = client.resolve("acme/checkpoint")
    assert all((source.path / shard).is_symlink() for shard in files)
    with open_checkpoint(source.path) as checkpoint:
        assert {name: checkpoint.read(name).tolist() for name in checkpoint} == {
            name: array.tolist() for name, array in tensors.items()
        }


def test_a_broken_connection_is_resumed(hub_server: HubServer, client: HubClient) -> None:
    weights = WEIGHTS * 1100  # above the 10 MiB that the client writes at a time
    hub_server.commit("acme/broken", {"broken.pt": weights})
    hub_server.endings["broken.pt"] = Ending(sent=len(weights) - 4096)
    try:
        source = client.resolve("acme/broken")
    except SourceError as error:  # older clients give up where newer ones resume by themselves
        assert_presentable(error)
        source = client.resolve("acme/broken")
    assert contents(source.path) == {"broken.pt": weights}
    starts = [each.start for each in hub_server.downloads if each.repo_id == "acme/broken"]
    assert starts[0] == 0
    assert 0 < starts[1] < len(weights)


def test_a_killed_download_leaves_nothing_broken(hub_server: HubServer, tmp_path: Path) -> None:
    hub_server.commit("acme/killed", {"config.json": b"{}", "killed.pt": WEIGHTS})
    ending = hub_server.endings["killed.pt"] = Ending(sent=4096, hang=True)
    environment = client_environment(hub_server.url, tmp_path)
    with HubClient(environment) as victim:
        victim.begin("resolve", "acme/killed")
        assert ending.reached.wait(timeout=60)
    with HubClient(environment) as heir:
        with pytest.raises(SourceError):
            heir.resolve("acme/killed", patterns=["killed.pt"], offline=True)
        source = heir.resolve("acme/killed")
        assert contents(source.path) == {"config.json": b"{}", "killed.pt": WEIGHTS}
        assert heir.resolve("acme/killed", offline=True) == source


# Offline


def test_offline_after_a_download(hub_server: HubServer, client: HubClient, home: Path) -> None:
    hub_server.commit("acme/offline", {"model.pt": WEIGHTS, "other.pt": b"other"})
    online = client.resolve("acme/offline", patterns=["model.pt"])
    hub_server.log.clear()
    assert client.resolve("acme/offline", patterns=["model.pt"], offline=True) == online
    assert client.resolve("acme/offline", revision=online.revision, patterns=["model.pt"], offline=True) == online
    assert client.hub_files("acme/offline", offline=True) == ["model.pt"]
    with pytest.raises(SourceError, match=r"acme/offline: no file matches other\.pt; .* cache .* model\.pt"):
        client.resolve("acme/offline", patterns=["other.pt"], offline=True)
    assert hub_server.log == []

    with HubClient(client_environment(hub_server.url, home, HF_HUB_OFFLINE="1")) as offline:
        assert offline.resolve("acme/offline", patterns=["model.pt"]) == online
        assert offline.hub_files("acme/offline") == ["model.pt"]
        with pytest.raises(SourceError, match=r"no file matches other\.pt; the local Hub cache of it holds model\.pt"):
            offline.resolve("acme/offline", patterns=["other.pt"])
        with pytest.raises(SourceError, match=r"acme/new: .* not wholly in the local Hub cache and HF_HUB_OFFLINE"):
            offline.resolve("acme/new")
        (folder := home / "folder").mkdir()
        (folder / "config.json").write_text("{}")
        with pytest.raises(SourceError, match="acme/new: HF_HUB_OFFLINE is set"):
            offline.upload(folder, "acme/new")
    assert hub_server.log == []


def test_offline_before_a_download(hub_server: HubServer, client: HubClient) -> None:
    hub_server.commit("acme/unseen", {"model.pt": WEIGHTS})
    with pytest.raises(SourceError, match=r"acme/unseen: revision v1 is not .* and --offline was given"):
        client.resolve("acme/unseen", revision="v1", offline=True)
    with pytest.raises(SourceError, match=r"acme/unseen: revision main is not .* and --offline was given"):
        client.hub_files("acme/unseen", offline=True)


def test_the_cache_never_answers_for_a_hub_out_of_reach(hub_server: HubServer, tmp_path: Path) -> None:
    with HubServer() as other:
        other.commit("acme/gone", {"model.pt": WEIGHTS})
        with HubClient(client_environment(other.url, tmp_path)) as client:
            cached = client.resolve("acme/gone")
    with HubClient(client_environment(other.url, tmp_path)) as client:
        with pytest.raises(SourceError, match=r"acme/gone: the connection to 127\.0\.0\.1 failed"):
            client.resolve("acme/gone")
        assert client.resolve("acme/gone", offline=True) == cached


# What the Hub refuses


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("acme/absent", {}, "acme/absent: no such file or folder here and no such repository at 127.0.0.1"),
        ("acme/gated", {}, "acme/gated: access is gated; accept its terms at 127.0.0.1/acme/gated"),
        ("acme/closed", {}, "acme/closed: 127.0.0.1 refused access (403); log in"),
        ("acme/known", {"revision": "v9"}, "acme/known: there is no revision v9"),
        ("acme/known", {"revision": "0" * 40}, "acme/known: there is no revision 0000"),
        ("acme/known", {"patterns": ["*.onnx"]}, "acme/known: no file matches *.onnx; it holds model.pt"),
        ("acme/empty", {}, "acme/empty: no file matches *; it holds nothing"),
        ("acme/--known", {}, "acme/--known: not a Hub repository; write owner/name"),
        ("acme/not valid", {}, "acme/not valid: not a Hub repository; write owner/name"),
    ],
)
def test_refusals(
    hub_server: HubServer, member: HubClient, source: str, options: dict[str, object], message: str
) -> None:
    hub_server.commit("acme/known", {"model.pt": WEIGHTS})
    hub_server.commit("acme/gated", {"model.pt": WEIGHTS}, refusal=Refusal(403, "GatedRepo"))
    hub_server.commit("acme/closed", {"model.pt": WEIGHTS}, refusal=Refusal(403))
    hub_server.commit("acme/empty", {})
    with pytest.raises(SourceError) as caught:
        member.resolve(source, **options)
    assert str(caught.value).startswith(message)
    assert_presentable(caught.value)


def test_a_secret_in_the_endpoint_is_not_shown(hub_server: HubServer, tmp_path: Path) -> None:
    endpoint = hub_server.url.replace("//", f"//someone:{TOKEN}@")
    with (
        HubClient(client_environment(endpoint, tmp_path)) as client,
        pytest.raises(SourceError, match=r"no such repository at 127\.0\.0\.1;") as caught,
    ):
        client.resolve("acme/absent")
    assert_presentable(caught.value)


# Uploads


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "crepe-mlx"
    (folder / "assets").mkdir(parents=True)
    (folder / "config.json").write_text('{"format_version": 1}')
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Card\n")
    (folder / "assets" / "vocabulary.txt").write_text("a\nb\n")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return folder


def test_upload_round_trip(hub_server: HubServer, member: HubClient, model_folder: Path) -> None:
    assert member.upload(model_folder, "acme/uploaded") == f"{hub_server.url}/acme/uploaded"
    source = member.resolve("acme/uploaded")
    assert contents(source.path) == {**contents(model_folder), ".gitattributes": b""}
    assert not hub_server.repositories["acme/uploaded"].private


def test_upload_again_leaves_no_stale_weights(hub_server: HubServer, member: HubClient, model_folder: Path) -> None:
    index = model_folder / "model.safetensors.index.json"
    index.write_text("{}")
    whole = (model_folder / "model.safetensors").rename(model_folder / "model-00001-of-00002.safetensors")
    (model_folder / "model-00002-of-00002.safetensors").write_bytes(b"second")
    member.upload(model_folder, "acme/twice")
    index.unlink()
    (model_folder / "model-00002-of-00002.safetensors").unlink()
    whole.rename(model_folder / "model.safetensors")
    member.upload(model_folder, "acme/twice")
    source = member.resolve("acme/twice")
    assert contents(source.path) == {**contents(model_folder), ".gitattributes": b""}


def test_private_upload(hub_server: HubServer, member: HubClient, client: HubClient, model_folder: Path) -> None:
    member.upload(model_folder, "acme/private", private=True)
    assert hub_server.repositories["acme/private"].private
    assert member.resolve("acme/private").location == "acme/private"
    with pytest.raises(SourceError, match="no such repository"):
        client.resolve("acme/private")

    before = hub_server.commit("acme/public", {"config.json": b"{}"})
    with pytest.raises(SourceError, match="acme/public: exists and is public, so nothing was uploaded"):
        member.upload(model_folder, "acme/public", private=True)
    assert hub_server.repositories["acme/public"].refs == {"main": before}


def test_upload_without_a_login(client: HubClient, hub_server: HubServer, model_folder: Path) -> None:
    with pytest.raises(SourceError, match=r"acme/denied: 127\.0\.0\.1 refused access \(401\); log in"):
        client.upload(model_folder, "acme/denied")
    assert "acme/denied" not in hub_server.repositories


def test_upload_refuses_what_is_no_model_folder(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"no config\.json"):
        hub.upload(tmp_path, "acme/x")
    with pytest.raises(FolderError, match=r"no config\.json"):
        hub.upload(tmp_path / "absent", "acme/x")


@pytest.mark.parametrize("target", ["../secret", "absent", "link.txt", "/etc"])
def test_upload_refuses_links_that_leave_the_folder(model_folder: Path, target: str) -> None:
    (model_folder.parent / "secret").write_text("secret")
    (model_folder / "assets" / "link.txt").symlink_to(target)
    with pytest.raises(UnsafeFileError, match=r"link\.txt"):
        hub.upload(model_folder, "acme/x")


@pytest.mark.parametrize("repo_id", ["name-only", "a/b/c", "acme/bad name"])
def test_upload_refuses_bad_repository_ids(model_folder: Path, repo_id: str) -> None:
    with pytest.raises(SourceError, match="not a Hub repository"):
        hub.upload(model_folder, repo_id)

"""Sources on this machine: files, folders and installed packages. The Hub's are in test_hub.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from pytorch_to_mlx import hub
from pytorch_to_mlx.checkpoint.formats import SUFFIXES
from pytorch_to_mlx.errors import SourceError, UsageError

# Local paths


def test_local_paths_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "acme" / "model.pt"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    assert hub.resolve(str(file)) == hub.Source("file", "model.pt", None, file)
    assert hub.resolve("acme/model.pt") == hub.Source("file", "model.pt", None, Path("acme/model.pt"))
    assert hub.resolve("acme") == hub.Source("folder", "acme", None, Path("acme"))
    assert hub.resolve(".").location == tmp_path.name
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.resolve("~/acme/model.pt").path == file


def test_a_cached_file_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "0123abcd").write_bytes(b"weights")
    (tmp_path / "model.safetensors").symlink_to("0123abcd")
    assert hub.resolve(str(tmp_path / "model.safetensors")).location == "model.safetensors"


@pytest.mark.parametrize(
    "source", ["./foo", "../foo", "/no/such", "~/no-such", "~nobody-here/x", "a/b/c", "foo", "foo/"]
)
def test_a_mistyped_path_is_no_repository(source: str) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        hub.resolve(source)


@pytest.mark.parametrize(
    "source", [*(f"weights/model{suffix}" for suffix in SUFFIXES), "a/index.json", "x" * 5000, "nul\0byte"]
)
def test_a_mistyped_file_is_no_repository(source: str) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        hub.resolve(source)


def test_odd_sources() -> None:
    with pytest.raises(SourceError, match="the source is empty"):
        hub.resolve(" ")
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        hub.resolve("/dev/null")


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses such names itself")
@pytest.mark.parametrize("folder", [True, False])
def test_a_name_that_is_not_utf8(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "caf\udce9.pt"
    if folder:
        path.mkdir()
    else:
        path.write_bytes(b"weights")
    with pytest.raises(SourceError, match=r"caf\\udce9\.pt: its name is not UTF-8") as caught:
        hub.resolve(str(path))
    str(caught.value).encode()


def test_a_revision_needs_a_repository(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--revision main is for Hub repositories"):
        hub.resolve(str(tmp_path), revision="main")


# Installed packages


def install(site: Path, name: str, version: str, *modules: str, top_level: bool = False) -> None:
    """What pip leaves of a wheel."""
    information = site / f"{name.replace('-', '_')}-{version}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for module in modules:
        (site / module).mkdir()
        (site / module / "__init__.py").write_text("raise SystemExit('imported')")
    if top_level:
        (information / "top_level.txt").write_text("\n".join(modules))
    else:
        (information / "RECORD").write_text("\n".join(f"{module}/__init__.py,," for module in modules))


@pytest.mark.parametrize("top_level", [False, True])
@pytest.mark.parametrize("name", ["Speech-Box", "speech_box", "SPEECH.BOX", "speechbox"])
def test_packages_by_any_of_their_names(tmp_path: Path, name: str, top_level: bool) -> None:
    install(tmp_path, "Speech-Box", "1.2.3", "speechbox", top_level=top_level)
    found = hub.resolve(f"package:{name}", search_paths=[tmp_path])
    assert found == hub.Source("package", "Speech-Box", "1.2.3", tmp_path / "speechbox")
    assert "speechbox" not in sys.modules


def test_the_own_environment_comes_before_search_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "own", "speechbox", "2.0", "speechbox")
    install(tmp_path / "reference", "speechbox", "1.0", "speechbox")
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    found = hub.resolve("package:speechbox", search_paths=[tmp_path / "reference"])
    assert (found.revision, found.path) == ("2.0", tmp_path / "own" / "speechbox")


def test_a_package_of_several_names(tmp_path: Path) -> None:
    install(tmp_path, "toolbox", "1.0", "left", "right")
    with pytest.raises(SourceError, match="say which of package:left, package:right"):
        hub.resolve("package:toolbox", search_paths=[tmp_path])
    assert hub.resolve("package:right", search_paths=[tmp_path]).path == tmp_path / "right"


def test_an_editable_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "speechbox", "1.0")
    checkout = tmp_path / "checkout" / "speechbox"
    checkout.mkdir(parents=True)
    (checkout / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(checkout.parent))
    assert hub.resolve("package:speechbox").path == checkout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-package", "not installed; run `pip install no-such-package`"),
        ("", "not a package name"),
        ("../../etc", "not a package name"),
        ("flat", "has no folder of its own"),
    ],
)
def test_packages_that_are_not_there(tmp_path: Path, name: str, message: str) -> None:
    install(tmp_path, "flat", "1.0")
    (tmp_path / "flat.py").write_text("")
    with pytest.raises(SourceError, match=f"package:{name}: {message}"):
        hub.resolve(f"package:{name}", search_paths=[tmp_path])


def test_importing_hub_is_light() -> None:
    heavy = "{'huggingface_hub', 'mlx', 'torch', 'numpy', 'importlib.metadata'}"
    code = f"import sys, pytorch_to_mlx.hub; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    source = str(Path(hub.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": source})


def test_a_file_of_a_package(tmp_path: Path) -> None:
    install(tmp_path, "Speech-Box", "1.2.3", "speechbox")
    (tmp_path / "speechbox" / "data").mkdir()
    file = tmp_path / "speechbox" / "data" / "net.onnx"
    file.write_bytes(b"graph")
    assert hub.package_file("package:speech-box/data/net.onnx", [tmp_path]) == file
    for named in ("package:speech-box/net.onnx", "package:speech-box/data", "package:speech-box"):
        with pytest.raises(SourceError, match=rf"{named}: Speech-Box 1\.2\.3 has no such file in .*speechbox"):
            hub.package_file(named, [tmp_path])
    with pytest.raises(SourceError, match="package:none: not installed"):
        hub.package_file("package:none/net.onnx", [tmp_path])

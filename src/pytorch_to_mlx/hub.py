"""Sources: where PyTorch files come from, and the Hub that converted folders go to.

A source is an existing path, `package:NAME` (an installed Python package that ships a checkpoint) or
`owner/name` (a repository on the Hugging Face Hub, through huggingface_hub, its cache and `HF_*` variables).
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from .errors import FolderError, SourceError, UnsafeFileError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import Distribution

# These tell a mistyped file from a repository. checkpoint/ has such a list too, but is heavy to import.
CHECKPOINT_SUFFIXES = frozenset(
    {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".jit", ".ptl", ".tar", ".onnx", ".json"}
)
GRAMMAR = "a Hub repository is written owner/name, an installed package package:NAME"
BAD_REPO_ID = "not a Hub repository; write owner/name in at most 96 letters, digits, '-', '_' and '.'"
# Weights of an earlier upload, which would be loaded along with the new ones.
STALE_WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class Source:
    """Local PyTorch files and what to record of where they came from.

    `location` is a repository id, a package name or the name of a file or folder, never an absolute path;
    `revision` is a commit hash (hub), an installed version (package) or None.
    """

    kind: Literal["file", "folder", "package", "hub"]
    location: str
    revision: str | None
    path: Path


def resolve(
    source: str,
    *,
    revision: str | None = None,
    patterns: Sequence[str] | None = None,
    offline: bool = False,
    search_paths: Sequence[Path] = (),
) -> Source:
    """Bring a source to local files.

    `revision` (branch, tag or commit) and `patterns` (which files to fetch; `allow_patterns` upstream)
    concern Hub repositories; `offline` takes those from the local cache alone; `search_paths` are further
    site-packages folders to look for packages in. Raises SourceError if there is no such source or it cannot
    be reached, UsageError for a revision of anything local.
    """
    if not source.strip():
        raise SourceError(f"the source is empty; name an existing file or folder ({GRAMMAR})")
    if source.startswith("package:"):
        found = _package(source.removeprefix("package:"), search_paths)
    elif (local := _existing_path(source)) is not None:
        found = local
    elif _looks_like_path(source):
        raise SourceError(f"{source}: no such file or folder ({GRAMMAR})")
    else:
        return _repository(source, revision, patterns, offline)
    if revision is not None:
        raise UsageError(f"--revision {revision} is for Hub repositories; {source} is a local {found.kind}")
    return found


def package_file(source: str, search_paths: Sequence[Path] = ()) -> Path:
    """The file that `package:NAME/FILE` is: FILE lies in the package's own folder.

    Raises:
        SourceError: no such package is installed, or it has no such file.
    """
    package, _, name = source.partition("/")
    found = resolve(package, search_paths=search_paths)
    path = found.path / name
    if not path.is_file():
        raise SourceError(f"{source}: {found.location} {found.revision} has no such file in {found.path}")
    return path


def is_repository(source: str) -> bool:
    """Whether `resolve` would ask the Hub for this source."""
    return not (source.startswith("package:") or _looks_like_path(source) or _existing_path(source))


def hub_files(repo_id: str, revision: str | None = None, *, offline: bool = False) -> list[str]:
    """The names of a Hub repository's files; offline, of those in the local cache. Raises SourceError."""
    from huggingface_hub import HfApi, constants, snapshot_download

    check_repo_id(repo_id)
    with _one_line_errors(repo_id, revision):
        if not (offline or constants.HF_HUB_OFFLINE):
            # list_repo_files would retry for 23 s where there is no network.
            about = HfApi().model_info(repo_id, revision=revision, timeout=30)
            return sorted(file.rfilename for file in about.siblings or ())
        # Asking for none of the files yields the cached folder, whole or not.
        folder = Path(snapshot_download(repo_id, revision=revision, local_files_only=True, allow_patterns=[]))
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def upload(folder: Path, repo_id: str, *, private: bool = False) -> str:
    """Upload a model folder to the Hub, creating the repository if need be; returns its address.

    Weights that an earlier upload left there are replaced, never mixed with the new ones. Raises FolderError
    if it is no model folder, UnsafeFileError if a link leaves it, SourceError if the Hub refuses.
    """
    from huggingface_hub import HfApi

    if not (folder / "config.json").is_file():
        raise FolderError(f"{folder}: not a model folder (it has no config.json), so it is not uploaded")
    for file in folder.rglob("*"):
        if file.is_symlink() and not _stays_inside(file, folder):
            raise UnsafeFileError(f"{file}: links out of its model folder or to nothing; put the file there")
    check_repo_id(repo_id)
    api = HfApi()
    with _one_line_errors(repo_id, None):
        # None rather than False leaves an organisation's own default in force.
        address = str(api.create_repo(repo_id, private=private or None, exist_ok=True))
        exposed = private and not api.model_info(repo_id).private
    if exposed:
        raise SourceError(f"{repo_id}: exists and is public, so nothing was uploaded; make it private first")
    with _one_line_errors(repo_id, None):
        api.upload_folder(repo_id=repo_id, folder_path=folder, delete_patterns=list(STALE_WEIGHTS))
    return address


def _existing_path(source: str) -> Source | None:
    try:
        path = Path(source).expanduser()
        path.stat()
    except PermissionError as error:
        raise SourceError(f"{source}: permission denied; make it readable") from error
    except (OSError, ValueError, RuntimeError):  # absent, a name no file can have, or the ~home of nobody
        return None
    location = path.resolve().name if path.is_dir() else path.name
    try:
        f"{source}{location}".encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"{source}: its name is not UTF-8, so it cannot be recorded; rename it") from error
    if path.is_dir():
        return Source("folder", location, None, path)
    if path.is_file():
        return Source("file", location, None, path)
    raise SourceError(f"{source}: neither a file nor a folder")


def _looks_like_path(source: str) -> bool:
    return (
        source.count("/") != 1
        or source.startswith((".", "/", "~"))
        or source.endswith("/")
        or Path(source).suffix in CHECKPOINT_SUFFIXES
    )


def _stays_inside(link: Path, folder: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # dangling, or a loop
        return False


# Installed packages


def _package(name: str, search_paths: Sequence[Path]) -> Source:
    """Find a package by the name of its distribution or of its import, without importing it."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise SourceError(f"package:{name}: not a package name; write package:NAME as for `pip install NAME`")
    for paths in (sys.path, [str(path) for path in search_paths]):
        for distribution in _distributions(name, paths):
            imports = _import_names(distribution)
            chosen = [each for each in imports if _canonical(each) == _canonical(name)] or imports
            if len(chosen) > 1:
                choices = ", ".join(f"package:{each}" for each in chosen)
                raise SourceError(f"package:{name}: holds several packages; say which of {choices}")
            folder = _package_folder(distribution, chosen[0], editable=paths is sys.path)
            if folder is None:
                raise SourceError(f"package:{name}: has no folder of its own that could hold a checkpoint")
            return Source("package", distribution.name, distribution.version, folder)
    raise SourceError(
        f"package:{name}: not installed; run `pip install {name}`, or install its port's reference with"
        " `pytorch-to-mlx reference install`"
    )


def _distributions(name: str, paths: list[str]) -> Iterator[Distribution]:
    from importlib.metadata import distributions

    yield from distributions(name=name, path=paths)
    for distribution in distributions(path=paths):
        if _canonical(name) in map(_canonical, _import_names(distribution)):
            yield distribution


def _import_names(distribution: Distribution) -> list[str]:
    """What a distribution lets one import, from its own records; its own name where they are silent."""
    names = (distribution.read_text("top_level.txt") or "").split()
    if not names:
        files = distribution.files or ()
        names = [file.parts[0] for file in files if len(file.parts) == 2 and file.name == "__init__.py"]
    return sorted({each for each in names if each.isidentifier()}) or [_canonical(distribution.name)]


def _package_folder(distribution: Distribution, name: str, *, editable: bool) -> Path | None:
    folder = Path(str(distribution.locate_file(name)))
    if folder.is_dir():
        return folder
    # An editable install lies elsewhere; finding a top-level package does not import it.
    spec = importlib.util.find_spec(name) if editable else None
    return Path(spec.origin).parent if spec and spec.origin and spec.submodule_search_locations else None


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


# The Hugging Face Hub


def _repository(repo_id: str, revision: str | None, patterns: Sequence[str] | None, offline: bool) -> Source:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import filter_repo_objects

    offline = offline or constants.HF_HUB_OFFLINE
    wanted = None if patterns is None else list(patterns)
    # Listing first keeps snapshot_download from answering out of the cache where the Hub does not: a branch
    # can have moved, so only --offline may do that.
    files = hub_files(repo_id, revision, offline=offline)
    if not list(filter_repo_objects(files, allow_patterns=wanted)):
        holds = "the local Hub cache of it holds" if offline else "it holds"
        raise SourceError(f"{repo_id}: no file matches {', '.join(wanted or ['*'])}; {holds} {_some(files)}")
    with _one_line_errors(repo_id, revision):
        folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=wanted, local_files_only=offline))
    return Source("hub", repo_id, folder.name, folder)


def _some(files: list[str]) -> str:
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    return (", ".join(files[:5]) or "nothing") + more


def check_repo_id(repo_id: str) -> None:
    """Raise SourceError if this cannot be the name of a repository."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise SourceError(f"{repo_id}: {BAD_REPO_ID}") from error
    if "/" not in repo_id:
        raise SourceError(f"{repo_id}: {BAD_REPO_ID}")


@contextmanager
def _one_line_errors(repo_id: str, revision: str | None) -> Iterator[None]:
    """Turn whatever a call of huggingface_hub raises into a SourceError."""
    try:
        yield
    except Exception as error:  # httpx, hf_xet and the operating system each raise types of their own
        raise SourceError(f"{repo_id}: {_explain(error, repo_id, revision or 'main')}") from error


def _explain(error: Exception, repo_id: str, revision: str) -> str:
    """What went wrong and the way out, in our own words: the client's may hold a token or a signed URL."""
    from huggingface_hub import constants, errors

    host = urlsplit(constants.ENDPOINT).hostname
    # snapshot_download dresses a failed request as a missing cache entry.
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    match error:
        case errors.GatedRepoError():
            return f"access is gated; accept its terms at {host}/{repo_id}, then log in with `hf auth login`"
        case errors.RepositoryNotFoundError():
            return (
                f"no such file or folder here and no such repository at {host}; check the name, or if it is"
                " private log in with `hf auth login`"
            )
        case errors.RevisionNotFoundError():
            return f"there is no revision {revision}; name a branch, tag or commit of {host}/{repo_id}"
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set; unset it to reach the Hub"
        case errors.LocalEntryNotFoundError():
            why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "--offline was given"
            return f"revision {revision} is not wholly in the local Hub cache and {why}; run it once online"
        case errors.HfHubHTTPError():
            status = error.response.status_code
            if status in (401, 403):
                return f"{host} refused access ({status}); log in with `hf auth login` by a token that may"
            return f"{host} answered with an error ({status}); try again later"
        case OSError(errno=int(), filename=filename):
            return f"{error.strerror} ({filename or constants.HF_HUB_CACHE}); mend that and run it again"
    name = type(error).__name__
    # Of httpx or of httpx2, by the version of the client.
    if any(base.__name__ == "TransportError" for base in type(error).__mro__):
        return f"the connection to {host} failed or broke off ({name}); check the network and run it again"
    return f"the transfer failed ({name}); run it again, with --debug to see the cause"

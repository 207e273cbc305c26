"""A Hugging Face Hub of our own on 127.0.0.1.

It speaks what huggingface_hub asks of the real one: repositories and their files at a revision, `resolve`
with a redirect to a second origin for large files, range requests, gated and private repositories, and
uploads (preupload, LFS batch, PUT, commit).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import unquote, urlsplit

TOKEN = "hf_SecretThatNoMessageMayShow"
LARGE = (".safetensors", ".pt", ".bin")  # what the Hub would keep in large file storage
Files = dict[str, bytes]


class Download(NamedTuple):
    repo_id: str
    path: str
    start: int  # the first byte sent


@dataclass
class Ending:
    """A download that stops after so many bytes: the connection breaks off, or hangs."""

    sent: int
    hang: bool = False
    reached: threading.Event = field(default_factory=threading.Event)


class Refusal(NamedTuple):
    status: int
    code: str | None = None  # X-Error-Code


@dataclass
class Repository:
    commits: dict[str, Files] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    private: bool = False
    refusal: Refusal | None = None  # what meets those who ask for a file

    def commit(self, files: Files, ref: str = "main") -> str:
        content = [(name, hashlib.sha256(data).hexdigest()) for name, data in sorted(files.items())]
        sha = hashlib.sha1(json.dumps([list(self.commits), content]).encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.refs[ref] = sha
        return sha


class HubServer:
    """`with HubServer() as hub`: `hub.commit(...)` fills it, `hub.downloaded(...)` tells what was fetched."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}  # large files, by SHA-256
        self.log: list[str] = []  # "METHOD path" of every request
        self.downloads: list[Download] = []
        self.endings: dict[str, Ending] = {}  # what befalls the next download of a file
        self._servers = [self._start(_Hub), self._start(_Storage)]
        self.url, self.storage = (f"http://127.0.0.1:{each.server_port}" for each in self._servers)

    def commit(self, repo_id: str, files: Files, *, ref: str = "main", refusal: Refusal | None = None) -> str:
        repository = self.repositories.setdefault(repo_id, Repository(refusal=refusal))
        return repository.commit(files, ref)

    def downloaded(self, repo_id: str) -> list[str]:
        """The files of a repository that were fetched, as often as they were."""
        return sorted(each.path for each in self.downloads if each.repo_id == repo_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _start(self, handler: type[_Handler]) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type(handler.__name__, (handler,), {"hub": self}))
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server


class _RefusalError(Exception):
    """An answer other than success: its status and the Hub's X-Error-Code."""

    def __init__(self, status: int, code: str | None = None) -> None:
        super().__init__(status, code)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer
    routes: tuple[tuple[str, str, str], ...]  # methods, path, name of the function that answers

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append(f"{self.command} {path}")
        self.body = self._read_body()
        try:
            for methods, pattern, name in self.routes:
                if self.command in methods.split() and (match := re.fullmatch(pattern, path)):
                    getattr(self, name)(**match.groupdict())
                    return
            raise _RefusalError(404)
        except _RefusalError as refusal:
            code = {"X-Error-Code": refusal.code} if refusal.code else {}
            self.send(refusal.status, b"{}", code)

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

    def send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_json(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send_file(self, repo_id: str, path: str, data: bytes, headers: dict[str, str]) -> None:
        """A file or the rest of it, broken off or left hanging where a test wants that."""
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers["Range"] else 0
        if start:
            headers = {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        sent, ending = data[start:], None
        if self.command == "GET":
            self.hub.downloads.append(Download(repo_id, path, start))
            ending = self.hub.endings.pop(path, None)
        headers = {**headers, "Content-Length": str(len(sent))}
        self.send(206 if start else 200, sent[: ending.sent] if ending else sent, headers)
        if ending:
            self.close_connection = True
            self.wfile.flush()
            ending.reached.set()
            if ending.hang:
                self.rfile.read(1)  # until the client is gone

    def _read_body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Storage(_Handler):
    """Large file storage, of another origin: a request that brings the Hub's token is refused, as S3 does."""

    routes = (
        ("GET HEAD", r"/(?P<repo_id>[^/]+/[^/]+)/blob/(?P<oid>\w+)/(?P<path>.+)", "download"),
        ("PUT", r"/(?P<oid>\w+)", "store"),
    )

    def download(self, repo_id: str, oid: str, path: str) -> None:
        self._refuse_token()
        self.send_file(repo_id, path, self.hub.blobs[oid], {"ETag": f'"{oid}"'})

    def store(self, oid: str) -> None:
        self._refuse_token()
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _RefusalError(400)
        self.hub.blobs[oid] = self.body
        self.send(200)

    def _refuse_token(self) -> None:
        if self.headers["Authorization"]:
            raise _RefusalError(400)


class _Hub(_Handler):
    _model = r"/api/models/(?P<repo_id>[^/]+/[^/]+)"
    routes = (
        ("GET", _model + r"(/revision/(?P<revision>[^/]+))?", "information"),
        ("GET", _model + r"/tree/(?P<revision>[^/]+)/?", "tree"),
        ("GET HEAD", r"/(?P<repo_id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "download"),
        ("POST", r"/api/validate-yaml", "validate_card"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", _model + r"/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", r"/(?P<repo_id>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "large_files"),
        ("POST", _model + r"/commit/(?P<revision>[^/]+)", "commit"),
    )

    def information(self, repo_id: str, revision: str | None) -> None:
        repository, sha = self._find(repo_id, revision or "main")
        files = [{"rfilename": name} for name in repository.commits.get(sha, {})]
        about = {"id": repo_id, "modelId": repo_id, "sha": sha, "private": repository.private}
        self.send_json({**about, "siblings": files, "tags": [], "downloads": 0, "likes": 0})

    def tree(self, repo_id: str, revision: str) -> None:
        repository, sha = self._find(repo_id, revision)
        entries = []
        for name, data in repository.commits.get(sha, {}).items():
            entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": _git_oid(data)}
            if name.endswith(LARGE):
                entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 134}
            entries.append(entry)
        self.send_json(entries)

    def download(self, repo_id: str, revision: str, path: str) -> None:
        repository, sha = self._find(repo_id, revision)
        if repository.refusal:
            raise _RefusalError(*repository.refusal)
        data = repository.commits[sha].get(path)
        if data is None:
            raise _RefusalError(404, "EntryNotFound")
        headers = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if not path.endswith(LARGE):
            self.send_file(repo_id, path, data, {**headers, "ETag": f'"{_git_oid(data)}"'})
            return
        oid = _sha256(data)
        self.hub.blobs[oid] = data
        linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(data))}
        location = f"{self.hub.storage}/{repo_id}/blob/{oid}/{path}"
        self.send(302, b"", {**headers, **linked, "ETag": '"the-redirect"', "Location": location})

    def validate_card(self) -> None:
        self.send_json({"errors": [], "warnings": []})

    def create(self) -> None:
        self._authorize()
        asked = json.loads(self.body)
        repo_id = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.hub.url}/{repo_id}"}
        if repo_id in self.hub.repositories:
            self.send(409, json.dumps(url).encode())
            return
        private = asked.get("private") is True or asked.get("visibility") == "private"
        self.hub.repositories[repo_id] = Repository(private=private)
        self.hub.commit(repo_id, {".gitattributes": b""})
        self.send_json(url)

    def preupload(self, repo_id: str, revision: str) -> None:
        self._authorize()
        self._find(repo_id, revision)
        names = [file["path"] for file in json.loads(self.body)["files"]]
        modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in names}
        files = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
        self.send_json({"files": files})

    def large_files(self, repo_id: str) -> None:
        self._authorize()
        objects = json.loads(self.body)["objects"]
        for each in objects:
            if each["oid"] not in self.hub.blobs:
                each["actions"] = {"upload": {"href": f"{self.hub.storage}/{each['oid']}", "header": {}}}
        self.send_json({"transfer": "basic", "objects": objects})

    def commit(self, repo_id: str, revision: str) -> None:
        self._authorize()
        repository, sha = self._find(repo_id, revision)
        files = dict(repository.commits[sha])
        for operation in map(json.loads, self.body.splitlines()):
            value = operation["value"]
            match operation["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.blobs[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        sha = repository.commit(files, revision)
        url = f"{self.hub.url}/{repo_id}/commit/{sha}"
        self.send_json({"success": True, "commitOid": sha, "commitUrl": url})

    def _find(self, repo_id: str, revision: str) -> tuple[Repository, str]:
        repository = self.hub.repositories.get(repo_id)
        if repository is None or (repository.private and not self._logged_in()):
            raise _RefusalError(404 if self._logged_in() else 401, "RepoNotFound")
        sha = repository.refs.get(revision, revision)
        if sha not in repository.commits:
            raise _RefusalError(404, "RevisionNotFound")
        return repository, sha

    def _authorize(self) -> None:
        if not self._logged_in():
            raise _RefusalError(401)

    def _logged_in(self) -> bool:
        return self.headers["Authorization"] == f"Bearer {TOKEN}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

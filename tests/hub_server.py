"""A small Hub on localhost, so that the real `huggingface_hub` client can be tested without a network.

It keeps repositories in memory and speaks the part of the Hub's HTTP protocol that pushing and loading need: repository
creation, upload (regular and LFS), commits, listings, and file download with ranges. Standard library only.

    with LocalHub() as hub:
        subprocess.run([...], env=hub.client_environment(cache_dir))

The client reads its settings while it is imported, so a test drives it in a subprocess with `client_environment`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_THRESHOLD = 1024  # bytes; far below the Hub's, so that tiny test weights take the LFS way too


@dataclass(frozen=True)
class StoredFile:
    """The content of one file at one commit, and how git would name it."""

    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def git_oid(self) -> str:
        blob = self.content
        if self.lfs:  # git itself stores only the pointer text of an LFS file
            pointer = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.sha256}", f"size {len(blob)}")
            blob = ("\n".join(pointer) + "\n").encode()
        return hashlib.sha1(f"blob {len(blob)}\0".encode() + blob).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.git_oid

    def listing(self, path: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "oid": self.git_oid, "size": len(self.content)}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclass
class Commit:
    sha: str
    title: str
    parent: str | None
    files: dict[str, StoredFile]


@dataclass
class Repository:
    """Branches pointing at commits; a commit holds the whole tree."""

    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def add_commit(self, branch: str, title: str, files: dict[str, StoredFile]) -> Commit:
        parent = self.branches.get(branch)
        tree = sorted((path, stored.git_oid) for path, stored in files.items())
        sha = hashlib.sha1(repr((len(self.commits), parent, title, tree)).encode()).hexdigest()
        self.commits[sha] = Commit(sha, title, parent, files)
        self.branches[branch] = sha
        return self.commits[sha]

    def at(self, revision: str) -> Commit:
        commit = self.commits.get(self.branches.get(revision, revision))
        if commit is None:
            raise Refusal(404, "RevisionNotFound", f"no revision {revision}")
        return commit

    def history(self, revision: str) -> list[Commit]:
        """Newest first."""
        chain = [self.at(revision)]
        while chain[-1].parent is not None:
            chain.append(self.commits[chain[-1].parent])
        return chain


@dataclass
class Reply:
    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An error answer, with the code by which the client chooses its exception class."""

    def __init__(self, status: int, code: str, message: str, **headers: str):
        super().__init__(message)
        self.reply = Reply({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message, **headers})


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: Any
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class LocalHub:
    """The server and its store. `log` lists (method, path) of every request, oldest first."""

    def __init__(self, user: str = "tester", lfs_threshold: int = LFS_THRESHOLD):
        self.user, self.lfs_threshold = user, lfs_threshold
        # Keyed by kind ("model", "dataset", "space") and "org/name".
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.lfs_objects: dict[str, bytes] = {}  # keyed by SHA-256
        self.log: list[tuple[str, str]] = []
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> LocalHub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def client_environment(self, hf_home: Path | str, token: str | None = "any-token") -> dict[str, str]:
        """The environment of a subprocess whose Hugging Face libraries talk to this server and to nothing else."""
        dropped = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_TOKEN", "PYTHONPATH"}
        environment = {name: value for name, value in os.environ.items() if name not in dropped}
        environment |= {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(hf_home),
            "HF_HUB_DISABLE_XET": "1",  # Xet has its own storage service; with it off the client uses LFS
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
        }
        if token is not None:
            environment["HF_TOKEN"] = token
        return environment

    def repository(self, repo_id: str, kind: str = "model") -> Repository:
        return self.repositories[(kind, repo_id)]

    def files(self, repo_id: str, kind: str = "model", revision: str = "main") -> dict[str, bytes]:
        """Path to content at a revision: what a test looks at after a push."""
        return {path: stored.content for path, stored in self.repository(repo_id, kind).at(revision).files.items()}

    def answer(self, request: Request) -> Reply:
        self.log.append((request.method, request.path))
        try:
            for methods, pattern, handle in ROUTES:
                match = re.fullmatch(pattern, request.path)
                if match and request.method in methods.split():
                    arguments = {name: unquote(value or "") for name, value in match.groupdict().items()}
                    with self._lock:
                        return handle(self, request, **arguments)
            raise Refusal(404, "NotFound", f"{request.method} {request.path} is not part of this server")
        except Refusal as refusal:
            return refusal.reply

    def _find(self, request: Request, kind: str, repo_id: str) -> Repository:
        repository = self.repositories.get((kind.removesuffix("s") or "model", repo_id))
        # Like the Hub, a private repository does not exist for a stranger.
        if repository is None or (repository.private and "Authorization" not in request.headers):
            raise Refusal(404, "RepoNotFound", f"no repository {repo_id}")
        return repository

    def _need_token(self, request: Request) -> None:
        if "Authorization" not in request.headers:
            raise Refusal(401, "Unauthorized", "a token is needed to write")

    # ---- account and repositories

    def who_am_i(self, request: Request) -> Reply:
        self._need_token(request)
        access = {"type": "access_token", "accessToken": {"role": "write"}}
        return Reply({"type": "user", "name": self.user, "orgs": [], "auth": access})

    def validate_yaml(self, request: Request) -> Reply:
        return Reply({"errors": [], "warnings": []})

    def create_repository(self, request: Request) -> Reply:
        self._need_token(request)
        wanted = request.json()
        kind = wanted.get("type") or "model"
        repo_id = f"{wanted.get('organization') or self.user}/{wanted['name']}"
        exists = (kind, repo_id) in self.repositories
        if not exists:
            private = wanted.get("visibility") == "private" or bool(wanted.get("private"))  # new and old clients
            repository = self.repositories[(kind, repo_id)] = Repository(private)
            repository.add_commit("main", "initial commit", {})
        prefix = "" if kind == "model" else f"{kind}s/"
        return Reply({"url": f"{self.url}/{prefix}{repo_id}"}, 409 if exists else 200)

    def create_branch(self, request: Request, kind: str, repo: str, rest: str) -> Reply:
        self._need_token(request)
        repository = self._find(request, kind, repo)
        if rest in repository.branches:
            raise Refusal(409, "BranchExists", f"branch {rest} exists")
        start = request.json().get("startingPoint") or "main" if request.body else "main"
        repository.branches[rest] = repository.at(start).sha
        return Reply({})

    def refs(self, request: Request, kind: str, repo: str) -> Reply:
        branches = self._find(request, kind, repo).branches
        listed = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": sha} for n, sha in branches.items()]
        return Reply({"branches": listed, "tags": [], "converts": []})

    def info(self, request: Request, kind: str, repo: str, rest: str = "main") -> Reply:
        repository = self._find(request, kind, repo)
        commit = repository.at(rest)
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        described = {"id": repo, "sha": commit.sha, "private": repository.private, "siblings": siblings}
        return Reply(described | {"tags": [], "downloads": 0, "likes": 0})

    def history(self, request: Request, kind: str, repo: str, rest: str) -> Reply:
        commits = self._find(request, kind, repo).history(rest)
        date = "2024-01-01T00:00:00.000Z"
        return Reply([{"id": c.sha, "title": c.title, "message": "", "authors": [], "date": date} for c in commits])

    # ---- upload

    def preupload(self, request: Request, kind: str, repo: str, rest: str) -> Reply:
        """Say for each file whether its bytes go into the commit or to the LFS store."""
        self._need_token(request)
        present = self._find(request, kind, repo).at(rest).files
        answers = []
        for offered in request.json()["files"]:
            path = offered["path"]
            binary = b"\0" in base64.b64decode(offered["sample"])
            mode = "lfs" if binary and offered["size"] > self.lfs_threshold else "regular"
            oid = present[path].etag if path in present else None  # the client skips what is unchanged
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return Reply({"files": answers})

    def lfs_batch(self, request: Request, kind: str, repo: str) -> Reply:
        self._need_token(request)
        self._find(request, kind, repo)
        objects = []
        for wanted in request.json()["objects"]:
            answer = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.lfs_objects:
                answer["actions"] = {"upload": {"href": f"{self.url}/lfs-store/{wanted['oid']}"}}
            objects.append(answer)
        return Reply({"transfer": "basic", "objects": objects})

    def lfs_store(self, request: Request, oid: str) -> Reply:
        if hashlib.sha256(request.body).hexdigest() != oid:
            raise Refusal(400, "BadRequest", f"the bytes sent are not those of {oid}")
        self.lfs_objects[oid] = request.body
        return Reply()

    def commit(self, request: Request, kind: str, repo: str, rest: str) -> Reply:
        self._need_token(request)
        repository = self._find(request, kind, repo)
        head = repository.at(rest)
        files, title = dict(head.files), ""
        for line in request.body.splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "header":
                title = value["summary"]
                if value.get("parentCommit") not in (None, head.sha):
                    raise Refusal(412, "PreconditionFailed", f"{rest} has moved on to {head.sha}")
            elif key == "file":
                files[value["path"]] = StoredFile(base64.b64decode(value["content"]), lfs=False)
            elif key == "lfsFile":
                if value["oid"] not in self.lfs_objects:
                    raise Refusal(400, "BadRequest", f"{value['path']}: LFS object {value['oid']} was not uploaded")
                files[value["path"]] = StoredFile(self.lfs_objects[value["oid"]], lfs=True)
            elif key == "deletedFile":
                files.pop(value["path"], None)
            elif key == "deletedFolder":
                folder = value["path"].rstrip("/") + "/"
                files = {path: stored for path, stored in files.items() if not path.startswith(folder)}
            else:
                raise Refusal(400, "BadRequest", f"unknown commit operation {key}")
        made = repository.add_commit(rest, title, files)
        return Reply({"commitOid": made.sha, "commitUrl": f"{self.url}/{repo}/commit/{made.sha}"})

    # ---- listing and download

    def tree(self, request: Request, kind: str, repo: str, rest: str, path: str = "") -> Reply:
        files = self._find(request, kind, repo).at(rest).files
        folder = path.strip("/") + "/" if path.strip("/") else ""
        recursive = request.query.get("recursive", ["false"])[0].lower() in ("1", "true")
        entries, folders = [], set()
        for name in sorted(files):
            if not name.startswith(folder):
                continue
            parents = name[len(folder) :].split("/")[:-1]
            folders |= {folder + "/".join(parents[: depth + 1]) for depth in range(len(parents))}
            if recursive or not parents:
                entries.append(files[name].listing(name))
        if folder and not entries and not folders:
            raise Refusal(404, "EntryNotFound", f"no folder {path}")
        shown = [name for name in sorted(folders) if recursive or "/" not in name[len(folder) :]]
        return Reply([{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in shown] + entries)

    def paths_info(self, request: Request, kind: str, repo: str, rest: str) -> Reply:
        files = self._find(request, kind, repo).at(rest).files
        is_json = request.body.startswith(b"{")  # the client has used both encodings
        paths = request.json()["paths"] if is_json else parse_qs(request.body.decode()).get("paths", [])
        return Reply([files[path].listing(path) for path in paths if path in files])

    def resolve(self, request: Request, kind: str, repo: str, rest: str, path: str) -> Reply:
        commit = self._find(request, kind, repo).at(rest)
        if path not in commit.files:
            raise Refusal(404, "EntryNotFound", f"no file {path}", **{"X-Repo-Commit": commit.sha})
        stored = commit.files[path]
        size = len(stored.content)
        headers = {"ETag": f'"{stored.etag}"', "X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
        headers |= {"X-Linked-Size": str(size), "X-Linked-ETag": f'"{stored.etag}"'}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if request.method == "HEAD" or asked is None:
            return Reply(stored.content, 200, headers)
        first, last = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
        if first > last:
            return Reply(b"", 416, headers | {"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return Reply(stored.content[first : last + 1], 206, headers)


# A path segment that names a repository, and the prefix of an API address or of a page address.
_REPO = r"(?P<repo>[^/]+/[^/]+)"
_API = rf"/api/(?P<kind>models|datasets|spaces)/{_REPO}"
_PAGE = rf"/(?:(?P<kind>datasets|spaces)/)?{_REPO}"

ROUTES: list[tuple[str, str, Callable[..., Reply]]] = [
    ("GET", r"/api/whoami-v2", LocalHub.who_am_i),
    ("POST", r"/api/validate-yaml", LocalHub.validate_yaml),
    ("POST", r"/api/repos/create", LocalHub.create_repository),
    ("PUT", r"/lfs-store/(?P<oid>[0-9a-f]{64})", LocalHub.lfs_store),
    ("POST", rf"{_PAGE}\.git/info/lfs/objects/batch", LocalHub.lfs_batch),
    ("POST", rf"{_API}/branch/(?P<rest>.+)", LocalHub.create_branch),
    ("POST", rf"{_API}/preupload/(?P<rest>.+)", LocalHub.preupload),
    ("POST", rf"{_API}/commit/(?P<rest>.+)", LocalHub.commit),
    ("POST", rf"{_API}/paths-info/(?P<rest>.+)", LocalHub.paths_info),
    ("GET", rf"{_API}/refs", LocalHub.refs),
    ("GET", rf"{_API}/commits/(?P<rest>.+)", LocalHub.history),
    ("GET", rf"{_API}/tree/(?P<rest>[^/]+)(?:/(?P<path>.*))?", LocalHub.tree),
    ("GET", rf"{_API}/revision/(?P<rest>.+)", LocalHub.info),
    ("GET", _API, LocalHub.info),
    ("GET HEAD", rf"{_PAGE}/resolve/(?P<rest>[^/]+)/(?P<path>.+)", LocalHub.resolve),
]


def _handler_of(hub: LocalHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            url = urlsplit(self.path)
            reply = hub.answer(Request(self.command, url.path, parse_qs(url.query), self.headers, self._read_body()))
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            kind = "application/octet-stream" if isinstance(reply.body, bytes) else "application/json"
            self.send_response(reply.status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

        def _read_body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def log_message(self, *arguments: object) -> None:
            """Silence: `LocalHub.log` keeps the requests."""

    return Handler

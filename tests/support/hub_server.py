"""A small Hub on loopback: repositories with commits, pull requests, LFS, and faults on demand.

It answers what huggingface_hub, datasets and evaluate ask for, in the forms their sources read, so that the
real clients do all the talking. What the Hub would refuse is refused: commits of another form than the
client's, contents that were not uploaded as told, cards and results that are not valid, and tokens where none
belong.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LARGE = (".parquet", ".safetensors", ".npz", ".bin")
MOST_REGULAR = 10 << 20
SDKS = ("gradio", "docker", "static")
KINDS = {"datasets": "dataset", "spaces": "space", "models": "model"}


@dataclass
class File:
    content: bytes
    large: bool

    @property
    def sha256(self):
        return hashlib.sha256(self.content).hexdigest()

    @property
    def blob(self):
        text = f"oid sha256:{self.sha256}\n".encode() if self.large else self.content
        return hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()

    @property
    def etag(self):
        return self.sha256 if self.large else self.blob

    def described(self, path):
        entry = {"type": "file", "path": path, "size": len(self.content), "oid": self.blob}
        if self.large:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclass
class Repository:
    """Commits by their hash, each a map from paths to files, and what the names of revisions point to."""

    private: bool = False
    sdk: str | None = None
    commits: dict = field(default_factory=dict)
    refs: dict = field(default_factory=dict)

    def commit(self, files, ref="refs/heads/main"):
        text = repr((self.refs.get(ref), len(self.commits), sorted((p, f.blob) for p, f in files.items())))
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.refs[ref] = sha
        return sha

    def resolve(self, revision):
        sha = self.refs.get(revision) or self.refs.get(f"refs/heads/{revision}") or revision
        return sha if sha in self.commits else None

    @property
    def head(self):
        return self.refs["refs/heads/main"]

    @property
    def files(self):
        return self.commits[self.head]

    @property
    def pull_requests(self):
        return [ref for ref in self.refs if ref.startswith("refs/pr/")]


@dataclass
class Fault:
    """What goes wrong, `times` times, with requests whose method and path match."""

    pattern: str
    status: int = 500
    headers: dict = field(default_factory=dict)
    message: str = "out of order"
    drop_after: int | None = None  # read so many bytes of the request, then hang up
    after_commit: bool = False  # do the work, then hang up without an answer
    times: int = 1
    lasts: Callable = lambda: True


class Hub:
    """The state of the server: users by token, repositories by kind and name, and a log of requests."""

    def __init__(self, address):
        self.address = address
        self.users = {
            "hf_alice_secret": ("alice", {"lab": "write"}),
            "hf_bob_secret": ("bob", {"lab": "read"}),
        }
        self.repositories = {}
        self.uploaded = {}  # and not verified yet
        self.objects = {}
        self.faults = []
        self.log = []
        self.lock = threading.RLock()

    @property
    def endpoint(self):
        return f"http://{self.address}"

    def fault(self, pattern, **behaviour):
        self.faults.append(Fault(pattern, **behaviour))

    def failing(self, request):
        for fault in self.faults:
            if fault.times > 0 and fault.lasts() and re.search(fault.pattern, request):
                fault.times -= 1
                return fault
        return None

    def dataset(self, name):
        return self.repositories["dataset", name]

    def add(self, kind, name, files=None):
        """Make a repository; files map paths to contents."""
        repository = self.repositories[kind, name] = Repository()
        contents = {".gitattributes": b"*.parquet filter=lfs\n", **(files or {})}
        repository.commit({path: File(content, path.endswith(LARGE)) for path, content in contents.items()})
        return repository

    def may_write(self, user, name):
        owner = name.split("/")[0]
        return user is not None and (owner == user[0] or user[1].get(owner) == "write")

    def may_read(self, user, name):
        owner = name.split("/")[0]
        return user is not None and (owner == user[0] or owner in user[1])


def card_errors(content, kind):
    """Judge a card's metadata as the Hub does: YAML, a map, known kinds of values."""
    found = re.match(r"---\r?\n(.*?)\r?\n---(\r?\n|$)", content, re.DOTALL)
    if found is None:
        return []
    try:
        card = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return [f"YAML: {error}"]
    if not isinstance(card, dict):
        return ["the metadata must be a map"]
    wrong = [
        f"{name} must be a list" for name in ("tags", "configs") if not isinstance(card.get(name, []), list)
    ]
    wrong += ["license must be text" for _ in [0] if not isinstance(card.get("license", ""), str | list)]
    for config in card.get("configs", []):
        if not {"config_name", "data_files"} <= set(config):
            wrong.append('"configs" entries need "config_name" and "data_files"')
    if kind == "space":
        if card.get("sdk") not in SDKS:
            wrong.append(f'"sdk" must be one of {", ".join(SDKS)}')
        colours = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray", None)
        wrong += [f"{n} is no colour" for n in ("colorFrom", "colorTo") if card.get(n) not in colours]
    for model in card.get("model-index", []) if kind == "model" else []:
        for result in model["results"]:
            parts = [result["task"], result["dataset"], *result["metrics"]]
            named = all(part.get("type") for part in parts) and result["dataset"].get("name")
            if not (model.get("name") and named and all("value" in metric for metric in result["metrics"])):
                wrong.append('"model-index" results need task, dataset and metrics, with types and values')
    return wrong


def file_errors(kind, path, content):
    """Judge what makes benchmarks, as the Hub does at every push."""
    wrong = card_errors(content.decode(), kind) if path == "README.md" else []
    if kind == "dataset" and path == "eval.yaml":
        benchmark = yaml.safe_load(content)
        texts = [benchmark[name] for name in ("name", "description", "evaluation_framework")]
        tasks = benchmark["tasks"]
        texts += [task[name] for task in tasks for name in ("id", "config", "split")]
        if not all(isinstance(text, str) and text for text in texts):
            wrong.append("eval.yaml: texts are needed")
        if len({task["id"] for task in tasks}) < len(tasks):
            wrong.append("eval.yaml: a task is named twice")
    if kind == "model" and re.fullmatch(r"\.eval_results/[^/]+\.yaml", path):
        for entry in yaml.safe_load(content):
            if set(entry) - {
                "dataset",
                "value",
                "verifyToken",
                "date",
                "source",
                "notes",
                "evaluation_framework",
            }:
                wrong.append(f"{path}: unknown keys")
            if not {"id", "task_id"} <= set(entry["dataset"]) <= {"id", "task_id", "revision"}:
                wrong.append(f"{path}: dataset needs id and task_id")
            if "value" not in entry or not set(entry.get("source", ["url"])) >= {"url"}:
                wrong.append(f"{path}: value and the source's url are needed")
            datetime.fromisoformat(entry.get("date", "2026-01-01"))
    return wrong


def is_large(path, size):
    """Tell what the Hub keeps in LFS: what .gitattributes names by default, and all large files."""
    return path.endswith(LARGE) or size > MOST_REGULAR


@contextmanager
def running_hub():
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def handle_any(self):
            address = urlsplit(self.path)
            self.query = {name: values[0] for name, values in parse_qs(address.query).items()}
            request = f"{self.command} {unquote(address.path)}"
            hub.log.append(request)
            with hub.lock:
                fault = hub.failing(request)
            length = int(self.headers.get("Content-Length", 0))
            if fault and fault.drop_after is not None:
                self.rfile.read(min(length, fault.drop_after))
                self.close_connection = True
                self.connection.close()
                return None
            self.body = self.rfile.read(length) if length else self.chunks()
            if fault and not fault.after_commit:
                return self.refuse(fault.status, fault.message, **fault.headers)
            self.silent = bool(fault)
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            self.user = hub.users.get(token)
            if token and self.user is None:
                headers = {"X-Error-Message": "Invalid credentials in Authorization header"}
                return self.refuse(401, f"token {token} is expired", **headers)
            with hub.lock:
                return self.route(self.command, address.path)

        do_GET = do_HEAD = do_POST = do_PUT = handle_any

        def chunks(self):
            """Read a body sent without a length."""
            parts = []
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
            return b"".join(parts)

        def route(self, method, path):
            for pattern, answer in ROUTES:
                if found := re.fullmatch(pattern, f"{method} {path}"):
                    return answer(self, *(part and unquote(part) for part in found.groups()))
            return self.refuse(404, f"no {path} here")

        def repository(self, kind, name):
            repository = hub.repositories.get((kind, name))
            hidden = repository and repository.private and not hub.may_read(self.user, name)
            if (
                repository is None or hidden
            ):  # whoever is not logged in is told to log in, even if there is none
                status = 401 if self.user is None else 404
                self.refuse(status, "Repository not found", **{"X-Error-Code": "RepoNotFound"})
                return None
            return repository

        def at(self, kind, name, revision):
            repository = self.repository(kind, name)
            if repository is None:
                return None, None
            sha = repository.resolve(revision)
            if sha is None:
                self.refuse(404, "Revision not found", **{"X-Error-Code": "RevisionNotFound"})
                return None, None
            return sha, repository.commits[sha]

        def whoami(self):
            if self.user is None:
                return self.refuse(401, "Invalid username or password.")
            orgs = [{"name": name, "roleInOrg": role} for name, role in self.user[1].items()]
            return self.json({"type": "user", "name": self.user[0], "orgs": orgs, "auth": {"type": "token"}})

        def validate(self):
            asked = json.loads(self.body)
            errors = [{"message": text} for text in card_errors(asked["content"], asked["repoType"])]
            return self.json({"errors": errors, "warnings": []}, 400 if errors else 200)

        def create(self):
            asked = json.loads(self.body)
            kind = asked.get("type") or "model"
            if self.user is None:
                return self.refuse(401, "Invalid username or password.")
            name = f"{asked.get('organization') or self.user[0]}/{asked['name']}"
            if kind not in KINDS.values() or not re.fullmatch(r"\w[\w.-]{0,95}", asked["name"], re.ASCII):
                return self.refuse(400, f"no {kind} may be called {name}")
            if kind == "space" and asked.get("sdk") not in SDKS:
                return self.refuse(400, "a Space needs an sdk")
            if not hub.may_write(self.user, name):
                return self.refuse(403, f"You don't have the rights to create a {kind} under this namespace")
            url = f"{hub.endpoint}/{'' if kind == 'model' else kind + 's/'}{name}"
            if (kind, name) in hub.repositories:
                return self.refuse(409, "You already created this repo", url=url)
            repository = hub.add(kind, name)
            repository.private = asked.get("visibility") == "private" or bool(asked.get("private"))
            repository.sdk = asked.get("sdk")
            return self.json({"url": url, "name": name, "id": name})

        def preupload(self, kinds, name, revision):
            sha, files = self.at(KINDS[kinds], name, revision)
            if sha is None or not self.permitted(name):
                return
            answers = []
            for file in json.loads(self.body)["files"]:
                path, sample = file["path"], base64.b64decode(file["sample"], validate=True)
                assert len(sample) == min(512, file["size"])
                present = files.get(path)
                mode = "lfs" if is_large(path, file["size"]) else "regular"
                oid = {} if present is None else {"oid": present.etag}
                answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **oid})
            self.json({"files": answers})

        def permitted(self, name):
            if self.user is None:
                self.refuse(401, "Invalid username or password.")
            elif not ("create_pr" in self.query or hub.may_write(self.user, name)):
                self.refuse(403, "You don't have write access to this repository")
            else:
                return True
            return False

        def batch(self, kinds, name):
            if self.user is None:
                return self.refuse(401, "Invalid username or password.")
            if self.repository(KINDS[kinds or "models"], name) is None:
                return None
            asked = json.loads(self.body)
            told = {key: asked.get(key) for key in ("operation", "hash_algo")}
            lfs = all(
                self.headers[name] == "application/vnd.git-lfs+json" for name in ("Accept", "Content-Type")
            )
            if told != {"operation": "upload", "hash_algo": "sha256"} or not lfs:
                return self.refuse(400, f"cannot do {told}")
            objects = []
            for wanted in asked["objects"]:
                entry = {"oid": wanted["oid"], "size": wanted["size"]}
                if wanted["oid"] not in hub.objects:
                    upload = {"href": f"{hub.endpoint}/lfs/{wanted['oid']}?signature=hidden"}
                    entry["actions"] = {"upload": upload, "verify": {"href": f"{hub.endpoint}/lfs/verify"}}
                objects.append(entry)
            transfer = "xet" if "xet" in asked["transfers"] else "basic"
            return self.json({"transfer": transfer, "objects": objects})

        def upload(self, oid):
            """Take contents as S3 does behind a signed link, which refuses a second way to log in."""
            if "Authorization" in self.headers or self.query.get("signature") != "hidden":
                return self.refuse(400, "only one authentication mechanism is allowed")
            if hashlib.sha256(self.body).hexdigest() != oid:
                return self.refuse(400, "the content has another hash")
            hub.uploaded[oid] = self.body
            return self.json({})

        def verify(self):
            asked = json.loads(self.body)
            content = hub.uploaded.get(asked["oid"])
            if self.user is None or content is None or len(content) != asked["size"]:
                return self.refuse(404, "no such object was uploaded")
            hub.objects[asked["oid"]] = content
            return self.json({})

        def cdn(self, oid):
            """Serve contents behind a signed link on another host: no token must come here."""
            if "Authorization" in self.headers or self.query.get("Signature") != "hidden":
                return self.refuse(400, "only one authentication mechanism is allowed")
            return self.send_part(self.large(oid), {"ETag": f'"{oid}"'})

        def large(self, oid):
            commits = (c for repository in hub.repositories.values() for c in repository.commits.values())
            return next(file.content for files in commits for file in files.values() if file.sha256 == oid)

        def commit(self, kinds, name, revision):
            kind = KINDS[kinds]
            sha, files = self.at(kind, name, revision)
            if sha is None or not self.permitted(name):
                return None
            header, *lines = [json.loads(line) for line in self.body.splitlines()]
            if self.headers["Content-Type"] != "application/x-ndjson" or header["key"] != "header":
                return self.refuse(400, "a commit is lines of JSON, the header first")
            if not header["value"].get("summary"):
                return self.refuse(400, "a commit needs a summary")
            parent = header["value"].get("parentCommit")
            if "create_pr" not in self.query and parent not in (None, sha):
                return self.refuse(412, "A commit has happened since. Please refresh and try again.")
            files = dict(hub.repositories[kind, name].commits[parent or sha])
            for line in lines:
                wrong = self.change(files, kind, line["key"], line["value"])
                if wrong:
                    return self.refuse(400, wrong)
            repository = hub.repositories[kind, name]
            number = len(repository.pull_requests) + 1
            asks = "create_pr" in self.query
            new = repository.commit(files, f"refs/pr/{number}" if asks else "refs/heads/main")
            url = f"{hub.endpoint}/{'' if kind == 'model' else kinds + '/'}{name}"
            answer = {"commitUrl": f"{url}/commit/{new}", "commitOid": new, "success": True}
            return self.json(answer | ({"pullRequestUrl": f"{url}/discussions/{number}"} if asks else {}))

        def change(self, files, kind, key, value):
            """Do one operation of a commit; return why it is refused."""
            path = value["path"]
            if path.startswith("/") or {"", ".", ".."} & set(path.split("/")):
                return f"{path} is no path"
            if key == "deletedFile":
                del files[path]
            elif key == "file" and value["encoding"] == "base64":
                content = base64.b64decode(value["content"], validate=True)
                if content and is_large(path, len(content)):
                    return f"{path} must be uploaded to LFS"
                wrong = file_errors(kind, path, content)
                if wrong:
                    return "; ".join(wrong)
                files[path] = File(content, False)
            elif key == "lfsFile" and value["algo"] == "sha256":
                content = hub.objects.get(value["oid"])
                if content is None or len(content) != value["size"]:
                    return f"{path} was not uploaded"
                files[path] = File(content, True)
            else:
                return f"cannot {key} {path}"
            return None

        def describe(self, kinds, name, revision):
            sha, files = self.at(KINDS[kinds], name, revision or "main")
            if sha is None:
                return
            siblings = []
            for path, file in files.items():
                lfs = {"lfs": {"sha256": file.sha256, "size": len(file.content), "pointerSize": 134}}
                size = {"size": len(file.content), "blobId": file.blob} if "blobs" in self.query else {}
                siblings.append({"rfilename": path, **size, **(lfs if size and file.large else {})})
            private = hub.repositories[KINDS[kinds], name].private
            author = name.split("/")[0]
            answer = {"id": name, "author": author, "sha": sha, "private": private, "siblings": siblings}
            answer |= {"tags": [], "downloads": 0, "likes": 0, "disabled": False, "gated": False}
            self.json(answer)

        def refs(self, kinds, name):
            repository = self.repository(KINDS[kinds], name)
            if repository is None:
                return
            named = [
                {"name": ref.removeprefix("refs/heads/"), "ref": ref, "targetCommit": sha}
                for ref, sha in repository.refs.items()
            ]
            pulls = [ref for ref in named if ref["ref"].startswith("refs/pr/")]
            branches = [ref for ref in named if ref not in pulls]
            self.json({"branches": branches, "tags": [], "converts": [], "pullRequests": pulls})

        def tree(self, kinds, name, revision, folder):
            sha, files = self.at(KINDS[kinds], name, revision)
            if sha is None:
                return None
            prefix = f"{folder.strip('/')}/" if folder and folder.strip("/") else ""
            inside = {path: file for path, file in files.items() if path.startswith(prefix)}
            if not inside:
                return self.refuse(404, "no such folder", **{"X-Error-Code": "EntryNotFound"})
            deep = self.query.get("recursive", "").lower() == "true"
            entries, folders = [], set()
            for path, file in inside.items():
                parts = path.removeprefix(prefix).split("/")
                folders |= {
                    prefix + "/".join(parts[:n]) for n in range(1, len(parts) if deep else min(2, len(parts)))
                }
                if deep or len(parts) == 1:
                    entries.append(file.described(path))
            entries += [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders]
            return self.json(sorted(entries, key=lambda entry: entry["path"]))

        def paths(self, kinds, name, revision):
            sha, files = self.at(KINDS[kinds], name, revision)
            if sha is None:
                return
            form = parse_qs(self.body.decode())
            asked = form.get("paths") or json.loads(self.body)["paths"]
            entries = [files[path].described(path) for path in asked if path in files]
            for path in set(asked) - set(files):
                if any(known.startswith(f"{path}/") for known in files):
                    entries.append({"type": "directory", "path": path, "oid": "0" * 40, "size": 0})
            self.json(entries)

        def resolve(self, kinds, name, revision, path):
            sha, files = self.at(KINDS[kinds or "models"], name, revision)
            if sha is None:
                return None
            if path not in files:
                return self.refuse(404, "Entry not found", **{"X-Error-Code": "EntryNotFound"})
            file = files[path]
            headers = {"ETag": f'"{file.etag}"', "X-Repo-Commit": sha}
            if file.large:
                elsewhere = hub.endpoint.replace("127.0.0.1", "localhost")
                headers |= {"X-Linked-ETag": f'"{file.etag}"', "X-Linked-Size": len(file.content)}
                headers["Location"] = f"{elsewhere}/cdn/{file.sha256}?Signature=hidden"
                return self.send(302, b"", "text/plain", headers)
            return self.send_part(file.content, headers)

        def send_part(self, content, headers):
            headers = {**headers, "Accept-Ranges": "bytes"}
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            total = len(content)
            if asked is None:
                return self.send(200, content, "application/octet-stream", headers)
            start, stop = int(asked[1]), min(total, int(asked[2] or total) + 1)
            if start >= total:
                return self.refuse(416, "beyond the end", **{"Content-Range": f"bytes */{total}"})
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{total}"
            return self.send(206, content[start:stop], "application/octet-stream", headers)

        def json(self, content, status=200, headers=None):
            if self.silent:
                self.close_connection = True
                self.connection.close()
                return
            self.send(status, json.dumps(content).encode(), "application/json", headers or {})

        def refuse(self, status, message, url=None, **headers):
            self.silent = False
            body = {"error": message} | ({"url": url} if url else {})
            self.json(body, status, {"X-Error-Message": message, **headers})

        def send(self, status, body, kind, headers):
            self.send_response(status)
            stated = {"Content-Type": kind, "Content-Length": len(body), **headers}
            for name, value in stated.items():
                self.send_header(name, str(value))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    repo = r"([^/]+/[^/]+)"
    api = rf"/api/(models|datasets|spaces)/{repo}"
    ROUTES = [
        (r"GET /api/whoami-v2", Handler.whoami),
        (r"POST /api/validate-yaml", Handler.validate),
        (r"POST /api/repos/create", Handler.create),
        (rf"POST {api}/preupload/(.+)", Handler.preupload),
        (rf"POST {api}/commit/(.+)", Handler.commit),
        (rf"POST {api}/paths-info/(.+)", Handler.paths),
        (rf"GET {api}/refs", Handler.refs),
        (rf"GET {api}/tree/([^/]+)(/.*)?", Handler.tree),
        (rf"(?:GET|HEAD) {api}(?:/revision/(.+))?", Handler.describe),
        (rf"POST /(?:(datasets|spaces)/)?{repo}\.git/info/lfs/objects/batch", Handler.batch),
        (r"PUT /lfs/([0-9a-f]{64})", Handler.upload),
        (r"POST /lfs/verify", Handler.verify),
        (r"(?:GET|HEAD) /cdn/([0-9a-f]{64})", Handler.cdn),
        (rf"(?:GET|HEAD) /(?:(datasets|spaces)/)?{repo}/resolve/([^/]+)/(.+)", Handler.resolve),
    ]
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        hub = Hub(f"127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            http.shutdown()
            thread.join()

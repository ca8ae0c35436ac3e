"""A small Hub on loopback: repositories with commits, pull requests, LFS, Xet, and faults on demand.

It answers what huggingface_hub, `hf`, @huggingface/hub, datasets and evaluate ask for, in the forms that
their sources read, so that clients which nobody here wrote do the talking (`hub_clients` runs them).
What the Hub would refuse is refused. `hub_rules` has the rules of contents with their sources; the others:

- a token that is not known or expired: 401, "Invalid credentials in Authorization header"; whoever is not
  logged in gets 401 for what is not there or private, others 404, X-Error-Code RepoNotFound; a gated one:
  403, X-Error-Code GatedRepo (huggingface_hub/utils/_http.py, hf_raise_for_status)
- a renamed repository: 307 to the new name (hub-docs, repositories-settings.md)
- a full quota: 403 and a sentence, for contents and commits (issues 3049 and 3366 of huggingface_hub)
- a parent commit that is not the head: 412 (huggingface_hub/hf_api.py, create_commit)
- a file that is deleted must be there: 404, "A file with this name doesn't exist" (the same)
- up to 256 files in one preupload (huggingface_hub/_commit_api.py, _fetch_upload_modes)
- LFS: basic, or in parts beyond a size, behind links that refuse a second login (huggingface_hub/lfs.py;
  commit.ts of @huggingface/hub)
- Xet: tokens, xorbs and shards (huggingface_hub/utils/_xet.py; xetWriteToken.ts; `xet_storage`)
- lists in pages, the next one in Link (huggingface_hub/utils/_pagination.py; list-files.ts)
"""

import base64
import fnmatch
import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from .hub_rules import MAX_FILE, MAX_REGULAR, SDKS, card_errors, crowded, file_errors, name_error, path_error
from .xet_storage import Storage

LARGE = ("*.parquet", "*.safetensors", "*.npz", "*.bin")
ATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE).encode()
KINDS = {"datasets": "dataset", "spaces": "space", "models": "model"}
QUOTA = "Private repository storage limit reached, please upgrade your plan"


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
    gated: bool = False
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
    def patterns(self):
        present = self.files.get(".gitattributes") if self.refs else None
        return large_patterns(present.content if present else b"")

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
    pieces: Callable | None = None  # gives the bytes of an answer that ends with the connection
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
        self.poured = 0  # bytes of answers that a fault gave
        self.renamed = {}  # (kind, old name) -> new name
        self.full = set()  # owners whose quota is used up
        self.page = 1000  # entries of a list in one answer
        self.multipart = 8 << 20  # bytes from which LFS contents go up in parts of as many
        self.parts = {}
        self.xet = Storage()
        self.refused_files = {}  # path -> why the Hub finds its content not valid
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
        contents = {".gitattributes": ATTRIBUTES, **(files or {})}
        large = large_patterns(contents[".gitattributes"])
        repository.commit(
            {path: File(content, is_large(path, len(content), large)) for path, content in contents.items()}
        )
        return repository

    def rename(self, kind, old, new):
        self.repositories[kind, new] = self.repositories.pop((kind, old))
        self.renamed[kind, old] = new

    def may_write(self, user, name):
        owner = name.split("/")[0]
        return user is not None and (owner == user[0] or user[1].get(owner) == "write")

    def may_read(self, user, name):
        owner = name.split("/")[0]
        return user is not None and (owner == user[0] or owner in user[1])


def large_patterns(attributes):
    """Return the patterns that a .gitattributes keeps in LFS."""
    lines = (line.split() for line in attributes.decode(errors="replace").splitlines())
    return [words[0] for words in lines if "filter=lfs" in words[1:]]


def is_large(path, size, patterns):
    """Tell what the Hub keeps in LFS: what .gitattributes names, and all large files, but nothing empty."""
    name = path.rsplit("/", 1)[-1]
    named = any(fnmatch.fnmatchcase(path, each) or fnmatch.fnmatchcase(name, each) for each in patterns)
    return size > 0 and (named or size > MAX_REGULAR)


def leaderboard(hub, name):
    """Return the entries of a benchmark, the highest value first: HfApi.get_dataset_leaderboard."""
    found = []
    for (kind, model), repository in hub.repositories.items():
        for entry in evaluations_of(repository.files) if kind == "model" else []:
            if entry["data"]["dataset"]["id"] == name:
                found.append((entry["data"]["value"], model, entry))
    found.sort(key=lambda each: (-each[0], each[1]))
    return [
        {"rank": rank, "modelId": model, "value": value, "filename": entry["filename"], "verified": False,
         "source": entry["data"].get("source"), "notes": entry["data"].get("notes"),
         "author": {"name": model.split("/")[0], "fullname": "", "avatarUrl": "", "type": "user"}}
        for rank, (value, model, entry) in enumerate(found, 1)
    ]  # fmt: skip


def evaluations_of(files):
    """Return a model's results as `expand=["evalResults"]` gives them: huggingface_hub/_eval_results.py."""
    return [
        {"filename": path, "data": entry}
        for path, file in files.items()
        if re.fullmatch(r"\.eval_results/[^/]+\.yaml", path)
        for entry in yaml.safe_load(file.content)
    ]


class Server(ThreadingHTTPServer):
    """A server that does not report clients which hang up."""

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


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
            if fault and fault.pieces is not None:
                return self.pour(fault)
            if fault and not fault.after_commit:
                return self.refuse(fault.status, fault.message, **fault.headers)
            self.silent = bool(fault)
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            self.user = hub.users.get(token.removeprefix("xet_"))
            if token and self.user is None:
                headers = {"X-Error-Message": "Invalid credentials in Authorization header"}
                return self.refuse(401, f"token {token} is expired", **headers)
            with hub.lock:
                return self.route(self.command, address.path)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

        def pour(self, fault):
            self.close_connection = True
            try:
                self.send_response(fault.status)
                for name, value in fault.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in fault.pieces():
                    self.wfile.write(piece)
                    hub.poured += len(piece)
            except OSError:  # the client has had enough
                pass

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
            if (kind, name) in hub.renamed:
                place = self.path.replace(f"/{name}", f"/{hub.renamed[kind, name]}", 1)
                self.send(307, b"", "text/plain", {"Location": place})
                return None
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
            if kind not in KINDS.values() or name_error(name):
                return self.refuse(400, name_error(name) or f"there are no {kind}s")
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

        def delete(self):
            asked = json.loads(self.body)
            kind, name = asked.get("type") or "model", f"{asked.get('organization')}/{asked['name']}"
            if self.repository(kind, name) is None or not self.permitted(name):
                return None
            del hub.repositories[kind, name]
            return self.json({})

        def over_quota(self, name):
            """Refuse contents for an owner whose storage is full."""
            if name.split("/")[0] in hub.full:
                self.refuse(403, QUOTA)
            return name.split("/")[0] in hub.full

        def preupload(self, kinds, name, revision):
            sha, files = self.at(KINDS[kinds], name, revision)
            if sha is None or not self.permitted(name):
                return None
            answers, asked = [], json.loads(self.body)
            if len(asked["files"]) > 256:
                return self.refuse(400, "up to 256 files at once")
            patterns = hub.repositories[KINDS[kinds], name].patterns
            if asked.get("gitAttributes"):
                patterns = large_patterns(asked["gitAttributes"].encode())
            for file in asked["files"]:
                path, sample = file["path"], base64.b64decode(file["sample"], validate=True)
                assert len(sample) == min(512, file["size"])
                if file["size"] > MAX_FILE:
                    return self.refuse(413, f"{path} is larger than a file may be")
                present = files.get(path)
                mode = "lfs" if is_large(path, file["size"], patterns) else "regular"
                oid = {} if present is None else {"oid": present.etag}
                answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **oid})
            return self.json({"files": answers})

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
            if self.over_quota(name):
                return None
            told = {
                "operation": asked.get("operation"), "hash_algo": asked.get("hash_algo", "").replace("_", ""),
            }  # fmt: skip
            lfs = all(
                self.headers[name] == "application/vnd.git-lfs+json" for name in ("Accept", "Content-Type")
            )
            if told != {"operation": "upload", "hash_algo": "sha256"} or not lfs:
                return self.refuse(400, f"cannot do {told}")
            xet = "xet" in asked["transfers"]
            objects = []
            for wanted in asked["objects"]:
                oid, size = wanted["oid"], wanted["size"]
                entry = {"oid": oid, "size": size}
                if oid not in hub.objects:
                    upload = {"href": f"{hub.endpoint}/lfs/{oid}?signature=hidden"}
                    if xet:
                        href = f"{hub.endpoint}/api/{kinds or 'models'}/{name}/xet-write-token/main"
                        upload = {"href": href, "header": self.xet_headers()}
                    elif size > hub.multipart and "multipart" in asked["transfers"]:
                        count = -(-size // hub.multipart)
                        links = {
                            str(n): f"{hub.endpoint}/lfs/{oid}?signature=hidden&part={n}"
                            for n in range(1, count + 1)
                        }
                        upload = {"href": f"{hub.endpoint}/lfs/complete"}
                        upload["header"] = {"chunk_size": str(hub.multipart), **links}
                    entry["actions"] = {"upload": upload, "verify": {"href": f"{hub.endpoint}/lfs/verify"}}
                objects.append(entry)
            several = any("header" in entry.get("actions", {}).get("upload", {}) for entry in objects)
            transfer = "xet" if xet else "multipart" if several else "basic"
            return self.json({"transfer": transfer, "objects": objects})

        def xet_headers(self):
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            return {
                "X-Xet-Cas-Url": hub.endpoint,
                "X-Xet-Access-Token": f"xet_{token}",
                "X-Xet-Token-Expiration": str(int(time.time()) + 3600),
            }

        def xet_token(self, kinds, name, _right, _revision):
            """Lend a token of the storage; for a pull request who may read may write."""
            if self.user is None:
                return self.refuse(401, "Invalid username or password.")
            if self.repository(KINDS[kinds], name) is None or self.over_quota(name):
                return None
            headers = self.xet_headers()
            names = {"casUrl": "Cas-Url", "accessToken": "Access-Token", "exp": "Token-Expiration"}
            content = {key: headers[f"X-Xet-{header}"] for key, header in names.items()}
            return self.json({**content, "exp": int(content["exp"])}, headers=headers)

        def add_xorb(self, xorb):
            if not self.headers.get("Authorization", "").startswith("Bearer xet_"):
                return self.refuse(401, "no token of this storage")
            hub.xet.add_xorb(xorb, self.body)
            return self.json({"was_inserted": True})

        def add_shard(self):
            if not self.headers.get("Authorization", "").startswith("Bearer xet_"):
                return self.refuse(401, "no token of this storage")
            try:
                hub.objects |= hub.xet.files(self.body)
            except (KeyError, ValueError) as error:
                return self.refuse(400, f"shard: {error}")
            return self.json({"result": 1})

        def upload(self, oid):
            """Take contents as S3 does behind a signed link, which refuses a second way to log in."""
            if "Authorization" in self.headers or self.query.get("signature") != "hidden":
                return self.refuse(400, "only one authentication mechanism is allowed")
            if "part" in self.query:
                hub.parts[oid, int(self.query["part"])] = self.body
                etag = hashlib.md5(self.body).hexdigest()
                return self.send(200, b"", "text/plain", {"ETag": f'"{etag}"'})
            if hashlib.sha256(self.body).hexdigest() != oid:
                return self.refuse(400, "the content has another hash")
            hub.uploaded[oid] = self.body
            return self.json({})

        def complete(self):
            """Join the parts of contents, each with the tag that its upload answered."""
            asked = json.loads(self.body)
            parts = [hub.parts.get((asked["oid"], part["partNumber"])) for part in asked["parts"]]
            tags = [part["etag"].strip('"') for part in asked["parts"]]
            whole = b"".join(parts) if None not in parts else b""
            right = tags == [hashlib.md5(part or b"").hexdigest() for part in parts]
            if not right or hashlib.sha256(whole).hexdigest() != asked["oid"]:
                return self.refuse(400, "the parts are not those that were uploaded")
            hub.uploaded[asked["oid"]] = whole
            hub.objects[asked["oid"]] = whole
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
            if self.over_quota(name):
                return None
            header, *lines = [json.loads(line) for line in self.body.splitlines()]
            if self.headers["Content-Type"] != "application/x-ndjson" or header["key"] != "header":
                return self.refuse(400, "a commit is lines of JSON, the header first")
            if not header["value"].get("summary"):
                return self.refuse(400, "a commit needs a summary")
            parent = header["value"].get("parentCommit")
            asks = "create_pr" in self.query
            if not asks and parent not in (None, sha):
                return self.refuse(412, "A commit has happened since. Please refresh and try again.")
            repository = hub.repositories[kind, name]
            files = dict(repository.commits[parent or sha])
            for line in lines:
                if line["key"] in ("deletedFile", "deletedFolder"):
                    if not self.delete_from(files, line["value"]["path"], line["key"] == "deletedFolder"):
                        return None
                elif wrong := self.change(files, kind, line["key"], line["value"], repository.patterns):
                    return self.refuse(400, wrong)
            if (folder := crowded(files)) is not None:
                return self.refuse(400, f"the folder {folder or '/'} holds more than 10000 files")
            number = len(repository.pull_requests) + 1
            ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
            new = repository.commit(files, f"refs/pr/{number}" if asks else ref)
            url = f"{hub.endpoint}/{'' if kind == 'model' else kinds + '/'}{name}"
            answer = {"commitUrl": f"{url}/commit/{new}", "commitOid": new, "success": True, "hookOutput": ""}
            return self.json(answer | ({"pullRequestUrl": f"{url}/discussions/{number}"} if asks else {}))

        def delete_from(self, files, path, folder):
            """Delete a file, or a folder; refuse what is not there."""
            gone = (
                [known for known in files if known.startswith(path.rstrip("/") + "/")] if folder else [path]
            )
            if not gone or not set(gone) <= set(files):
                message = "A file with this name doesn't exist"
                self.refuse(404, message, **{"X-Error-Code": "EntryNotFound"})
                return False
            for known in gone:
                del files[known]
            return True

        def merge(self, kinds, name, number):
            """Make what a pull request proposes the head: HfApi.merge_pull_request."""
            repository = self.repository(KINDS[kinds or "models"], name)
            if repository is None or not self.permitted(name):
                return None
            sha = repository.resolve(f"refs/pr/{number}")
            if sha is None:
                return self.refuse(404, "no such discussion")
            repository.refs["refs/heads/main"] = sha
            return self.json({})

        def change(self, files, kind, key, value, patterns):
            """Do one operation of a commit; return why it is refused."""
            path = value["path"]
            if wrong := path_error(path):
                return wrong
            if key == "file" and value["encoding"] == "base64":
                content = base64.b64decode(value["content"], validate=True)
                if is_large(path, len(content), patterns):
                    return f"{path} must be uploaded to LFS"
                wrong = file_errors(kind, path, content)
                wrong += [hub.refused_files[path]] if path in hub.refused_files else []
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
            answer |= {"tags": [], "downloads": 0, "likes": 0, "disabled": False}
            answer |= {"gated": "auto" if hub.repositories[KINDS[kinds], name].gated else False}
            if "evalResults" in parse_qs(urlsplit(self.path).query).get("expand", []):
                answer["evalResults"] = evaluations_of(files)
            self.json(answer)

        def leaderboard(self, name):
            repository = self.repository("dataset", name)
            if repository is None:
                return None
            if "eval.yaml" not in repository.files:
                return self.refuse(404, "this data set is no benchmark")
            return self.json(leaderboard(hub, name))

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
            entries.sort(key=lambda entry: entry["path"])
            start = int(self.query.get("cursor", 0))
            after = start + int(self.query.get("limit", hub.page))
            link = {}
            if after < len(entries):
                address = urlsplit(self.path)
                kept = "&".join(part for part in address.query.split("&") if not part.startswith("cursor="))
                link = {"Link": f'<{hub.endpoint}{address.path}?{kept}&cursor={after}>; rel="next"'}
            return self.json(entries[start:after], headers=link)

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
            if hub.repositories[KINDS[kinds or "models"], name].gated and not hub.may_read(self.user, name):
                message = f"Access to {name} is restricted and you are not in the authorized list."
                return self.refuse(
                    401 if self.user is None else 403, message, **{"X-Error-Code": "GatedRepo"}
                )
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
            plain = " ".join(message.encode("ascii", "ignore").decode().split())  # what a header can hold
            self.json(body, status, {"X-Error-Message": plain, **headers})

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
    ref = r"(refs/(?:pr|heads)/[^/]+|[^/]+)"
    ROUTES = [
        (r"GET /api/whoami-v2", Handler.whoami),
        (r"POST /api/validate-yaml", Handler.validate),
        (r"POST /api/repos/create", Handler.create),
        (r"DELETE /api/repos/delete", Handler.delete),
        (r"GET /api/datasets/([^/]+/[^/]+)/leaderboard", Handler.leaderboard),
        (rf"GET {api}/xet-(read|write)-token(?:/(.+))?", Handler.xet_token),
        (r"POST /v1/xorbs/default/([0-9a-f]{64})", Handler.add_xorb),
        (r"POST /(?:v1/)?shards", Handler.add_shard),
        (rf"POST /api/(?:(models|datasets|spaces)/)?{repo}/discussions/(\d+)/merge", Handler.merge),
        (rf"POST {api}/preupload/(.+)", Handler.preupload),
        (rf"POST {api}/commit/(.+)", Handler.commit),
        (rf"POST {api}/paths-info/(.+)", Handler.paths),
        (rf"GET {api}/refs", Handler.refs),
        (rf"GET {api}/tree/{ref}(/.*)?", Handler.tree),
        (rf"(?:GET|HEAD) {api}(?:/revision/(.+))?", Handler.describe),
        (rf"POST /(?:(datasets|spaces)/)?{repo}\.git/info/lfs/objects/batch", Handler.batch),
        (r"PUT /lfs/([0-9a-f]{64})", Handler.upload),
        (r"POST /lfs/verify", Handler.verify),
        (r"POST /lfs/complete", Handler.complete),
        (r"(?:GET|HEAD) /cdn/([0-9a-f]{64})", Handler.cdn),
        (
            rf"(?:GET|HEAD) /(?:(datasets|spaces)/)?{repo}/resolve/{ref}/(.+)",
            Handler.resolve,
        ),
    ]
    with Server(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        hub = Hub(f"127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            http.shutdown()
            thread.join()

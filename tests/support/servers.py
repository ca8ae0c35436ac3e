"""A real HTTP server on loopback that behaves as well, or as badly, as a test asks for."""

import hashlib
import json
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 1 << 14


@dataclass
class Route:
    """What one path answers with, and what goes wrong before or while it does.

    Attributes:
        first: (status, headers) to answer with before the content, one for each request.
        drops: for each request in turn, the bytes after which its connection is dropped.
        delay: seconds before each piece of 16 KiB.
        pause: bytes after which nothing comes until this is None.
        surplus: bytes that are sent beyond a part that was asked for.
        stated_length: Content-Length, if not the true one.
        chunked: send without a Content-Length.
        part_headers: headers that replace the right ones of a partial answer.
        part_length: bytes that a partial answer ends after, in good order, whatever its Content-Range says.
    """

    content: bytes = b""
    etag: str | None = '"v1"'
    last_modified: str | None = None
    content_type: str = "application/octet-stream"
    ranges: bool = True
    redirect: str | None = None
    first: list = field(default_factory=list)
    drops: list = field(default_factory=list)
    delay: float = 0.0
    pause: int | None = None
    surplus: int = 0
    stated_length: int | None = None
    chunked: bool = False
    headers: dict = field(default_factory=dict)
    part_headers: dict = field(default_factory=dict)
    part_length: int | None = None


@dataclass
class Request:
    method: str
    path: str
    headers: dict
    status: int
    start: int
    sent: int = 0


class Server:
    """Routes to serve and a log of what was asked for and sent."""

    def __init__(self, address):
        self.address = address
        self.routes = {}
        self.log = []

    def serve(self, path, content=b"", **behaviour):
        """Serve content at a path and return its URL."""
        self.routes[path] = Route(content, **behaviour)
        return self.url(path)

    def serve_repository(self, repo, commit, files, revisions=("main",)):
        """Serve a model repository as the Hub does: its description, and its files at one commit."""
        siblings = []
        for name, content in files.items():
            sha256 = hashlib.sha256(content).hexdigest()
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            large = not name.endswith((".json", ".md", ".txt"))
            lfs = {"lfs": {"sha256": sha256, "size": len(content), "pointerSize": 134}} if large else {}
            siblings.append({"rfilename": name, "size": len(content), "blobId": blob, **lfs})
            etag = sha256 if large else blob
            headers = {"X-Repo-Commit": commit}
            self.serve(f"/{repo}/resolve/{commit}/{name}", content, etag=f'"{etag}"', headers=headers)
        described = json.dumps({"id": repo, "sha": commit, "siblings": siblings}).encode()
        for end in ("", *(f"/revision/{revision}" for revision in (*revisions, commit))):
            self.serve(f"/api/models/{repo}{end}", described, content_type="application/json")

    def url(self, path):
        return f"http://{self.address}{path}"

    @property
    def sent(self):
        return sum(request.sent for request in self.log)

    def asked(self, path):
        return [request for request in self.log if request.path == path]


@contextmanager
def running_server():
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            path = self.path.split("?")[0]
            route = server.routes.get(path, Route(first=[(404, {})] * 99))
            self.answer(path, route)

        def answer(self, path, route):
            if route.first:
                return self.bare(path, *route.first.pop(0))
            if route.redirect is not None:
                return self.bare(path, 302, {"Location": route.redirect})
            start, stop, status = 0, len(route.content), 200
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            version = route.etag or route.last_modified
            same = self.headers.get("If-Range", version) == version
            if asked and route.ranges and same:
                start, status = int(asked[1]), 206
                stop = min(stop, int(asked[2]) + 1) if asked[2] else stop
                if start >= len(route.content):
                    return self.bare(path, 416, {"Content-Range": f"bytes */{len(route.content)}"})
            headers = {"Content-Type": route.content_type, "ETag": route.etag}
            headers |= {"Last-Modified": route.last_modified, **route.headers}
            if status == 206:
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(route.content)}"
                headers |= route.part_headers
                stop += route.surplus
                stop = stop if route.part_length is None else min(stop, start + route.part_length)
            if route.chunked:
                headers["Transfer-Encoding"] = "chunked"
            else:
                headers["Content-Length"] = route.stated_length or stop - start
            logged = self.note(path, status, start)
            self.head(status, headers)
            drop = route.drops.pop(0) if route.drops and self.command == "GET" else None
            try:
                if self.command == "GET":
                    for logged.sent in self.body(route, start, stop, drop):
                        pass
            except OSError:
                self.close_connection = True
            return None

        def note(self, path, status, start):
            """Log a request before its answer, so that whoever has the answer finds it there."""
            server.log.append(Request(self.command, path, dict(self.headers.items()), status, start))
            return server.log[-1]

        def body(self, route, start, stop, drop):
            sent = 0
            end = stop if drop is None else min(stop, start + drop)
            while start + sent < end:
                time.sleep(route.delay)
                while route.pause is not None and sent >= route.pause:
                    time.sleep(0.01)
                piece = route.content[start + sent : min(start + sent + PIECE, end)] or bytes(PIECE)
                frame = b"%x\r\n%s\r\n" % (len(piece), piece) if route.chunked else piece
                sent += len(piece)
                yield sent  # noted before it is sent, as the request is
                self.wfile.write(frame)
            if end < stop or (route.stated_length or 0) > stop - start:
                self.close_connection = True
            elif route.chunked:
                self.wfile.write(b"0\r\n\r\n")

        def bare(self, path, status, headers):
            self.note(path, status, 0)
            self.head(status, {"Content-Length": 0, **headers})

        def head(self, status, headers):
            self.send_response(status)
            for name, value in headers.items():
                if value is not None:
                    self.send_header(name, str(value))
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server = Server(f"127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()

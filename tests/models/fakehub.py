"""A hub on the loopback interface, with the headers of the real one and faults to switch on."""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"lang_ids": []}\n',
    "vocabulary.txt": b"a\nb\nc\n",
    "tokenizer.json": b'{"model": {}}\n',
    "model.bin": bytes(range(256)) * 1024,
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Faults:
    cut_after: int | None = None  #: bytes of model.bin after which the connection is cut
    cut_times: int = 0  #: how often; resumed transfers are cut at once
    ranges: bool = True
    busy_times: int = 0  #: answers 503 first
    linked_sha256: str | None = None  #: what the hub claims model.bin is
    storage: str | None = None  #: where model.bin is said to be stored
    pause: float = 0.0  #: seconds between the blocks of model.bin
    hold: threading.Event | None = None  #: awaited in the middle of model.bin


@dataclass
class Request:
    method: str
    path: str
    host: str
    headers: dict[str, str]


@dataclass
class FakeHub:
    repo: str = "acme/fake-whisper"
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    branches: tuple[str, ...] = ("main",)  #: as addresses have them, all at the same commit
    faults: Faults = field(default_factory=Faults)
    requests: list[Request] = field(default_factory=list)
    address: str = "127.0.0.1"
    url: str = ""

    def __enter__(self) -> FakeHub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = http.server.ThreadingHTTPServer((self.address, 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://{self.address}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def count(self) -> Counter[str]:
        """Requests by what was asked for; model.bin counts where its bytes come from."""
        return Counter(request.path.rsplit("/", 1)[-1] for request in self.requests)


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, faults = self.hub, self.hub.faults
        hub.requests.append(Request(self.command, self.path, self.headers["Host"], dict(self.headers)))
        self.close_connection = True
        if self.path == "/storage/weights":
            self._send_weights(hub.files["model.bin"])
            return
        name = self._asked_for()
        if name not in hub.files:
            self._head(404, {"Content-Length": "0"})
        elif faults.busy_times:
            faults.busy_times -= 1
            self._head(503, {"Content-Length": "0"})
        elif name == "model.bin":
            storage = faults.storage or hub.url
            linked = faults.linked_sha256 or sha256(hub.files[name])
            location = f"{storage}/storage/weights"
            self._head(
                302,
                {"Location": location, "X-Linked-Etag": f'"{linked}"', "X-Repo-Commit": COMMIT, "Content-Length": "0"},
            )
        else:
            data = hub.files[name]
            etag = f'"{git_blob(data)}"'
            self._head(200, {"ETag": etag, "X-Repo-Commit": COMMIT, "Content-Length": str(len(data))})
            if self.command == "GET":
                self.wfile.write(data)

    def _asked_for(self) -> str | None:
        for revision in (COMMIT, *self.hub.branches):
            prefix = f"/{self.hub.repo}/resolve/{revision}/"
            if self.path.startswith(prefix):
                return self.path.removeprefix(prefix)
        return None

    def _send_weights(self, data: bytes) -> None:
        faults = self.hub.faults
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and faults.ranges else 0
        head = {"ETag": '"storage-etag"', "Content-Length": str(len(data) - start)}
        if start:
            self._head(206, head | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})
        else:
            self._head(200, head)
        body = data[start:]
        if faults.cut_times and faults.cut_after is not None:
            faults.cut_times -= 1
            self.wfile.write(body[: max(0, faults.cut_after - start)])
            return
        for at in range(0, len(body), 1 << 14):
            if faults.hold and at:
                faults.hold.wait(10)
            time.sleep(faults.pause)
            try:
                self.wfile.write(body[at : at + (1 << 14)])
                self.wfile.flush()
            except OSError:
                return

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

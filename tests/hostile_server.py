"""Web servers on loopback that cut, stall, redirect and lie, and a proxy that does so before any server."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mtasr.remote.patience import Patience

#: Waits little, but not so little that a busy machine looks like a slow server.
HASTE = Patience(seconds=5.0, pause=0.001)


@dataclass
class Page:
    """What the server does about one path. Lists hold what it does at each request; their last element is repeated."""

    data: bytes = b""
    #: Whether it sends ranges.
    ranges: bool = True
    #: Bytes after which it cuts the connection; None: it does not.
    cut_after: list[int | None] = field(default_factory=lambda: [None])
    #: Bytes after which it sends nothing more, and keeps the connection.
    stall_after: int | None = None
    #: Seconds between two bytes.
    trickle: float = 0.0
    status: list[int] = field(default_factory=lambda: [200])
    location: str | None = None
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    #: What it says of the size, instead of the truth.
    stated: int | None = None
    #: Added to the beginning of each range, without saying so or with saying so.
    shift: int = 0
    chunked: bool = False
    #: Bytes of a range that it sends at most.
    most: int | None = None
    #: Seconds between two bytes of the headers, for as long as somebody reads them.
    trickle_headers: float = 0.0


class HostileServer:
    """Its pages, and what was asked of it."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.pages: dict[str, Page] = {}
        #: Paths and ranges, in order.
        self.asked: list[tuple[str, str]] = []
        #: What came with each in the header Authorization.
        self.authorizations: list[str | None] = []
        self.stop = threading.Event()
        owner = self

        class Handler(_Handler):
            server_of_pages = owner

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://{host}:{self._server.server_port}"

    def put(self, path: str, page: Page) -> str:
        """Have it at this path; returns its address."""
        self.pages[path] = page
        return f"{self.url}/{path}"

    def close(self) -> None:
        self.stop.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_of_pages: HostileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        server, path = self.server_of_pages, self.path.partition("?")[0].lstrip("/")
        page, number = server.pages.get(path), sum(asked == path for asked, _ in server.asked)
        server.asked.append((path, self.headers.get("Range", "")))
        server.authorizations.append(self.headers.get("Authorization"))
        if page is None:
            self._answer(404, {}, b"")
            return
        status = page.status[min(number, len(page.status) - 1)]
        if page.trickle_headers:
            self._trickle(page.trickle_headers)
        elif page.location is not None:
            self._answer(302, {"Location": page.location}, b"")
        elif status != 200:
            self._answer(status, {}, b"")
        else:
            self._send(page, page.cut_after[min(number, len(page.cut_after) - 1)])

    def _trickle(self, pause: float) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.server_of_pages.stop.wait(pause):
                self.wfile.write(b"x")

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _send(self, page: Page, cut_after: int | None) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        size = len(page.data) if page.stated is None else page.stated
        if asked is not None and page.ranges:
            start, end = int(asked[1]), min(int(asked[2]), size - 1)
            end = end if page.most is None else min(end, start + page.most - 1)
            if start >= size:
                self._answer(416, {"Content-Range": f"bytes */{size}"}, b"")
                return
            start += page.shift
            body, length = page.data[start : end + 1], end + 1 - start
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        else:
            body, length = page.data, size
            self.send_response(200)
        for name, value in page.headers.items():
            self.send_header(name, value)
        if page.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self._body(page, body, cut_after, is_whole=len(body) >= length)

    def _body(self, page: Page, body: bytes, cut_after: int | None, *, is_whole: bool) -> None:
        with contextlib.suppress(OSError):
            limits = [limit for limit in (cut_after, page.stall_after) if limit is not None]
            shown = body[: min(limits, default=len(body))]
            if page.trickle:
                for byte in shown:
                    self.wfile.write(bytes([byte]))
                    if self.server_of_pages.stop.wait(page.trickle):
                        break
            else:
                self.wfile.write(shown)
            self.wfile.flush()
            if page.stall_after is not None and len(shown) < len(body):
                self.server_of_pages.stop.wait(30)
        if len(shown) < len(body) or not is_whole:
            self.close_connection = True


@contextlib.contextmanager
def hostile_server(host: str = "127.0.0.1") -> Iterator[HostileServer]:
    server = HostileServer(host)
    try:
        yield server
    finally:
        server.close()


class CuttingProxy:
    """Hands bytes to another server and back, and does to answers what a bad line does.

    `cuts` says, for each connection from now on, after how many bytes of answers it is cut; None for one that is not.
    With `stalls`, nothing comes after that many bytes instead.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts: list[int | None] = []
        self.stalls = False
        self.connections = 0
        self._stop = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                limit = self.cuts.pop(0) if self.cuts else None
                server = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._copy, args=(client, server, None), daemon=True).start()
                threading.Thread(target=self._copy, args=(server, client, limit), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if limit is not None and len(data) >= limit:
                    target.sendall(data[:limit])
                    if self.stalls:
                        self._stop.wait(30)
                    # A reset, as from a router that forgot the connection.
                    target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                limit = None if limit is None else limit - len(data)
                target.sendall(data)
        time.sleep(0)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not end a wait for the next connection
        self._listener.close()

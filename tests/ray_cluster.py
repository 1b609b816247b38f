"""A cluster of Ray on this machine, for tests and benchmarks: open to this machine alone, and ended without traces."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

#: The variable that tells the processes of one node from all others.
_MARK = "MTASR_TEST_NODE"
#: Little memory, and nobody who sends logs to drivers.
_SETTINGS = ("--object-store-memory=80000000", "--include-log-monitor=false")


class RayCluster:
    """A head without cores, and nodes that can be added and killed; in a `with` block."""

    def __init__(self, *nodes: int, environment: Mapping[str, str] | None = None) -> None:
        """One node for each number, which is that of its cores."""
        # Short, because the paths of sockets may not be long.
        self._folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
        self._environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **(environment or {})}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        #: The marks of the nodes that were not killed.
        self.nodes: list[str] = []
        self._started = 0
        try:
            head = ("--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false", "--no-monitor")
            self._start(*head, f"--temp-dir={self._folder}", RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")
            for cores in nodes:
                self.add(cores)
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add(self, cores: int) -> None:
        """Start a node."""
        # In capitals, or else Ray replaces the name by an address that others can reach.
        self.nodes.append(self._start(f"--address=LOCALHOST:{self.port}", f"--num-cpus={cores}"))

    def _start(self, *arguments: str, **variables: str) -> str:
        mark = f"{self._folder}#{self._started}"
        self._started += 1
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *_SETTINGS, *arguments]
        environment = {**self._environment, _MARK: mark, **variables}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
        return mark

    def kill(self, node: str) -> None:
        """Kill all processes of a node at once."""
        self.nodes.remove(node)
        _kill(node)

    def workers(self) -> list[int]:
        """The processes of mtasr's workers."""
        of_nodes = {pid for node in self.nodes for pid in _family(node)}
        return [pid for pid in of_nodes if b"ray::NodeWorker" in _read(pid, "cmdline")]

    def listening(self, *others: int) -> list[str]:
        """The addresses at which its processes listen, and these other ones."""
        pids = {*_family(str(self._folder)), *others}
        found = subprocess.run(["ss", "-ltnpH"], check=True, capture_output=True, text=True).stdout.splitlines()
        return [line.split()[3] for line in found if any(f"pid={pid}," in line for pid in pids)]

    def close(self) -> None:
        for _ in range(100):
            if not _kill(str(self._folder)):
                break
            time.sleep(0.05)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _kill(mark: str) -> int:
    pids = list(_family(mark))
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


def _family(mark: str) -> Iterator[int]:
    """The processes with a mark that begins so, and those below them: workers overwrite their environment."""
    running = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
    parents = {pid: _parent(pid) for pid in running if pid != os.getpid() and not _is_dead(pid)}
    wanted = f"{_MARK}={mark}".encode()
    found = {pid for pid in parents if _is_marked(_read(pid, "environ"), wanted)}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    yield from found


def _is_marked(environment: bytes, wanted: bytes) -> bool:
    return any(each == wanted or each.startswith(wanted + b"#") for each in environment.split(b"\0"))


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _is_dead(pid: int) -> bool:
    return _read(pid, "stat").rpartition(b")")[2].split()[:1] == [b"Z"]

"""A cluster of Ray. The only module that imports Ray."""

from __future__ import annotations

import atexit
import contextlib
import errno
import importlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from mtasr.cluster.greeting import require_head
from mtasr.cluster.nodes import Call, Node, Shared, WorkerLostError
from mtasr.cluster.worker import NodeWorker
from mtasr.errors import ClusterError, MtasrError
from mtasr.extras import extras

#: Calls that a worker takes at a time: its tasks, and questions how it is.
_CALLS = 8

#: Seconds to wait for somebody to listen at an address. Ray itself waits for minutes.
_LISTENING = 5.0

#: Seconds for which the head may be out of reach. Ray itself ends the process after a minute.
_ABSENT = 30.0

#: What asks a head as somebody without a token does, the exit code that stands for a refusal, and seconds for it.
_STRANGER = """
import sys
from ray._raylet import GcsClient
try:
    GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)
except Exception as error:
    sys.exit(77 if type(error).__name__ == "AuthenticationError" else 1)
"""
_REFUSED, _ASKING = 77, 60.0

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})

#: How to start a cluster, in messages.
_ADVICE = "`ray start --head` starts a cluster (docs/guide/scale.md has the commands)"


def connect(address: str | None = None) -> RayNodes:
    """Join a cluster: at HOST:PORT, else at $RAY_ADDRESS, else the one that was started on this machine.

    Raises `ClusterError` if there is none, if it cannot be joined, or if it listens beyond this machine without Ray's
    token authentication; `MissingExtraError` without Ray.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # else a call after `close` starts a cluster
    with extras():
        import ray
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # standard error is for ours, and may be for programs
    if ray.is_initialized():
        raise ClusterError("this process has joined a cluster already")
    address = _reachable(address or os.environ.get("RAY_ADDRESS") or _on_this_machine())
    try:
        with _no_standard_error(), _keeping_handler():
            ray.init(address=address, log_to_driver=False, configure_logging=False, logging_level=logging.CRITICAL)
    except Exception as error:
        advice = "Ray's token (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH) and versions must be the cluster's"
        raise ClusterError(f"cannot join the cluster at {address}: {_first_line(error)}; {advice}") from error
    nodes = RayNodes(address)
    try:
        nodes.require_safe()
    except BaseException:
        nodes.close()
        raise
    return nodes


@contextlib.contextmanager
def _no_standard_error() -> Iterator[None]:
    """Within it, what native code writes to standard error is lost: Ray repeats there what it raises at the end."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def _keeping_handler() -> Iterator[None]:
    """After it, SIGTERM does what it did before: Ray takes it over, and ends with the exit code 15."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except Exception:
        _handle(before)
        raise
    _handle(before)  # not after what a signal raised, whose handler is another one by then


def _handle(handler: Any) -> None:
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _on_this_machine() -> str:
    """The address of the cluster that was started on this machine. Raises `ClusterError` if there is none."""
    services: Any = importlib.import_module("ray._private.services")
    try:
        found: str = services.get_ray_address_from_environment("auto", None)
    except ConnectionError as error:
        raise ClusterError(f"there is no cluster on this machine: {_ADVICE}") from error
    return found


def _reachable(address: str) -> str:
    """The address as Ray is to get it. Raises `ClusterError` if nobody listens there."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "://" in host:
        raise ClusterError(f"{address}: is no address of a cluster: HOST:PORT is needed, such as 127.0.0.1:6379")
    try:
        _connect(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ClusterError(f"there is no cluster at {address} ({reason}): {_ADVICE}") from error
    require_head(host.strip("[]").lower(), int(port))
    # Ray replaces these names by this machine's address in its network, where a cluster that is open to this machine
    # alone does not listen; in capitals it leaves the name as it is.
    return f"LOCALHOST:{port}" if host in _LOOPBACK else address


def _connect(address: str) -> None:
    """See that somebody listens there. Raises `OSError`, and `OverflowError` for a port that cannot be."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]").lower(), int(port)), _LISTENING).close()


def _first_line(error: BaseException) -> str:
    """What Ray says, on one line: its messages have paragraphs, whose first line may end with a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:4]) or type(error).__name__


class RayNodes:
    """The cluster that this process has joined."""

    def __init__(self, address: str) -> None:
        import ray

        self._ray: Any = ray
        self._address = address
        self._has_head = True
        self._absent_since: float | None = None
        self._alive: list[Node] = []
        self._silence()

    def _silence(self) -> None:
        """Keep Ray's own messages about dead workers from the terminal; ours have what matters."""
        with contextlib.suppress(ImportError):
            worker: Any = importlib.import_module("ray._private.worker")
            worker.print_to_stdstream = _ignore

    def require_safe(self) -> None:
        """Raise `ClusterError` if a node listens beyond this machine, and nobody checks who calls."""
        beyond = [each for each in self._ray.nodes() if each["Alive"] and each["NodeManagerAddress"] not in _LOOPBACK]
        if beyond and not (_has_token() and _refuses_strangers(self._ray.get_runtime_context().gcs_address)):
            address = beyond[0]["NodeManagerAddress"]
            raise ClusterError(
                f"the cluster listens at {address} and runs the code of anybody who can reach it: start it and mtasr "
                "with RAY_AUTH_MODE=token, or open to this machine alone (docs/guide/scale.md)"
            )

    def alive(self) -> list[Node]:
        if not self._reaches_head():
            return list(self._alive)
        found = [each for each in self._ray.nodes() if each["Alive"]]
        with_cores = [each for each in found if _count(each, "CPU") or _count(each, "GPU")]
        hosts = Counter(each["NodeManagerHostname"] for each in with_cores)
        self._alive = [
            Node(
                id=each["NodeID"],
                name=_name(each, is_only=hosts[each["NodeManagerHostname"]] == 1),
                cpus=_count(each, "CPU"),
                gpus=_count(each, "GPU"),
            )
            for each in sorted(with_cores, key=lambda each: (each["NodeManagerHostname"], each["NodeID"]))
        ]
        return list(self._alive)

    def _reaches_head(self) -> bool:
        """Whether the head answers. Raises `ClusterError` once it has not for long.

        Ray would wait for it for a minute, and then end this process.
        """
        try:
            _connect(self._address)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):  # this process has too many files open
                return True
            self._absent_since = self._absent_since or time.monotonic()
            if time.monotonic() - self._absent_since < _ABSENT:
                return False
            self._has_head = False
            shown = self._address.replace("LOCALHOST", "127.0.0.1")
            raise ClusterError(f"the head of the cluster at {shown} is gone: start a cluster again") from error
        self._absent_since = None
        return True

    def start(self, node: Node, *, on_gpu: bool) -> _RayWorker:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        settings: dict[str, Any] = {
            "num_cpus": node.cpus // node.gpus if on_gpu else node.cpus,
            "num_gpus": 1 if on_gpu else 0,
            "max_concurrency": _CALLS,
            "max_restarts": 0,
            "max_task_retries": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False),
        }
        return _RayWorker(self._ray, self._ray.remote(NodeWorker).options(**settings).remote())

    def wait(self, calls: Sequence[Call], seconds: float) -> list[Call]:
        by_reference = {call.reference: call for call in calls if isinstance(call, _RayCall)}
        if not by_reference:
            time.sleep(seconds)
            return []
        references = list(by_reference)
        self._ray.wait(references, num_returns=1, timeout=seconds, fetch_local=False)
        done, _ = self._ray.wait(references, num_returns=len(references), timeout=0, fetch_local=False)
        return [by_reference[each] for each in done]

    def share(self, content: bytes) -> Shared:
        return _RayShared([self._ray.put(content)])

    def close(self) -> None:
        if self._has_head:
            self._ray.shutdown()
        else:
            atexit.unregister(self._ray.shutdown)  # it would wait for the head


def _ignore(*arguments: object, **settings: object) -> None:
    pass


def _has_token() -> bool:
    """Whether Ray's token authentication is on in this process. A cluster without it takes callers with a token too."""
    raylet: Any = importlib.import_module("ray._raylet")
    return bool(raylet.get_authentication_mode() == raylet.AuthenticationMode.TOKEN)


def _refuses_strangers(address: str) -> bool:
    """Whether the head of the cluster refuses a call without a token, from a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    environment["RAY_AUTH_MODE"] = "disabled"
    command = [sys.executable, "-c", _STRANGER, address]
    try:
        asked = subprocess.run(  # noqa: S603 - a list, no shell; the program is this Python
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_ASKING
        )
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == _REFUSED


def _count(node: dict[str, Any], resource: str) -> int:
    return int(node["Resources"].get(resource, 0))


def _name(node: dict[str, Any], *, is_only: bool) -> str:
    """The host, and the start of the id where a host has several nodes."""
    host = str(node["NodeManagerHostname"])
    return host if is_only else f"{host}/{node['NodeID'][:4]}"


class _RayWorker:
    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor

    def call(self, method: str, /, *arguments: Any) -> _RayCall:
        return _RayCall(self._ray, getattr(self._actor, method).remote(*arguments))

    def kill(self) -> None:
        with contextlib.suppress(Exception):  # it may be dead, and the cluster too
            self._ray.kill(self._actor)


class _RayCall:
    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self.reference = ray, reference

    def result(self) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(self.reference)
        except errors.RayTaskError as error:
            cause: Exception = error.cause
            if not isinstance(cause, MtasrError):
                cause.add_note(str(error))  # where it was raised
            raise cause from None
        except errors.RuntimeEnvSetupError:
            raise
        except errors.RayError as error:
            if isinstance(error, errors.RayActorError) and "ModuleNotFoundError" in str(error):
                raise ClusterError("has no mtasr that can work in a cluster: install the driver's version") from None
            raise WorkerLostError(_first_line(error)) from error


class _RayShared:
    """Bytes in Ray's store; it travels to workers as a reference."""

    def __init__(self, references: list[Any]) -> None:
        # In a list, so that Ray does not replace it by the bytes of all blocks at once.
        self._references = references

    def get(self) -> bytes:
        import ray

        content: bytes = ray.get(self._references[0])
        return content

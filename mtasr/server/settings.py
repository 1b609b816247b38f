"""The settings of the server, listed only here."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mtasr.errors import UsageError
from mtasr.models import DEFAULT_MODEL

#: Names by which an address of this machine alone is known.
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the server runs.

    Raises `UsageError` on construction for a value out of range.
    """

    #: The model for requests that name none, or one of OpenAI's: a name, or a folder.
    model: str = DEFAULT_MODEL
    #: Other models that requests may name; folders go by their last part. None: those on this machine.
    models: tuple[str, ...] | None = None
    #: Whether a request may name any published model, which is then downloaded.
    downloads: bool = False
    #: Models in memory at a time.
    loaded_models: int = 2
    #: Seconds after which an unused model leaves memory; infinity: never.
    idle_seconds: float = 600.0

    #: The address to listen on.
    host: str = "127.0.0.1"
    #: 0 takes a free one.
    port: int = 8000
    #: PEM files of the certificate and its private key; both or neither.
    tls_cert: Path | None = None
    tls_key: Path | None = None
    #: Addresses of proxies whose `X-Forwarded-For` is believed.
    proxies: tuple[str, ...] = ()
    #: Other web sites (`https://example.org`) whose pages may use the server; "*": any.
    origins: tuple[str, ...] = ()
    #: Names by which clients may call a server that listens on this machine alone, besides those of loopback.
    names: tuple[str, ...] = ()

    #: Where Home Assistant's protocol, Wyoming, is spoken: `tcp://HOST:PORT`; port 0 takes a free one. None: nowhere.
    wyoming: str | None = None

    #: Keys that clients must show, with the name of the client each belongs to; none: everybody may use the server.
    keys: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    #: Requests taken at a time: received, waiting and transcribed. More get 429.
    requests: int = 128
    #: Those of one client: of a key, or of an address where there are no keys.
    client_requests: int = 64
    #: Recordings transcribed at a time; others wait their turn.
    at_once: int = 32
    #: Those of more than `short_seconds` among them.
    long_at_once: int = 4
    #: Recordings up to this long go first.
    short_seconds: float = 60.0

    #: Bytes of the largest request.
    upload_bytes: int = 1 << 30
    #: Seconds to receive a request, and between two pieces of it.
    upload_seconds: float = 1800.0
    upload_pause: float = 30.0
    #: Form fields of a request, and bytes of all of them together.
    fields: int = 100
    field_bytes: int = 1 << 20
    #: Bytes of the recordings of known voices in a request, all together, as data URLs.
    reference_bytes: int = 12 << 20
    #: Seconds of the longest recording.
    recording_seconds: float = 4 * 3600.0

    #: Live sessions at a time, in all and of one client; those whose client may come back count, too.
    live_sessions: int = 32
    client_live_sessions: int = 8
    #: Seconds of sound that a live session takes.
    live_seconds: float = 4 * 3600.0
    #: Seconds without a message after which a live session ends.
    live_pause: float = 300.0
    #: Seconds for which a live session at /v1/live waits for a client that has vanished.
    resume_seconds: float = 60.0

    #: Jobs transcribed at a time, and jobs that may wait; more get 429.
    jobs_at_once: int = 2
    waiting_jobs: int = 100
    #: Seconds for which the result of a job is kept after it has ended.
    job_seconds: float = 7 * 24 * 3600.0
    #: Bytes of the largest transcript that is written in another format on request.
    transcript_bytes: int = 8 << 20

    #: Seconds that requests have to finish when the server stops.
    stop_seconds: float = 30.0
    #: Where uploads and jobs are kept. None: a temporary folder, deleted when the server stops.
    data: Path | None = None
    #: Whether the log may hold what was said.
    log_text: bool = False

    def __post_init__(self) -> None:
        for name, kept, rule in self._rules():
            if not kept:
                raise UsageError(f"{name} must be {rule}, not {getattr(self, name)!r}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("tls-cert and tls-key belong together: give both or neither")
        _ = self.wyoming_address

    @property
    def wyoming_address(self) -> tuple[str, int] | None:
        """Host and port of `wyoming`."""
        if self.wyoming is None:
            return None
        address = urlsplit(self.wyoming)
        with contextlib.suppress(ValueError):  # a port that is no number, or too great
            if address.scheme == "tcp" and address.hostname and address.port is not None and not address.path:
                return address.hostname, address.port
        raise UsageError(f"wyoming must be an address such as tcp://127.0.0.1:10300, not {self.wyoming!r}")

    def _rules(self) -> Iterator[tuple[str, bool, str]]:
        """Each rule: the setting's name, whether its value keeps the rule, and the rule in words."""
        yield "port", 0 <= self.port < 1 << 16, "between 0 and 65535"
        for name in ("loaded_models", "requests", "client_requests", "at_once", "long_at_once", "upload_bytes"):
            yield name, getattr(self, name) >= 1, "at least 1"
        for name in ("live_sessions", "client_live_sessions"):
            yield name, getattr(self, name) >= 1, "at least 1"
        for name in ("live_seconds", "live_pause", "resume_seconds"):
            yield name, getattr(self, name) > 0, "above 0"
        for name in ("fields", "field_bytes", "reference_bytes", "jobs_at_once", "waiting_jobs", "transcript_bytes"):
            yield name, getattr(self, name) >= 1, "at least 1"
        for name in ("idle_seconds", "upload_seconds", "upload_pause", "recording_seconds", "job_seconds"):
            yield name, getattr(self, name) > 0, "above 0"
        for name in ("stop_seconds", "short_seconds"):
            yield name, 0 <= getattr(self, name) < math.inf, "0 or more"

    @property
    def listens_to_this_machine_alone(self) -> bool:
        return is_this_machine(self.host)


def is_this_machine(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    return host in LOOPBACK or host.startswith("127.")

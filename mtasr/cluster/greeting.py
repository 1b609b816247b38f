"""Whether a Ray cluster listens at an address, before Ray is asked: it would wait for minutes, and let no signal in."""

from __future__ import annotations

import os
import socket
import time

from mtasr.errors import ClusterError

#: Seconds for an answer.
_ANSWERING = 10.0

#: How a client of HTTP/2 begins, which is what Ray's head speaks (RFC 9113, section 3.4): the preface and an empty
#: frame of settings.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))

#: Bytes of the head of a frame; the fourth is its type, that of settings is 4, and a server sends them first.
_FRAME, _TYPE, _SETTINGS = 9, 3, 4


def require_head(host: str, port: int) -> None:
    """Raise `ClusterError` unless what listens there speaks as the head of a Ray cluster does, soon."""
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return  # it is silent until keys are exchanged
    end = time.monotonic() + _ANSWERING
    answer = b""
    try:
        with socket.create_connection((host, port), _ANSWERING) as connection:
            connection.sendall(_GREETING)
            while len(answer) < _FRAME and (left := end - time.monotonic()) > 0:
                connection.settimeout(left)
                part = connection.recv(_FRAME)
                if not part:
                    break
                answer += part
    except TimeoutError:
        pass
    except OSError as error:
        raise ClusterError(f"what listens at {host}:{port} is no Ray cluster ({error.strerror or error})") from error
    if not answer:
        raise ClusterError(f"what listens at {host}:{port} does not answer as a Ray cluster does")
    if len(answer) < _FRAME or answer[_TYPE] != _SETTINGS:
        raise ClusterError(f"what listens at {host}:{port} is no Ray cluster")

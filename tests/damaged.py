"""Files that somebody else has written: valid ones with damage, JSON of any shape, and bytes of no kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

#: What other programs write and readers stumble over: no numbers, too large ones, digits without end, wrong kinds.
_ODD = st.sampled_from(
    [None, True, 0, -1, 10**400, 1e308, float("nan"), float("inf"), "", "\ud800", "\0", "9" * 5000, [], {}, [[]], [{}]]
)
_PIECES = st.sampled_from(
    [
        b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n\n", b'"', b"{", b"[", b"}", b"<", b",", b"-->", b"1e999", b"NaN",
        b"-1", b"\\ud800", b"\\u0000", b"9" * 5000, b"[" * 5000, b"0x" + b"f" * 5000, b"<" * 50_000, b"{\\" * 50_000,
    ]
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file in which some places are changed, cut out, repeated or filled with something else, or its end is gone."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 8, 100])))
        put = draw(st.one_of(_PIECES, st.binary(max_size=4), st.just(bytes(data[start:end]) * 2), st.just(b"")))
        data[start:end] = put
        if draw(st.integers(0, 9)) == 0:
            del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@st.composite
def mistaken(draw: st.DrawFn, document: Any) -> Any:
    """A JSON value in which one place holds something else or, in an object, is missing."""
    if not isinstance(document, list | dict) or not document or draw(st.integers(0, 3)) == 0:
        return draw(_ODD)
    changed = document.copy()
    place = draw(st.sampled_from(range(len(document)) if isinstance(document, list) else sorted(document)))
    if isinstance(document, dict) and draw(st.integers(0, 5)) == 0:
        del changed[place]
    else:
        changed[place] = draw(mistaken(document[place]))
    return changed


def hostile(wholes: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Damaged files, most of them close to a valid one."""
    ways = [st.sampled_from(wholes).flatmap(damaged), st.binary(max_size=200)]
    for whole in wholes:
        lines = whole.decode().splitlines() if whole[:1] in {b"{", b"["} else []
        for text in [whole.decode(), lines[0]] if lines else []:
            try:
                document = json.loads(text)
            except ValueError:
                continue
            ways.append(mistaken(document).map(lambda value: json.dumps(value).encode()))
    return st.one_of(ways)

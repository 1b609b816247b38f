"""Files of codes: byte for byte those of Meta's tool, back again, and what is not such a file."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.errors import InputError, InputNotFoundError
from mtasr.generative.codec_file import pack, read_codec_file, unpack, write_codec_file


@given(st.integers(1, 16).flatmap(lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1)))))
def test_numbers_are_packed_and_unpacked(case: tuple[int, list[int]]) -> None:
    bits, values = case
    data = pack(np.array(values, np.int64), bits)
    # The definition: one large number whose lowest bits are the first value.
    whole = sum(value << (bits * place) for place, value in enumerate(values))
    assert data == whole.to_bytes(-(-bits * len(values) // 8), "little")
    assert unpack(data, bits, len(values)).tolist() == values


def test_a_file_holds_what_was_written(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 1024, (3, 7))
    path = tmp_path / "x.ecdc"
    write_codec_file(path, codes, 10, model="encodec_24khz", samples=2200, digest="ab")
    data = path.read_bytes()
    magic, version, length = struct.unpack("!4sBI", data[:9])
    header = json.loads(data[9 : 9 + length])
    assert (magic, version) == (b"ECDC", 0)
    assert header == {"m": "encodec_24khz", "al": 2200, "nc": 3, "lm": False, "id": "ab"}
    # Frame after frame: the first ten bits are the first code of the first book, the next those of the second.
    first = int.from_bytes(data[9 + length :][:4], "little")
    assert [first & 1023, first >> 10 & 1023] == codes[:2, 0].tolist()
    found = read_codec_file(path)
    assert (found.model, found.samples, found.books, found.digest) == ("encodec_24khz", 2200, 3, "ab")
    assert found.codes(10, 7).tolist() == codes.tolist()


def _file(header: object, codes: bytes = b"", *, length: int | None = None, version: int = 0) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("!4sBI", b"ECDC", version, len(text) if length is None else length) + text + codes


_GOOD = {"m": "x", "al": 8, "nc": 1, "lm": False}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an .ecdc file"),
        (b"RIFF" + bytes(40), "not an .ecdc file"),
        (_file(_GOOD, version=1), "later version"),
        (_file(_GOOD, length=2**31), "damaged"),
        (_file(_GOOD, length=10), "not JSON"),
        (_file([1]), "lacks one of"),
        (_file({**_GOOD, "al": "8"}), "lacks one of"),
        (_file({**_GOOD, "al": True}), "lacks one of"),
        (_file({**_GOOD, "al": -1}), "impossible"),
        (_file({**_GOOD, "nc": 0}), "impossible"),
        (_file({**_GOOD, "lm": True}), "language model"),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "x.ecdc"
    path.write_bytes(data)
    with pytest.raises(InputError, match=reason):
        read_codec_file(path)


def test_a_file_that_is_cut_short_or_promises_too_much(tmp_path: Path) -> None:
    path = tmp_path / "x.ecdc"
    path.write_bytes(_file({**_GOOD, "al": 10**15}, b"ab"))
    with pytest.raises(InputError, match="2 bytes, not 12500000000000"):
        read_codec_file(path).codes(8, 10**15 // 8 // 10)
    with pytest.raises(InputNotFoundError):
        read_codec_file(tmp_path / "nothing.ecdc")

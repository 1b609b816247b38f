"""Bytes of any kind become samples of 16 kHz."""

from __future__ import annotations

import numpy as np
import pytest
from server.live.talking import noise, pieces

from mtasr.server.live.sound import ENCODINGS, RATES, LiveSound, SoundReader


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("count", [0, 1, 7])
def test_short_sounds_keep_their_length(rate: int, count: int) -> None:
    reader = SoundReader(LiveSound(rate=rate))
    found = np.concatenate([reader.add(bytes(2 * count)), reader.rest()])
    assert len(found) == -(-count * 16_000 // rate)


def test_messages_make_no_difference() -> None:
    sound = noise(24_000, ((0.1, 0.9),), 1.0)
    whole, cut = SoundReader(LiveSound(rate=24_000)), SoundReader(LiveSound(rate=24_000))
    found = np.concatenate([*(cut.add(piece) for piece in pieces(sound, 334)), cut.rest()])
    assert np.array_equal(found, np.concatenate([whole.add(sound), whole.rest()]))
    assert len(found) == 16_000


def test_g711_gives_the_values_of_its_tables() -> None:
    # The decision values of ITU-T G.711, in steps of 16 bits.
    mu_law = LiveSound(encoding="mulaw", rate=8000).decoded(bytes([0x00, 0x7F, 0x80, 0xFF, 0x0F, 0x8F, 0xF0])) * 32768
    assert mu_law.tolist() == [-32124, 0, 32124, 0, -16764, 16764, 120]
    a_law = LiveSound(encoding="alaw", rate=8000).decoded(bytes([0x2A, 0xAA, 0x55, 0xD5, 0x54, 0xC5])) * 32768
    assert a_law.tolist() == [-32256, 32256, -8, 8, -24, 264]


def test_every_encoding_has_its_width() -> None:
    for name, width in ENCODINGS.items():
        assert len(LiveSound(encoding=name).decoded(bytes(width * 5))) == 5
    halves = np.array([0.5, -0.25], "<f4").tobytes()
    assert LiveSound(encoding="pcm_f32le").decoded(halves).tolist() == [0.5, -0.25]
    assert LiveSound().decoded(b"\x00\x40\x00\x80").tolist() == [0.5, -1.0]

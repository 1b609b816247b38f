"""`mtasr compress` and `mtasr decompress`: there and back, other codecs, and what is refused."""

from __future__ import annotations

import json
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from speech import write_wav

from mtasr.cli import program
from mtasr.cli.failures import ExitCode
from mtasr.generative.codec import Codec, CodecConfig
from mtasr.generative.codec_folder import load_codec, save_codec
from mtasr.generative.seanet import SeanetConfig


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a recording of 4001 samples at 16 kHz, and two codecs."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("codec", 0), ("other", 1)):
        torch.manual_seed(seed)
        seanet = SeanetConfig(filters=4, strides=(8, 5), dimension=6, padding="constant")
        made = Codec(CodecConfig(rate=16_000, seanet=seanet, books=3, entries=16))
        for book in made.quantizer.books:
            book.centres.normal_(std=0.1)
        save_codec(made.eval(), tmp_path / name)
    write_wav(tmp_path / "talk.wav", (0.1 * np.random.default_rng(0).standard_normal(4001)).astype(np.float32))
    return tmp_path


def _ran(*args: str) -> Result:
    return CliRunner().invoke(program, args, prog_name="mtasr")


def test_there_and_back(folder: Path) -> None:
    ran = _ran("compress", "talk.wav", "--codec", "codec", "-b", "3.2")
    assert ran.exit_code == 0, ran.output
    assert "0.3 s at 3.2 kbit/s in talk.ecdc" in ran.stderr
    data = Path("talk.ecdc").read_bytes()
    length = struct.unpack("!4sBI", data[:9])[2]
    codec = load_codec("codec")
    assert json.loads(data[9 : 9 + length]) == {
        "m": codec.name, "al": 4001, "nc": 2, "lm": False, "id": codec.digest,
    }  # fmt: skip
    assert len(data) - 9 - length == 101  # 101 frames of two codes of four bits
    ran = _ran("decompress", "talk.ecdc", "--codec", "codec")
    assert ran.exit_code == 0, ran.output
    with wave.open("talk_decompressed.wav") as found:
        assert (found.getframerate(), found.getnchannels(), found.getnframes()) == (16_000, 1, 4001)
        heard = np.frombuffer(found.readframes(4001), np.int16) / 32768
    with wave.open("talk.wav") as original:
        samples = np.frombuffer(original.readframes(4001), np.int16).astype(np.float32) / 32768
    expected = codec.decode(codec.encode(torch.from_numpy(samples)[None], 2), 4001)[0].numpy()
    np.testing.assert_allclose(heard, expected, atol=2e-4)


def test_what_is_refused(folder: Path) -> None:
    assert _ran("compress", "talk.wav", "--codec", "codec").exit_code == 0
    for args, code, reason in (
        (("compress", "talk.wav", "-o", "x.mp3"), ExitCode.USAGE, "must end with .ecdc"),
        (("compress", "talk.wav", "--codec", "codec", "-b", "1"), ExitCode.USAGE, "has 1.6 to 4.8 kbit/s"),
        (("compress", "nothing.wav", "--codec", "codec"), None, "no such file"),
        (("compress", "talk.wav", "--codec", "nothing.th"), None, "no such codec"),
        (("decompress", "talk.ecdc"), ExitCode.USAGE, "name it with --codec"),
        (("decompress", "talk.ecdc", "--codec", "other"), None, "another codec"),
        (("decompress", "talk.wav", "--codec", "codec"), None, "not an .ecdc file"),
    ):
        ran = _ran(*args)
        assert ran.exit_code, args
        assert code is None or ran.exit_code == code
        assert reason in ran.stderr, (args, ran.stderr)
    Path("cut.ecdc").write_bytes(Path("talk.ecdc").read_bytes()[:-1])
    assert "damaged" in _ran("decompress", "cut.ecdc", "--codec", "codec").stderr
    assert not list(folder.glob("*decompressed*"))

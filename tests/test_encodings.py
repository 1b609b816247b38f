"""However a recording is stored, its text is the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jiwer
import numpy as np
import pytest
from speech import SAMPLE_RATE, speak, write_wav
from whisper_normalizer.english import EnglishTextNormalizer

from mtasr.audio import find_ffmpeg
from mtasr.transcribe import Model, load_model

pytestmark = [pytest.mark.weights, pytest.mark.slow]

ENCODINGS = {
    "8-bit.wav": "-c:a pcm_u8 -ar 44100",
    "24-bit.wav": "-c:a pcm_s24le -ar 48000 -ac 2",
    "32-bit.wav": "-c:a pcm_s32le -ar 96000",
    "float.wav": "-c:a pcm_f32le -ar 192000",
    "double.w64": "-c:a pcm_f64le -ar 22050",
    "a-law.wav": "-c:a pcm_alaw -ar 16000",
    "mu-law.au": "-c:a pcm_mulaw -ar 16000",
    "adpcm.wav": "-c:a adpcm_ima_wav -ar 32000",
    "surround.flac": "-c:a flac -ar 48000 -ac 6",
    "lossless.m4a": "-c:a alac -ar 44100",
    "aac.m4a": "-c:a aac -b:a 96k -ar 44100",
    "layer-3.mp3": "-c:a libmp3lame -b:a 64k -ar 44100",
    "layer-2.mp2": "-c:a mp2 -b:a 128k -ar 48000",
    "opus.webm": "-c:a libopus -b:a 64k -ar 48000",
    "vorbis.ogg": "-c:a libvorbis -q:a 3 -ar 44100",
    "dolby.mkv": "-c:a ac3 -b:a 192k -ar 48000 -ac 2",
    "windows.wma": "-c:a wmav2 -b:a 96k -ar 44100",
    "big-endian.aiff": "-c:a pcm_s16be -ar 44100",
}

SENTENCES = [
    "The old bridge was closed in March.",
    "Two boats went down the river this morning.",
    "Please bring the letters to the office.",
    "My sister lives in a house by the sea.",
    "We had bread and cheese for lunch.",
    "The teacher asked a simple question.",
    "It will rain in the north tomorrow.",
    "He bought a ticket for the last train.",
    "The children played football in the park.",
    "She wrote a long letter to her mother.",
    "The museum opens at ten on Sunday.",
    "Nobody knew where the keys were.",
    "They found water under the ground.",
    "The doctor came late in the evening.",
    "Our neighbor has a very small garden.",
    "The music stopped and people went home.",
    "I would like a cup of coffee with milk.",
    "The village has one shop and a school.",
    "Their plane leaves from the second gate.",
    "The winter was cold and the roads were white.",
]


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("base", device="cpu")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sentences, with pauses."""
    path = tmp_path_factory.mktemp("spoken") / "spoken.wav"
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    write_wav(path, np.concatenate([part for each in SENTENCES for part in (speak(each), pause)]))
    return path


def encoded(source: Path, name: str, folder: Path) -> Path:
    command = [find_ffmpeg(), "-loglevel", "error", "-i", str(source), *ENCODINGS[name].split(), str(folder / name)]
    subprocess.run(command, check=True)
    return folder / name


def errors(text: str) -> float:
    plain = EnglishTextNormalizer()
    return jiwer.wer(plain(" ".join(SENTENCES)), plain(text))


def test_one_sentence_is_written_alike_from_every_encoding(model: Model, tmp_path: Path) -> None:
    sentence = "Please bring the letters to the office and tell my sister that it will rain tomorrow."
    write_wav(tmp_path / "original.wav", speak(sentence))
    text = model.transcribe(tmp_path / "original.wav", language="en").text
    assert text == sentence
    files = [encoded(tmp_path / "original.wav", name, tmp_path) for name in ENCODINGS]
    with model.stream_all(files, language="en") as streams:
        assert {
            file.name: stream.transcript().text for file, stream in zip(files, streams, strict=True)
        } == dict.fromkeys(ENCODINGS, text)


def test_no_encoding_costs_words(model: Model, spoken: Path, tmp_path: Path) -> None:
    expected = errors(model.transcribe(spoken, language="en").text)
    assert expected < 0.2
    files = [encoded(spoken, name, tmp_path) for name in ENCODINGS]
    with model.stream_all(files, language="en") as streams:
        found = [errors(stream.transcript().text) for stream in streams]
    # 147 words: an odd one more or less is chance.
    assert np.mean(found) <= expected + 0.03
    assert max(found) <= expected + 0.05, dict(zip(ENCODINGS, found, strict=True))

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_encoder import FIELD, STEP, LocalEncoder
from fakes import LoudIsSpeech
from hypothesis import given
from hypothesis import strategies as st
from speech import write_wav

from mtasr.arrays import Float32Array
from mtasr.encoders import load_encoder
from mtasr.encoders.extract import chosen_layers, default_layer, extract, extract_blocks, whole_states
from mtasr.errors import InputError, InputNotFoundError, UsageError
from mtasr.networks.adapters import Adapters
from mtasr.networks.context import ContextEncoder
from mtasr.networks.dimensions import EncoderDimensions
from mtasr.networks.speech_encoder import SpeechEncoder, device_of, longest_seconds
from mtasr.networks.whisper_encoder import WhisperEncoder
from mtasr.probing.adapted import AdaptedEncoder
from mtasr.spans import SAMPLE_RATE


def sound(*stretches: tuple[float, bool]) -> Float32Array:
    """Seconds of noise that are loud or not."""
    rng = np.random.default_rng(0)
    parts = [rng.uniform(-1, 1, round(seconds * SAMPLE_RATE)) * (0.5 if loud else 0.001) for seconds, loud in stretches]
    return np.concatenate(parts).astype(np.float32)


def in_blocks(samples: Float32Array, size: int) -> Iterator[Float32Array]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


LONG = sound((9, True), (1, False), (12, True), (0.5, False), (40, True), (3, False), (11, True))


@pytest.mark.parametrize("samples", [LONG, LONG[:-5_000], sound((26.9, True)), sound((0.7, True)), sound((58, True))])
def test_windows_give_every_frame_once_as_the_whole_does(samples: Float32Array) -> None:
    encoder = LocalEncoder()
    blocks = list(extract_blocks(encoder, in_blocks(samples, SAMPLE_RATE), (0, 1), detector=LoudIsSpeech()))
    states = np.concatenate([block.states for block in blocks], axis=1)
    expected = torch.stack([each[0] for each in LocalEncoder().states(torch.from_numpy(samples)[None])]).numpy()
    np.testing.assert_array_equal(states, expected)
    times = np.concatenate([block.times for block in blocks])
    np.testing.assert_allclose(times, (FIELD / 2 + STEP * np.arange(len(times))) / SAMPLE_RATE)
    assert [block.first for block in blocks] == np.cumsum([0, *(b.states.shape[1] for b in blocks[:-1])]).tolist()


def test_a_recording_of_27_seconds_is_heard_at_once_and_a_longer_one_never_more_than_30() -> None:
    encoder = LocalEncoder()
    list(extract_blocks(encoder, [sound((26.9, True))], (0,), detector=LoudIsSpeech()))
    assert encoder.heard == [round(26.9 * SAMPLE_RATE)]
    encoder.heard.clear()
    list(extract_blocks(encoder, in_blocks(LONG, SAMPLE_RATE), (0,), detector=LoudIsSpeech()))
    assert len(encoder.heard) > 2
    assert max(encoder.heard) <= 30 * SAMPLE_RATE


def test_windows_end_at_pauses() -> None:
    samples = sound((20, True), (1, False), (20, True))
    second = list(extract_blocks(LocalEncoder(), [samples], (0,), detector=LoudIsSpeech()))[1]
    assert 20 <= second.times[0] <= 21


@given(st.integers(0, 1000), st.sampled_from([100, 4_000, 100_000]))
def test_how_samples_come_does_not_matter(cut: int, size: int) -> None:
    samples = LONG[: len(LONG) - cut]
    found = list(extract_blocks(LocalEncoder(), in_blocks(samples, size), (0,), detector=LoudIsSpeech()))
    whole = list(extract_blocks(LocalEncoder(), [samples], (0,), detector=LoudIsSpeech()))
    assert [each.first for each in found] == [each.first for each in whole]
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_array_equal(one.states, other.states)
        np.testing.assert_array_equal(one.speech, other.speech)


def test_frames_say_whether_they_are_speech() -> None:
    blocks = extract_blocks(LocalEncoder(), [sound((2, False), (3, True), (2, False))], (0,), detector=LoudIsSpeech())
    (block,) = blocks
    spoken = block.times[block.speech]
    assert spoken[0] == pytest.approx(2, abs=0.1)
    assert spoken[-1] == pytest.approx(5, abs=0.1)
    assert len(spoken) == pytest.approx(150, abs=8)


def test_too_little_sound_for_a_frame(tmp_path: Path) -> None:
    assert list(extract_blocks(LocalEncoder(), [np.zeros(399, np.float32)], (0,))) == []
    assert whole_states(LocalEncoder(), np.zeros(399, np.float32), (0, 1)).shape == (2, 0, 3)
    write_wav(tmp_path / "click.wav", np.zeros(200, np.float32))
    with pytest.raises(InputError, match=r"click\.wav: has 200 samples, too few for a frame"):
        list(extract(LocalEncoder(), str(tmp_path / "click.wav"), (0,)))
    with pytest.raises(InputNotFoundError):
        list(extract(LocalEncoder(), str(tmp_path / "missing.wav"), (0,)))


def test_recordings_are_read_and_progress_is_told(tmp_path: Path) -> None:
    samples = sound((2.5, True))
    write_wav(tmp_path / "a.wav", samples)
    told: list[tuple[float, float | None]] = []
    blocks = extract(LocalEncoder(), str(tmp_path / "a.wav"), (1,), progress=lambda *now: told.append(now))
    (block,) = blocks
    assert block.states.shape == (1, LocalEncoder().states(torch.zeros(1, len(samples)))[0].shape[1], 3)
    assert told[-1] == (2.5, pytest.approx(2.5))


def test_layers() -> None:
    encoder = LocalEncoder()
    assert chosen_layers(encoder, None) == (0, 1)
    assert chosen_layers(encoder, 0) == (0,)
    assert chosen_layers(encoder, -1) == (1,)
    for wrong in (2, -3):
        with pytest.raises(UsageError, match="local has the layers 0 to 1"):
            chosen_layers(encoder, wrong)


@pytest.mark.parametrize(("layers", "sounds", "words"), [(0, 0, 0), (1, 1, 1), (6, 4, 5), (12, 8, 10), (24, 16, 20)])
def test_the_layer_if_nobody_says(layers: int, sounds: int, words: int) -> None:
    encoder = LocalEncoder()
    encoder.layers = layers
    assert (default_layer(encoder), default_layer(encoder, words=True)) == (sounds, words)


@pytest.mark.parametrize("name", ["log-mel", "log-mel+1", "random:tiny-cpc"])
def test_audio_goes_where_the_encoder_is(name: str) -> None:
    encoder = load_encoder(name, "cpu")
    assert device_of(encoder).type == "cpu"
    assert device_of(encoder.to("meta")).type == "meta"  # type: ignore[attr-defined]


def short_whisper(seconds: float) -> WhisperEncoder:
    dims = EncoderDimensions(
        n_mels=80, n_audio_ctx=round(seconds * 50), n_audio_state=8, n_audio_head=2, n_audio_layer=1
    )
    return WhisperEncoder(dims, "short").eval()


@pytest.mark.parametrize("wrapped", ["not", "with neighbours", "with adapters"])
def test_windows_are_no_longer_than_a_wrapped_encoder_hears(wrapped: str) -> None:
    encoder: SpeechEncoder = short_whisper(6.0)
    if wrapped == "with neighbours":
        encoder = ContextEncoder(encoder, 1)
    elif wrapped == "with adapters":
        encoder = AdaptedEncoder(encoder, Adapters(short_whisper(6.0), "houlsby", 2))
    assert longest_seconds(encoder) == 6.0
    found = list(extract_blocks(encoder, [sound((20, True))], (0,), detector=LoudIsSpeech()))
    assert sum(block.states.shape[1] for block in found) == 1_000


def test_an_encoder_that_hears_too_little_for_windows() -> None:
    with pytest.raises(UsageError, match=r"short hears 2\.0 s at once"):
        list(extract_blocks(short_whisper(2.0), [sound((1, True))], (0,), detector=LoudIsSpeech()))
    assert longest_seconds(LocalEncoder()) == float("inf")

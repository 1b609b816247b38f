"""The recogniser's encoder, and log-mel features, as encoders of speech."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mtasr.errors import ModelError
from mtasr.features import log_mel
from mtasr.networks.dimensions import EncoderDimensions
from mtasr.networks.log_mel import LogMel, LogMelEncoder
from mtasr.networks.speech_encoder import SpeechEncoder
from mtasr.networks.whisper_encoder import WhisperEncoder

SMALL = EncoderDimensions(n_mels=8, n_audio_ctx=50, n_audio_state=16, n_audio_head=2, n_audio_layer=3)


def noise(rows: int = 2, samples: int = 4_000) -> Tensor:
    return torch.rand(rows, samples, generator=torch.Generator().manual_seed(1)) - 0.5


@pytest.fixture
def encoder() -> WhisperEncoder:
    torch.manual_seed(0)
    return WhisperEncoder(SMALL).eval()


@pytest.mark.parametrize("samples", [400, 559, 560, 16_000, 16_123])
@pytest.mark.parametrize("n_mels", [80, 128])
def test_features_equal_those_that_transcribing_computes(samples: int, n_mels: int) -> None:
    audio = noise(3, samples) * torch.tensor([1.0, 1e-3, 0.0])[:, None]
    audio[0, samples // 2 :] *= 1e-6  # below the floor of its row
    ours = LogMel(n_mels)(audio)
    theirs = np.stack([log_mel(row, n_mels) for row in audio.numpy()])
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-5)


def test_features_have_finite_gradients() -> None:
    audio = (noise() * torch.tensor([[1.0], [0.0]])).requires_grad_()
    LogMel()(audio).sum().backward()  # type: ignore[no-untyped-call]
    assert audio.grad is not None
    assert torch.isfinite(audio.grad).all()


def test_states_are_those_before_each_block_and_the_output(encoder: WhisperEncoder) -> None:
    speech: SpeechEncoder = encoder
    with torch.no_grad():
        states = speech.states(noise())
        mel = encoder.mel(noise())
        whole = encoder.encoder(mel)
        before_last = [each(states[index]) for index, each in enumerate(encoder.encoder.blocks)]
    assert [each.shape for each in states] == [(2, 13, 16)] * 4
    assert torch.equal(states[-1], whole)
    assert torch.equal(states[1], before_last[0])
    assert torch.equal(states[-1], encoder.encoder.norm(before_last[-1]))


@pytest.mark.parametrize("samples", [400, 479, 480, 3_199, 3_200, 3_360])
def test_states_are_20_ms_apart(encoder: WhisperEncoder, samples: int) -> None:
    with torch.no_grad():
        assert encoder.states(noise(1, samples))[0].shape[1] == encoder.frames(samples) == -(-(samples // 160) // 2)


def test_where_states_are(encoder: WhisperEncoder) -> None:
    """A click is loudest in the frame whose middle is nearest."""
    for each in (encoder, LogMelEncoder(8)):
        assert each.frame_seconds == 0.02
    audio = torch.zeros(1, 8_000)
    frame = 7
    features = LogMelEncoder(8)
    audio[0, round((features.offset_seconds + frame * 0.02) * 16_000)] = 1
    assert features.states(audio)[0].mean(dim=2).argmax() == frame


def test_log_mel_stacks_two_frames() -> None:
    features = LogMelEncoder()
    assert (features.layers, features.width) == (0, 160)
    (states,) = features.states(noise(2, 1_000))
    mel = LogMel()(noise(2, 1_000))
    assert states.shape == (2, 3, 160)
    assert torch.equal(states[1, 2], torch.cat([mel[1, :, 4], mel[1, :, 5]]))


def test_audio_beyond_the_context_is_refused(encoder: WhisperEncoder) -> None:
    encoder.states(noise(1, 16_000))
    with pytest.raises(ModelError, match=r"1\.1 s of audio exceed the 1\.0 s that the encoder whisper hears"):
        encoder.states(noise(1, 17_600))


@pytest.mark.parametrize("shape", [(1, 399), (16_000,)])
def test_audio_without_features_is_refused(encoder: WhisperEncoder, shape: tuple[int, ...]) -> None:
    for each in (encoder, LogMelEncoder()):
        with pytest.raises(ModelError, match="gives no features"):
            each.states(torch.zeros(shape))


def test_impossible_dimensions_are_refused() -> None:
    with pytest.raises(ModelError, match="not divisible by 3 heads"):
        WhisperEncoder(EncoderDimensions(n_mels=8, n_audio_ctx=5, n_audio_state=16, n_audio_head=3, n_audio_layer=1))

"""Recordings longer than a window through heads with known weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_encoder import LocalEncoder
from speech import write_wav

from mtasr.arrays import Float32Array
from mtasr.encoders.extract import whole_states
from mtasr.errors import InputError, ModelNotFoundError, UsageError
from mtasr.probing.answers import logits_of
from mtasr.probing.classifying import Classifier, classified, in_one_order, load_classifier, overlapping
from mtasr.probing.heads import Head, HeadConfig, save_head
from mtasr.spans import SAMPLE_RATE


def classifier(kind: str, sizes: tuple[int, ...], labels: tuple[str, ...]) -> Classifier:
    """A head with random weights."""
    encoder = LocalEncoder()
    config = HeadConfig(
        task="test", kind=kind, encoder="local", width=3, states=2, frame_seconds=0.02, sizes=sizes,
        labels={"label": labels} if labels else {},
    )  # fmt: skip
    torch.manual_seed(0)
    return Classifier(encoder, Head(config).eval().requires_grad_(False))


def noise(seconds: float, seed: int = 0) -> Float32Array:
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.uniform(0.01, 0.5, round(seconds * 4)), SAMPLE_RATE // 4)
    return (rng.uniform(-1, 1, len(loudness)) * loudness).astype(np.float32)


def stored(path: Path, samples: Float32Array) -> tuple[str, Float32Array]:
    """The file, and its samples as they are read back."""
    write_wav(path, samples)
    return str(path), ((samples.clip(-1, 1) * 32767).astype("<i2") / 32768).astype(np.float32)


@pytest.mark.parametrize("seconds", [3.0, 65.0])
def test_labels_of_a_long_recording_come_from_all_its_frames(tmp_path: Path, seconds: float) -> None:
    made = classifier("mean", (4,), ("a", "b", "c"))
    source, samples = stored(tmp_path / "a.wav", noise(seconds))
    (choices,) = classified(made, source).choices.values()
    states = torch.from_numpy(whole_states(made.encoder, samples, (0, 1)))
    expected = logits_of(made.head, states).softmax(dim=0)
    assert dict(choices) == pytest.approx(dict(zip("abc", expected.tolist(), strict=True)), abs=1e-5)
    assert [probability for _, probability in choices] == sorted(dict(choices).values(), reverse=True)


def test_a_voice_is_the_mean_of_windows(tmp_path: Path) -> None:
    made = classifier("x-vector", (4, 4, 4, 4, 4, 5, 6), ())
    source, _ = stored(tmp_path / "a.wav", noise(60.0))
    voice = classified(made, source).embedding
    assert voice is not None
    assert float(voice @ voice) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match=r"b\.wav: is too short"):
        classified(made, stored(tmp_path / "b.wav", noise(0.25))[0])


def test_frame_labels_follow_each_other_over_windows(tmp_path: Path) -> None:
    made = classifier("frames", (), ("quiet", "loud"))
    with torch.no_grad():  # the loudness of layer 0 decides
        made.head.layer_weights.copy_(torch.tensor([20.0, -20.0]))
        made.head.network.classifier.weight.copy_(torch.tensor([[0, 0, 0], [0, 1.0, 0]]))
        made.head.network.classifier.bias.copy_(torch.tensor([0.2, 0.0]))
    parts = [0.5 if index % 3 == 0 else 0.01 for index in range(60)]
    rng = np.random.default_rng(0)
    samples = np.concatenate([rng.choice([-1.0, 1.0], SAMPLE_RATE) * each for each in parts]).astype(np.float32)
    spans = classified(made, stored(tmp_path / "a.wav", samples)[0]).spans
    loud = [span for span in spans if span.label == "loud"]
    assert [span.start for span in loud] == pytest.approx(range(0, 60, 3), abs=0.03)
    assert [span.end for span in loud] == pytest.approx(range(1, 61, 3), abs=0.03)


def test_a_head_of_ones_own_is_read_with_its_encoder(tmp_path: Path) -> None:
    config = HeadConfig(
        task="test", kind="mean", encoder="log-mel", width=160, states=1, frame_seconds=0.02, sizes=(4,),
        labels={"label": ("a", "b")},
    )  # fmt: skip
    save_head(Head(config), tmp_path / "head")
    made = load_classifier(str(tmp_path / "head"))
    assert made.encoder.name == "log-mel"
    assert len(classified(made, stored(tmp_path / "a.wav", noise(1.0))[0]).choices["label"]) == 2
    save_head(Head(replace(config, width=80)), tmp_path / "head")
    with pytest.raises(UsageError, match="the head is for log-mel"):
        load_classifier(str(tmp_path / "head"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFoundError, match=r"neither head\.json nor config\.json"):
        load_classifier(str(tmp_path / "empty"))


def test_windows_of_turns_overlap_and_end_with_the_recording() -> None:
    samples = noise(75.0)
    windows = list(overlapping([samples[:400_000], samples[400_000:]], 320))
    assert [begin / SAMPLE_RATE for begin, _ in windows] == [0, 20, 40, 60]
    assert [len(each) / SAMPLE_RATE for _, each in windows] == [30, 30, 30, 15]
    for begin, each in windows:
        np.testing.assert_array_equal(each, samples[begin : begin + len(each)])
    ((begin, alone),) = overlapping([samples[: 30 * SAMPLE_RATE]], 320)
    assert (begin, len(alone)) == (0, 30 * SAMPLE_RATE)


def test_turns_through_an_encoder_that_hears_little(tmp_path: Path) -> None:
    made = classifier("frame-activity", (), ("Speaker 1", "Speaker 2"))
    assert isinstance(made.encoder, LocalEncoder)
    made.encoder.longest_seconds = 6.0  # type: ignore[assignment]
    with torch.no_grad():  # Speaker 1 talks where it is loud
        made.head.layer_weights.copy_(torch.tensor([20.0, -20.0]))
        made.head.network.classifier.weight.copy_(torch.tensor([[0, 40.0, 0], [0, -40.0, 0]]))
        made.head.network.classifier.bias.copy_(torch.tensor([-10.0, 10.0]))
    rng = np.random.default_rng(0)
    parts = [0.5 if index % 4 == 0 else 0.01 for index in range(20)]
    samples = np.concatenate([rng.choice([-1.0, 1.0], SAMPLE_RATE) * each for each in parts]).astype(np.float32)
    turns = classified(made, stored(tmp_path / "a.wav", samples)[0]).spans
    assert max(made.encoder.heard) == 6 * SAMPLE_RATE
    first = [turn for turn in turns if turn.label == "Speaker 1"]
    assert [turn.start for turn in first] == pytest.approx(range(0, 20, 4), abs=0.03)


def test_speakers_keep_their_places_from_window_to_window() -> None:
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(np.repeat(rng.choice([-3.0, 3.0], (40, 2)), 50, axis=0)).float()
    found = in_one_order(truth[:1500], truth[1000:].flip(1), 1000)  # the window has them the other way round
    torch.testing.assert_close(found, truth)
    same = in_one_order(truth[:1500], truth[1000:], 1000)
    torch.testing.assert_close(same, truth)
    torch.testing.assert_close(in_one_order(truth[:0], truth, 0), truth)


def test_turns_of_a_long_recording(tmp_path: Path) -> None:
    made = classifier("frame-activity", (), ("Speaker 1", "Speaker 2"))
    with torch.no_grad():
        made.head.layer_weights.copy_(torch.tensor([20.0, -20.0]))
        made.head.network.classifier.weight.copy_(torch.tensor([[0, 40.0, 0], [0, -40.0, 0]]))
        made.head.network.classifier.bias.copy_(torch.tensor([-10.0, 10.0]))
    parts = [0.5 if index % 4 == 0 else 0.01 for index in range(70)]
    rng = np.random.default_rng(0)
    samples = np.concatenate([rng.choice([-1.0, 1.0], SAMPLE_RATE) * each for each in parts]).astype(np.float32)
    turns = classified(made, stored(tmp_path / "a.wav", samples)[0]).spans
    first = [turn for turn in turns if turn.label == "Speaker 1"]
    assert [turn.start for turn in first] == pytest.approx(range(0, 70, 4), abs=0.03)
    assert [turn.end for turn in first] == pytest.approx(range(1, 70, 4), abs=0.03)
    with pytest.raises(InputError, match="too short"):
        classified(made, stored(tmp_path / "b.wav", noise(0.25)[:100])[0])

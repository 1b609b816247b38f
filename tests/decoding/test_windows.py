from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from fakes import LoudIsSpeech
from hypothesis import example, given
from hypothesis import strategies as st

from mtasr.arrays import Float32Array
from mtasr.decoding.windows import LOUD_NOISE, Cut, Cutter, Longest, Window, cut_windows, is_noisy, longest_for
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE, Span
from mtasr.stopwatch import Stopwatch
from mtasr.vad import FRAME, speech_spans

THRESHOLD = 0.5
PER_SECOND = SAMPLE_RATE / FRAME

#: Stretches of frames: how many, the probability of each about which they lie, and how far they scatter.
STRETCHES = st.lists(
    st.tuples(st.integers(1, 1200), st.sampled_from([0.02, 0.4, 0.6, 0.97]), st.sampled_from([0.0, 0.05, 0.3])),
    max_size=12,
)


def scattered(stretches: list[tuple[int, float, float]], seed: int = 0) -> Float32Array:
    rng = np.random.default_rng(seed)
    parts = [mean + scatter * rng.uniform(-1, 1, count) for count, mean, scatter in stretches]
    return np.clip(np.concatenate([np.zeros(0), *parts]), 0, 1).astype(np.float32)


def cut(
    probabilities: Float32Array, *, skip_silence: bool = True, step: int | None = None, audio_seconds: float = 30
) -> list[Cut]:
    longest = longest_for(DecodingOptions(), audio_seconds)
    cutter = Cutter(THRESHOLD, skip_silence=skip_silence, longest=longest, audio_seconds=audio_seconds)
    cuts = []
    for start in range(0, len(probabilities), step or max(1, len(probabilities))):
        cuts += cutter.add(probabilities[start : start + (step or len(probabilities))])
    return cuts + cutter.finish()


@given(STRETCHES, st.integers(0, 9), st.sampled_from([30, 6, 3]))
# A span longer than any window, then a pause: all known at once.
@example([(3000, 0.97, 0.0), (200, 0.02, 0.0)], 0, 30)
# Doubtful frames for seconds after a cut without a pause: speech by what came before.
@example([(400, 0.97, 0.0), (700, 0.4, 0.0), (100, 0.97, 0.0)], 0, 30)
def test_windows_hold_all_speech_once_and_are_not_too_long(
    stretches: list[tuple[int, float, float]], seed: int, audio_seconds: float
) -> None:
    probabilities = scattered(stretches, seed)
    cuts = cut(probabilities, audio_seconds=audio_seconds)
    held = np.zeros(len(probabilities), int)
    end = 0
    for each in cuts:
        assert end <= each.start < each.end <= len(probabilities)
        assert each.end - each.start <= audio_seconds * PER_SECOND
        held[each.start : each.end] += 1
        end = each.end
        within = each.start
        for span in each.speech:
            assert within <= span.start < span.end <= each.end
            within = span.end
    for span in speech_spans(probabilities, THRESHOLD):
        missing = np.flatnonzero(held[span.start : span.end] == 0) + span.start
        # A single frame that a cut leaves over is no speech.
        assert len(missing) <= len([each for each in cuts if span.start < each.end < span.end])
        assert all(held[frame - 1] for frame in missing)
    assert held.max(initial=0) <= 1


@given(STRETCHES, st.integers(1, 400), st.booleans())
@example([(1, 0.97, 0.0), (870, 0.97, 0.0), (10, 0.02, 0.0), (300, 0.97, 0.0)], 7, True)
def test_what_a_call_brings_does_not_change_the_windows(
    stretches: list[tuple[int, float, float]], step: int, skip_silence: bool
) -> None:
    probabilities = scattered(stretches)
    whole = cut(probabilities, skip_silence=skip_silence)
    assert cut(probabilities, skip_silence=skip_silence, step=step) == whole


@given(STRETCHES, st.sampled_from([30, 6, 3]))
def test_without_skipping_nothing_is_left_out(stretches: list[tuple[int, float, float]], audio_seconds: float) -> None:
    probabilities = scattered(stretches)
    end = 0
    for each in cut(probabilities, skip_silence=False, audio_seconds=audio_seconds):
        assert each.start == end
        assert each.end - each.start <= audio_seconds * PER_SECOND
        end = each.end
    assert end == len(probabilities)


def frames(*stretches: tuple[float, float]) -> Float32Array:
    """Seconds and their probability."""
    return scattered([(round(seconds * PER_SECOND), probability, 0.0) for seconds, probability in stretches])


def seconds(cuts: list[Cut]) -> list[tuple[float, float]]:
    return [(each.start / PER_SECOND, each.end / PER_SECOND) for each in cuts]


def close_to(*expected: tuple[float, float]) -> list[object]:
    return [pytest.approx(span, abs=0.05) for span in expected]


def test_a_long_pause_ends_a_window_with_half_a_second_beside_the_speech() -> None:
    found = cut(frames((3, 0.0), (2, 1.0), (4, 0.0), (3, 1.0), (5, 0.0)))
    assert seconds(found) == close_to((2.5, 5.5), (8.5, 12.5))


def test_a_short_pause_is_shared_between_the_windows() -> None:
    found = cut(frames((12, 1.0), (0.6, 0.0), (12, 1.0)))
    assert seconds(found) == close_to((0, 12.3), (12.3, 24.6))


def test_the_longer_pause_is_preferred() -> None:
    found = cut(frames((9, 1.0), (1.0, 0.0), (6, 1.0), (0.15, 0.0), (12, 1.0)))
    assert len(found) == 2
    assert found[0].end == pytest.approx(9.5 * PER_SECOND, abs=2)


def test_speech_without_a_pause_is_cut_where_it_is_least_like_speech() -> None:
    probabilities = frames((70, 1.0))
    weakest = round(20 * PER_SECOND)
    probabilities[weakest] = 0.6
    assert cut(probabilities)[0].end == weakest


@pytest.mark.parametrize("probability", [0.0, 1.0])
@pytest.mark.parametrize("skip_silence", [True, False])
def test_hours_need_no_more_memory_than_a_minute(probability: float, skip_silence: bool) -> None:
    cutter = Cutter(THRESHOLD, skip_silence=skip_silence)
    block = frames((10, probability))
    most = total = 0
    for _ in range(360):
        cuts = cutter.add(block)
        total += len(cuts)
        most = max(most, len(cutter._open))
    assert most <= 30 * PER_SECOND
    assert (total > 0) == (probability > 0 or not skip_silence)


def cut_blocks(blocks: Iterable[Float32Array], **options: object) -> Iterator[Window]:
    """The windows of a recording in which every sound is speech."""
    given = {"detector": LoudIsSpeech(), "threshold": THRESHOLD, "stopwatch": Stopwatch(), **options}
    return cut_windows(blocks, **given)  # type: ignore[arg-type]


def windows(samples: Float32Array, step: int, *, skip_silence: bool = True) -> list[Window]:
    blocks = (samples[start : start + step] for start in range(0, len(samples), step))
    return list(cut_blocks(blocks, skip_silence=skip_silence))


def noise(length: float) -> Float32Array:
    return np.random.default_rng(0).normal(0, 0.1, round(length * SAMPLE_RATE)).astype(np.float32)


@pytest.mark.parametrize("step", [1000, 16_000, 10**7])
@pytest.mark.parametrize("skip_silence", [True, False])
def test_windows_are_parts_of_the_recording(step: int, skip_silence: bool) -> None:
    pause = np.zeros(2 * SAMPLE_RATE, np.float32)
    samples = np.concatenate([pause, noise(3), pause, pause, noise(45), pause, noise(2.3)])
    found = windows(samples, step, skip_silence=skip_silence)
    for window in found:
        assert np.array_equal(window.samples, samples[window.start : window.start + len(window.samples)])
        assert window.offset == window.start / SAMPLE_RATE
        assert 0.1 <= window.seconds <= 30
        for span in window.speech:
            assert np.abs(samples[span.start : span.end]).mean() > 0.01
    held = np.zeros(len(samples), bool)
    for window in found:
        held[window.start : window.start + len(window.samples)] = True
    assert held[np.abs(samples) > 0].all()
    assert held.all() != skip_silence
    expected = [(window.start, len(window.samples)) for window in windows(samples, 512, skip_silence=skip_silence)]
    assert [(window.start, len(window.samples)) for window in found] == expected


@pytest.mark.parametrize("skip_silence", [True, False])
def test_short_and_empty_files(skip_silence: bool) -> None:
    assert windows(noise(0), 1000, skip_silence=skip_silence) == []
    assert windows(noise(0.09), 1000, skip_silence=skip_silence) == []
    (window,) = windows(noise(0.2), 1000, skip_silence=skip_silence)
    assert np.array_equal(window.samples, noise(0.2))


@pytest.mark.parametrize("loud", [True, False])
def test_samples_are_let_go(loud: bool) -> None:
    """A window of a stream is known before some 45 s more have been read."""
    read = 0

    def blocks() -> Iterator[Float32Array]:
        nonlocal read
        block = noise(1) if loud else np.zeros(SAMPLE_RATE, np.float32)
        for _ in range(600):
            read += len(block)
            yield block

    for window in cut_blocks(blocks(), skip_silence=loud):
        assert read - window.start <= 30 * SAMPLE_RATE
    assert read == 600 * SAMPLE_RATE


def test_voice_activity_has_a_time_of_its_own() -> None:
    stopwatch = Stopwatch()
    list(cut_blocks([noise(1)], stopwatch=stopwatch))
    assert list(stopwatch.seconds) == ["voice activity"]


@pytest.mark.parametrize(("pause", "count"), [(1.9, 1), (2.05, 2), (3.9, 2)])
def test_two_seconds_of_silence_always_end_a_window(pause: float, count: int) -> None:
    assert len(cut(frames((2, 1.0), (pause, 0.0), (2, 1.0)))) == count


def test_of_pauses_alike_a_full_window_has_the_last() -> None:
    found = cut(frames((4, 1.0), (0.5, 0.0), (4, 1.0), (0.5, 0.0), (4, 1.0), (0.5, 0.0), (9, 1.0)))
    assert seconds(found)[0] == pytest.approx((0, 13.25), abs=0.05)


@pytest.mark.parametrize(("early", "end"), [(0.4, 12.15), (0.8, 3.4)])
def test_a_longer_pause_counts_for_so_much_length(early: float, end: float) -> None:
    """9 s of 14 are worth 0.32 s of a pause."""
    found = cut(frames((3, 1.0), (early, 0.0), (9 - early, 1.0), (0.3, 0.0), (12, 1.0)))
    assert found[0].end / PER_SECOND == pytest.approx(end, abs=0.05)


def test_pauses_of_a_second_and_more_are_as_good_as_each_other() -> None:
    found = cut(frames((5, 1.0), (1.9, 0.0), (7, 1.0), (1.1, 0.0), (12, 1.0)))
    assert found[0].end / PER_SECOND == pytest.approx(14.4, abs=0.05)


def test_speech_without_a_pause_is_cut_between_half_and_all_of_what_the_encoder_takes() -> None:
    early, late = frames((70, 1.0)), frames((70, 1.0))
    early[round(13.9 * PER_SECOND)] = late[round(28.1 * PER_SECOND)] = 0.6
    for probabilities in (early, late):
        assert cut(probabilities)[0].end == round(14 * PER_SECOND), "the first of those that are all alike"
    inside = frames((70, 1.0))
    inside[round(14.1 * PER_SECOND)] = 0.7
    inside[round(27.9 * PER_SECOND)] = 0.6
    assert cut(inside)[0].end == round(27.9 * PER_SECOND)


@pytest.mark.parametrize(
    ("options", "audio_seconds", "clear", "noisy"),
    [
        (DecodingOptions(), 30, 20.0, 26.0),
        (DecodingOptions(multilingual=True), 30, 7.0, 7.0),
        (DecodingOptions(task="translate"), 30, 26.0, 26.0),
        (DecodingOptions(task="translate"), 20, 18.0, 18.0),
        (DecodingOptions(), 6, 4.0, 4.0),
    ],
)
def test_the_longest_window(options: DecodingOptions, audio_seconds: float, clear: float, noisy: float) -> None:
    assert longest_for(options, audio_seconds) == Longest(clear, noisy)


def talk_in_noise(decibels: float, *stretches: float) -> Float32Array:
    """Sound and pauses in turns, of so many seconds each, with noise so much softer than the sound throughout."""
    rng = np.random.default_rng(0)
    parts = [
        rng.normal(0, 0.0 if place % 2 else 0.1, round(length * SAMPLE_RATE)) for place, length in enumerate(stretches)
    ]
    talk = np.concatenate(parts)
    return (talk + rng.normal(0, 0.1 * 10 ** (-decibels / 20), len(talk))).astype(np.float32)


@pytest.mark.parametrize("within", [LOUD_NOISE, 26])
def test_noise_is_what_fills_the_pauses(within: float) -> None:
    for decibels in (0, 10, 15, 24, 28, 60):
        assert is_noisy(talk_in_noise(decibels, 3, 1, 4, 1), within) == (decibels < within)


def test_one_short_pause_tells_that_there_is_no_noise() -> None:
    assert not is_noisy(talk_in_noise(60, 6, 0.5, 6), 26)
    assert is_noisy(talk_in_noise(20, 6, 0.5, 6), 26)


def test_silence_is_not_noisy() -> None:
    for silence in (0, 100, SAMPLE_RATE):
        assert not is_noisy(np.zeros(silence, np.float32), 26)


@pytest.mark.parametrize("step", [1000, 16_000, 10**7])
def test_windows_are_longer_in_noise(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoudIsSpeech, "level", 0.05)
    sentences = (3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 2.5)
    longest = longest_for(DecodingOptions(), 30)

    def ends(decibels: float) -> list[int]:
        samples = talk_in_noise(decibels, *sentences, *sentences)
        blocks = (samples[start : start + step] for start in range(0, len(samples), step))
        found = cut_blocks(blocks, longest=longest)
        return [round((window.start + len(window.samples)) / SAMPLE_RATE) for window in found]

    assert ends(60) == [19, 28, 49, 57]
    assert ends(12) == ends(24) == [23, 28, 53, 57]


def window(length: int, *speech: tuple[int, int], start: int = 1000) -> Window:
    samples = np.arange(length, dtype=np.float32)
    return Window(start, samples, tuple(Span(start + begin, start + end) for begin, end in speech))


def test_a_window_tells_where_it_is_and_how_much_is_spoken() -> None:
    found = window(16_000, (0, 4000), (8000, 12_000), start=32_000)
    assert (found.seconds, found.offset, found.speech_seconds) == (1.0, 2.0, 0.5)


def test_parts_of_a_window_hold_it_all_and_only_speech_of_some_length() -> None:
    whole = window(100, (10, 40), (50, 60), (60, 90))
    for place, before, after in (
        (1030, [(1010, 1030)], [(1030, 1040), (1050, 1060), (1060, 1090)]),
        (1040, [(1010, 1040)], [(1050, 1060), (1060, 1090)]),
        (1050, [(1010, 1040)], [(1050, 1060), (1060, 1090)]),
        (1060, [(1010, 1040), (1050, 1060)], [(1060, 1090)]),
    ):
        first, second = whole.split(place)
        assert (first.start, second.start) == (1000, place)
        assert np.array_equal(np.concatenate([first.samples, second.samples]), whole.samples)
        assert len(first.samples) == place - 1000
        assert [tuple(span) for span in first.speech] == before
        assert [tuple(span) for span in second.speech] == after


def test_halves_have_half_a_second_of_speech_each() -> None:
    for spoken, parts in ((8000, 2), (7999, 0)):
        halves = window(40_000, (0, 20_000), (21_000, 21_000 + spoken)).halves()
        assert (halves is not None) == bool(parts)
        if halves is not None:
            assert halves[1].start == 1000 + 20_500


def test_halves_meet_in_the_middle_of_the_most_quiet_of_frames() -> None:
    loudness = np.full(80 * FRAME, 0.5, np.float32)
    for quiet in (20, 24, 40, 59):
        samples = loudness.copy()
        samples[(quiet - 1) * FRAME : (quiet + 2) * FRAME] = 0.1
        halves = Window(1000, samples, (Span(1000, 1000 + len(samples)),)).halves()
        assert halves is not None
        assert halves[1].start == 1000 + quiet * FRAME + FRAME // 2
    outside = loudness.copy()
    outside[: 16 * FRAME] = outside[64 * FRAME :] = 0.0
    halves = Window(0, outside, (Span(0, len(outside)),)).halves()
    assert halves is not None
    assert halves[1].start == 20 * FRAME + FRAME // 2, "the first in the middle half"
    assert Window(0, outside[: FRAME - 1], (Span(0, FRAME - 1),)).halves() is None

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_encoder import LocalEncoder
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.arrays import Float32Array
from mtasr.encoders import load_encoder
from mtasr.encoders.extract import StateBlock, default_layer, extract
from mtasr.errors import InputError, UsageError
from mtasr.probing import search
from mtasr.probing.search import THRESHOLD, Search, SpokenExample, read_example

ENCODER = LocalEncoder()
STEP = ENCODER.frame_seconds


def frames(count: int, seed: int) -> Float32Array:
    return np.random.default_rng(seed).normal(size=(count, 24)).astype(np.float32)


SAID = frames(20, 1)
EXAMPLE = SpokenExample(source="example.wav", start=1.0, end=1.4, states=SAID)


def blocks(states: Float32Array, *sizes: int) -> Iterator[StateBlock]:
    """The states in blocks of these sizes and one with the rest."""
    first = 0
    for size in (*sizes, len(states)):
        part = states[first : first + size]
        times = ENCODER.offset_seconds + STEP * (first + np.arange(len(part)))
        yield StateBlock(first=first, states=part[None], times=times, speech=np.ones(len(part), np.bool_))
        first += len(part)


RECORDING = np.concatenate([frames(70, 2), SAID, frames(50, 3), SAID[::2], frames(60, 4)])


def test_places_are_found_and_ranked() -> None:
    looked = Search(ENCODER, 0, EXAMPLE)
    looked.hear("a.wav", blocks(RECORDING))
    looked.hear("b.wav", blocks(frames(100, 5)))
    best, second = looked.places(0.3, 10)
    assert (best.source, second.source) == ("a.wav", "a.wav")
    assert best.start == pytest.approx(70 * STEP, abs=STEP)
    assert best.end == pytest.approx(90 * STEP, abs=STEP)
    assert best.score == pytest.approx(1, abs=1e-3)
    assert second.start == pytest.approx(140 * STEP, abs=2 * STEP)  # said twice as fast
    assert 0.3 < second.score < best.score
    assert looked.places(0.3, 1) == [best]


@pytest.mark.parametrize("sizes", [(1,), (80,), (75, 3, 2, 1, 60)])
@pytest.mark.parametrize("held", [1, 40, 100_000])
def test_blocks_do_not_matter(sizes: tuple[int, ...], held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Search(ENCODER, 0, EXAMPLE)
    whole.hear("a.wav", blocks(RECORDING))
    expected = whole.places(0.3, 10)
    monkeypatch.setattr(search, "_HELD", held)
    cut = Search(ENCODER, 0, EXAMPLE)
    cut.hear("before.wav", blocks(RECORDING[: max(held, 30)]))  # what is standardised with, if little is held
    cut.hear("a.wav", blocks(RECORDING, *sizes))
    found = [place for place in cut.places(0.3, 10) if place.source == "a.wav"]
    assert [place.start for place in found[:2]] == [place.start for place in expected]


def test_if_nothing_is_good_enough_the_nearest_is_told() -> None:
    looked = Search(ENCODER, 0, EXAMPLE)
    assert looked.places(0.3, 10) == []
    looked.hear("b.wav", blocks(frames(100, 5)))
    (nearest,) = looked.places(0.9, 10)
    assert nearest.score < 0.9


def test_places_do_not_overlap_each_other_nor_the_example() -> None:
    looked = Search(ENCODER, 0, SpokenExample(source="a.wav", start=70 * STEP, end=90 * STEP, states=SAID))
    looked.hear("a.wav", blocks(RECORDING))
    places = looked.places(-1, 100)
    assert len(places) > 3
    assert all(place.end <= 70 * STEP + 0.01 or place.start >= 90 * STEP - 0.01 for place in places)
    ordered = sorted(places, key=lambda place: place.start)
    assert all(one.end <= other.start + 1e-9 for one, other in itertools.pairwise(ordered))


def test_a_recording_that_breaks_off_is_forgotten() -> None:
    def breaking() -> Iterator[StateBlock]:
        yield from blocks(RECORDING)
        raise InputError("broken")

    looked = Search(ENCODER, 0, EXAMPLE)
    with pytest.raises(InputError, match="broken"):
        looked.hear("a.wav", breaking())
    assert looked.places(0.3, 10) == []
    looked.hear("b.wav", blocks(RECORDING))
    assert {place.source for place in looked.places(0.3, 10)} == {"b.wav"}


def test_an_example_is_the_speech_in_its_recording(tmp_path: Path) -> None:
    word = speak("library", "en-us")
    write_wav(tmp_path / "word.wav", np.pad(word, SAMPLE_RATE))
    encoder = load_encoder("log-mel")
    found = read_example(encoder, 0, str(tmp_path / "word.wav"))
    assert 0.9 < found.start < 1.2
    assert found.end < 1.1 + len(word) / SAMPLE_RATE
    assert len(found.states) == pytest.approx((found.end - found.start) / encoder.frame_seconds)
    part = read_example(encoder, 0, str(tmp_path / "word.wav"), start=1.2, end=1.5)
    assert (part.start, part.end) == (pytest.approx(1.2, abs=0.02), pytest.approx(1.5, abs=0.02))
    assert read_example(encoder, 0, str(tmp_path / "word.wav"), start=1.2).end > 1.5


def test_speech_is_looked_for_in_the_whole_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    word, encoder = speak("library", "en-us"), load_encoder("log-mel")
    source = str(tmp_path / "late.wav")
    write_wav(source, np.pad(word, (14 * SAMPLE_RATE, SAMPLE_RATE)))
    found = read_example(encoder, 0, source)
    assert 13.9 < found.start < 14.2
    assert found.end < 14.1 + len(word) / SAMPLE_RATE
    monkeypatch.setattr(search, "_SEARCHED", 10.0)
    with pytest.raises(UsageError, match=r"late\.wav: is too long for an example"):
        read_example(encoder, 0, source)


def test_speech_far_apart_is_no_example(tmp_path: Path) -> None:
    word = speak("library", "en-us")
    write_wav(tmp_path / "twice.wav", np.concatenate([word, np.zeros(14 * SAMPLE_RATE, np.float32), word]))
    with pytest.raises(UsageError, match=r"twice\.wav: is too long for an example"):
        read_example(load_encoder("log-mel"), 0, str(tmp_path / "twice.wav"))


def test_an_example_of_one_track_may_be_found_at_its_place_in_another() -> None:
    looked = Search(
        ENCODER, 0, SpokenExample(source="a.mkv", start=70 * STEP, end=90 * STEP, states=SAID, audio_stream=1)
    )
    looked.hear("a.mkv", blocks(RECORDING))
    (best,) = looked.places(0.9, 10)
    assert best.start == pytest.approx(70 * STEP, abs=STEP)
    same = Search(
        ENCODER, 0, SpokenExample(source="a.mkv", start=70 * STEP, end=90 * STEP, states=SAID, audio_stream=1)
    )
    same.hear("a.mkv", blocks(RECORDING), audio_stream=1)
    assert all(place.score < 0.9 for place in same.places(0.9, 10))


@pytest.mark.weights
@pytest.mark.slow
def test_a_word_is_found_in_another_voice_and_one_that_is_never_said_is_not(tmp_path: Path) -> None:
    encoder = load_encoder("base")
    layer = default_layer(encoder, words=True)
    sentences = [
        "We saw a kangaroo beside the road.", "Please show your passport at the desk.",
        "The orchestra played until midnight.", "My uncle repairs bicycles and clocks.",
    ]  # fmt: skip
    gap = np.random.default_rng(0).normal(0, 0.001, SAMPLE_RATE // 2).astype(np.float32)
    for voice in ("en-us", "en-us+m3"):
        write_wav(
            tmp_path / f"{voice}.wav",
            np.concatenate([part for text in sentences for part in (gap, speak(text, voice))]),
        )

    names = ("en-us.wav", "en-us+m3.wav")
    heard = {name: list(extract(encoder, str(tmp_path / name), (layer,))) for name in names}

    def found(word: str, voice: str) -> list[tuple[str, float]]:
        write_wav(tmp_path / "word.wav", np.concatenate([gap, speak(word, voice), gap]))
        looked = Search(encoder, layer, read_example(encoder, layer, str(tmp_path / "word.wav")))
        for name, states in heard.items():
            looked.hear(name, states)
        return [(place.source, place.start) for place in looked.places(THRESHOLD, 10) if place.score >= THRESHOLD]

    starts = np.cumsum([0, *((len(gap) + len(speak(text, "en-us"))) / SAMPLE_RATE for text in sentences)])
    places = found("orchestra", "en-us+m6")
    assert {name for name, _ in places} == {"en-us.wav", "en-us+m3.wav"}
    assert all(starts[2] < start < starts[3] for name, start in places if name == "en-us.wav")
    assert found("helicopter", "en-us+m6") == []
    assert found("dinosaur", "en-us+m6") == []

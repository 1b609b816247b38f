"""Recordings that other machines decode, in parts or as a whole: the same results to the last digit."""

from __future__ import annotations

import itertools
import subprocess
import threading
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elsewhere import HERE, OTHERS, TALK, AsAWhole, Breaking, InParts, another, by_twos, said
from fakes import Heard
from hypothesis import given, settings
from hypothesis import strategies as st
from loudness_diarizer import dialogue
from speech import speak, write_wav

import mtasr
from mtasr.audio.ffmpeg import find_ffmpeg
from mtasr.audio.tracks import Tracks
from mtasr.batch import BatchRun, gather, plan
from mtasr.batch.recogniser import Recogniser
from mtasr.decoding.submission import DecodedWindow, ResumeNotes
from mtasr.decoding.survey import Survey, is_divisible
from mtasr.decoding.transcription import Transcriptions
from mtasr.decoding.windows import WindowOutline
from mtasr.engines.engine import LanguageGuess
from mtasr.errors import AudioDecodeError, InputError, UsageError
from mtasr.options import DecodingOptions
from mtasr.recordings.elsewhere import Elsewhere, received
from mtasr.resolved_options import resolve_options
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcript import Segment, Transcript

pytestmark = pytest.mark.timeout(60)

#: Segments; positions, with other numbers that are known at the end; the transcript or the error; warnings.
Ending = tuple[list[Segment], list[float], Transcript | str, tuple[str, ...]]


def ending(transcription: mtasr.Transcription) -> Ending:
    """All that a caller sees of a transcription."""
    segments: list[Segment] = []
    positions: list[float] = []
    transcription.on_progress = lambda seconds, total: positions.append(seconds)
    whole: Transcript | str
    with transcription:
        try:
            segments.extend(transcription)
            whole = transcription.transcript()
        except Exception as error:
            whole = f"{type(error).__name__}: {error}"
        else:
            assert whole.language == transcription.language
            assert whole.language_probability == transcription.language_probability
            positions += [guess.probability for guess in transcription.guesses]
            positions.append(transcription.total or 0.0)
        return segments, positions, whole, transcription.warnings


def here(source: Any, how: dict[str, Any]) -> Ending:
    with HERE.stream_all([source], **how) as streams:
        return ending(streams[0])


def there(elsewhere: Elsewhere, how: dict[str, Any]) -> Ending:
    changes = {key: value for key, value in how.items() if key != "most_seconds"}
    resolved = resolve_options(HERE.engine.tokenizer, None, diarize=changes.pop("diarize", False), changes=changes)
    return ending(received(elsewhere, resolved.tracks, resolved.options))


def in_parts(source: Any, how: dict[str, Any]) -> Ending:
    return there(InParts(source, another, by_twos, how), how)


def as_a_whole(source: Any, how: dict[str, Any]) -> Ending:
    (decoded,) = another().decode_all([source], **how)
    return there(AsAWhole(decoded), how)


WAYS = [in_parts, as_a_whole]
Way = Callable[[Any, dict[str, Any]], Ending]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"multilingual": True, "clip_timestamps": (4.0, 21.5, 25.0)},
        {"clip_timestamps": (1000.0,)},
        {"word_timestamps": True, "n_best": 2},
        {"also_translate": True, "language": "fr"},
        {"prefix": "the water", "initial_prompt": "people", "languages": ("fr", "de")},
        {"vad_filter": False, "without_timestamps": True},
        {"seed": 7, "temperature": (0.0, 0.4)},
        {"temperature": (0.5,)},
        {"diarize": True, "num_speakers": 3},
        {"diarize": True, "also_translate": True, "n_best": 2},
        {"most_seconds": 20.0},
    ],
    ids=str,
)
def test_the_results_are_those_of_one_machine(way: Way, how: dict[str, Any]) -> None:
    assert way(TALK, how) == here(TALK, how)


def test_what_is_drawn_at_random_is_part_of_that() -> None:
    elsewhere = InParts(TALK, another, by_twos)
    _, _, found, _ = there(elsewhere, {})
    assert isinstance(found, Transcript)
    assert 2 <= len(elsewhere.drawn) < 7
    assert found.text.count("drawn") >= 2
    assert here(TALK, {"seed": 1})[2].text != found.text  # type: ignore[union-attr]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("multilingual", [False, True])
def test_an_unclear_language(way: Way, multilingual: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three windows are needed, at two lengths, and texts in the most probable languages."""

    def detected(heard: Heard) -> list[LanguageGuess]:
        share = 0.3 + heard.number % 100 / 250
        guesses = [LanguageGuess("en", share), LanguageGuess("fr", 0.8 - share), LanguageGuess("de", 0.2)]
        return sorted(guesses, key=lambda guess: -guess.probability)

    for model in (HERE, *OTHERS):
        monkeypatch.setattr(model.engine, "detect_language", detected)
    how = {"multilingual": multilingual}
    with HERE.stream(TALK) as stream:
        assert stream.language_probability < 0.9
    assert way(TALK, how) == here(TALK, how)


@settings(max_examples=10)
@given(
    st.lists(st.floats(0.3, 14), min_size=0, max_size=5),
    st.lists(st.integers(0, 6), max_size=3),
    st.sampled_from([None, "fr"]),
)
def test_parts_may_be_cut_anywhere(seconds: list[float], places: list[int], language: str | None) -> None:
    def parts(outlines: Sequence[WindowOutline]) -> list[Sequence[WindowOutline]]:
        edges = [0, *sorted(min(place, len(outlines)) for place in places), len(outlines)]
        return [outlines[start:end] for start, end in itertools.pairwise(edges)]

    talk, how = said(*seconds, seed=len(seconds)), {"language": language}
    assert there(InParts(talk, another, parts, how), how) == here(talk, how)


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """A file with two speakers, one on each channel; the second is silent for long."""
    path = tmp_path / "call.wav"
    first, second = said(3, 2, 5, seed=1), said(4, 1, seed=2)
    second = np.pad(second, (len(first) - len(second), 0))
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, SAMPLE_RATE, len(first), "NONE", ""))
        file.writeframes((np.stack([first, second], axis=1) * 32767).astype("<i2").tobytes())
    return path


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "how",
    [
        {"channels": "split"},
        {"channels": "split", "speakers": ("Anna", "Ben", "Cleo"), "multilingual": True},
        {"channels": "split", "language": "en", "n_best": 2},
        {"channels": "mix"},
    ],
    ids=str,
)
def test_channels(call: Path, way: Way, how: dict[str, Any]) -> None:
    assert way(call, how) == here(call, how)
    assert (len(here(call, how)[3]) == 1) is ("speakers" in how)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", [{}, {"diarize": True, "language": "en"}], ids=str)
@pytest.mark.parametrize("seconds", [0.0, 3.5, 12.0])
def test_recordings_that_break_off(way: Way, how: dict[str, Any], seconds: float) -> None:
    broken = Breaking(TALK, seconds, AudioDecodeError("a.mp3: broken", ("line 1", "line 2")))
    segments, positions, whole, warnings = here(broken, how)
    assert whole == "AudioDecodeError: a.mp3: broken"
    assert (len(segments) > 0) is (seconds > 3)
    assert way(broken, how) == (segments, positions, whole, warnings)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", [{}, {"diarize": True}, {"channels": "split"}], ids=str)
def test_recordings_that_cannot_be_opened(way: Way, how: dict[str, Any]) -> None:
    assert way("no such file.wav", how) == here("no such file.wav", how)


@pytest.mark.parametrize("how", [{}, {"language": "en"}, {"diarize": True}], ids=str)
def test_text_before_needs_the_whole(how: dict[str, Any]) -> None:
    how |= {"condition_on_previous_text": True}
    assert as_a_whole(TALK, how) == here(TALK, how)
    with pytest.raises(UsageError, match="only whole recordings"):
        HERE.survey(TALK, **how)
    with pytest.raises(UsageError, match="only whole recordings"):
        HERE.decode_windows(TALK, [], language="en", condition_on_previous_text=True)
    assert not is_divisible(DecodingOptions(condition_on_previous_text=True))
    assert not is_divisible(DecodingOptions(temperature=(0.5,)))
    assert is_divisible(DecodingOptions())


def test_an_engine_that_fails_half_way(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = np.concatenate([said(3, 2), 8 * said(2), said(1)])
    with monkeypatch.context() as patch:
        heard: list[float] = []
        patch.setattr(HERE.engine, "fails", lambda each: heard.append(each.loudest))
        HERE.transcribe(talk)
    for model in (HERE, *OTHERS):
        monkeypatch.setattr(model.engine, "fails", lambda each: each.loudest == max(heard))
    segments, _, whole, _ = here(talk, {})
    assert (len(segments), whole) == (2, "RuntimeError: the engine stopped")
    assert as_a_whole(talk, {}) == here(talk, {})
    assert in_parts(talk, {})[2] == whole


def test_several_recordings_at_once() -> None:
    sources = [TALK, "no such file.wav", said(1), Breaking(TALK, 9.0, InputError("broken"))]
    decoded = list(another().decode_all(sources))
    assert [ending(received(AsAWhole(each), Tracks(), DecodingOptions())) for each in decoded] == [
        here(each, {}) for each in sources
    ]


class Late:
    """What another machine has not decoded yet. An `Elsewhere`."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def survey(self) -> Survey:
        assert self.closed.wait(30)
        raise ValueError("the recording was closed before its end")

    def results(self, channel: int) -> Iterator[DecodedWindow]:
        raise AssertionError

    def came(self) -> float:
        return 0.0

    def close(self) -> None:
        self.closed.set()


def test_nobody_waits_for_what_is_not_asked() -> None:
    transcription = received(Late(), Tracks(), DecodingOptions(clip_timestamps=(3.0,)))
    assert transcription.total is None
    transcription.priority = 3
    assert transcription.priority == 3
    thread = threading.Timer(0.05, transcription.close)
    thread.start()
    with pytest.raises(ValueError, match="closed before its end"):
        next(transcription)
    thread.join()


class Cluster:
    """Other machines in place of a `Model`: a `Recogniser`."""

    def fingerprint(self) -> str:
        return "several"

    def enrolled(self, speakers: SpeakerOptions) -> SpeakerOptions:
        return HERE.enrolled(speakers)

    def stream_all(
        self,
        sources: Sequence[str],
        options: DecodingOptions | None = None,
        *,
        tracks: Tracks | None = None,
        notes: Sequence[Callable[[int], ResumeNotes]] = (),
        priority: int = 0,
        most_seconds: float | None = None,
        diarize: bool | SpeakerOptions = False,
    ) -> Transcriptions:
        how = {"options": options, "tracks": tracks, "diarize": diarize}
        elsewhere: list[Elsewhere] = []
        for place, source in enumerate(sources):
            if place % 2:
                elsewhere.append(InParts(source, another, by_twos, how))
            else:
                (decoded,) = another().decode_all([source], **how)
                elsewhere.append(AsAWhole(decoded))
        return Transcriptions(received(each, tracks or Tracks(), options or DecodingOptions()) for each in elsewhere)


@pytest.mark.parametrize("diarize", [False, True])
def test_a_batch_writes_the_same_bytes(tmp_path: Path, diarize: bool) -> None:
    sources = [tmp_path / name for name in ("a.wav", "b.wav", "c.wav")]
    for source, sound in zip(sources, [TALK, dialogue(), said(2)], strict=True):
        write_wav(source, sound)
    sources[2].write_bytes(sources[2].read_bytes()[:100])

    def written(recogniser: Recogniser, folder: str) -> tuple[list[str], dict[str, bytes]]:
        jobs = plan(gather(list(map(str, sources))), tmp_path / folder, ["json", "srt", "txt"])
        endings = BatchRun(jobs, recogniser, DecodingOptions(word_timestamps=True), diarize=diarize).run()
        told = [f"{each.result} {each.reason} {each.seconds}" for each in endings]
        return told, {each.name: each.read_bytes() for each in sorted((tmp_path / folder).glob("?.*"))}

    expected = written(HERE, "here")
    assert len(expected[1]) >= 6
    assert written(Cluster(), "there") == expected


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_parts_of_a_lossy_file_with_a_real_model(tmp_path: Path) -> None:
    """Where seeking is not exact, and some windows are drawn at random."""
    sentence = "The committee will meet again on Thursday morning."
    murmur = np.resize(speak("Nobody knows what they say in the end.", "es"), 2 * SAMPLE_RATE)[::-1]
    pause = np.zeros(round(2.5 * SAMPLE_RATE), np.float32)
    talk = np.concatenate([speak(sentence), pause, murmur, pause, murmur / 2])
    path = tmp_path / "talk.mp3"
    command = [find_ffmpeg(), "-loglevel", "error", "-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "-", path]
    subprocess.run(command, input=talk.astype("<f4").tobytes(), check=True)
    model = mtasr.load_model("base", device="cpu", threads=2)
    # A threshold that nothing mumbled passes.
    how: dict[str, Any] = {"word_timestamps": True, "temperature": (0.0, 0.8), "logprob_threshold": -0.7}
    how |= {"beam_size": 1, "best_of": 1}
    elsewhere = InParts(path, lambda: model, by_twos, how)
    with received(elsewhere, Tracks(), DecodingOptions(**how)) as transcription:
        found = transcription.transcript()
    assert len(elsewhere.drawn) == 2
    assert found == model.transcribe(path, **how)
    assert found.text.startswith(sentence)

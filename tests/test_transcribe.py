"""From a file to a transcript, through the real engine with random weights, and through the fake one."""

from __future__ import annotations

import gc
import io
import itertools
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEngine, HearingEngine, LoudIsSpeech

import mtasr
import mtasr.decoding.windows
from mtasr.audio.ffmpeg import find_ffmpeg
from mtasr.audio.tracks import Tracks
from mtasr.engines.engine import EngineLimits
from mtasr.errors import AudioDecodeError, InputError, InputNotFoundError, UsageError
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import Model
from mtasr.transcript import Repair

EXAMPLE = Path(__file__).parent.parent / "examples" / "interview.flac"


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


@pytest.mark.parametrize("kind", ["multilingual", "english", "large-v3"])
def test_every_published_layout_runs_the_whole_path(kind: str, tiny_models: dict[str, Path]) -> None:
    model = mtasr.load_model(tiny_models[kind], device="cpu", threads=1)
    assert model.engine.limits.n_mels == (128 if kind == "large-v3" else 80)
    transcript = model.transcribe(EXAMPLE, temperature=(0.0,), beam_size=2, no_speech_threshold=None)
    assert transcript.language in model.engine.tokenizer.language_tokens
    assert transcript.duration == pytest.approx(11.36, abs=0.1)
    assert transcript.segments
    end = 0.0
    for segment in transcript:
        assert end <= segment.start < segment.end <= transcript.duration
        end = segment.end


def test_the_language_may_be_a_name(tiny_models: dict[str, Path]) -> None:
    model = mtasr.load_model(tiny_models["large-v3"])
    transcript = model.transcribe(noise(2), language="Cantonese", temperature=(0.0,))
    assert (transcript.language, transcript.language_probability) == ("yue", 1.0)


def test_an_english_only_model_says_so(tiny_models: dict[str, Path]) -> None:
    model = mtasr.load_model(tiny_models["english"])
    with pytest.raises(UsageError, match="English-only"):
        model.transcribe(noise(1), language="fr")
    with pytest.raises(UsageError, match="English-only"):
        model.transcribe(noise(1), task="translate")
    with pytest.raises(UsageError, match="English-only"):
        model.detect_language(noise(1))


def test_segments_come_as_they_are_known() -> None:
    engine = FakeEngine()
    engine.script = [
        engine.says("<|0.00|> the<|30.00|>"),
        engine.says("<|0.00|> day<|10.00|>"),
    ]
    with Model(engine).stream(noise(40), condition_on_previous_text=True) as transcription:
        assert (transcription.language, transcription.language_probability) == ("fr", 0.75)
        assert transcription.total == 40.0
        segments = iter(transcription)
        assert next(segments).text == " the"
        assert transcription.position == 30.0
        assert len(engine.calls) == 1
        transcript = transcription.transcript()
    assert transcript.text == "the day"
    assert [segment.text for segment in transcript] == [" the", " day"]
    assert transcript.duration == 40.0
    assert transcription.position == 40.0


def test_breaking_off_and_going_on_loses_nothing() -> None:
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> the<|5.00|><|6.00|> day<|30.00|>"), engine.says("<|0.00|> you<|10.00|>")]
    with Model(engine).stream(noise(40), condition_on_previous_text=True) as transcription:
        assert next(transcription).text == " the"
        assert [segment.text for segment in transcription] == [" day", " you"]
    assert transcription.transcript().text == "the day you"


def test_a_transcript_of_half_a_recording_is_refused() -> None:
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> the<|30.00|>"), engine.says("<|0.00|> you<|10.00|>")]
    with Model(engine).stream(noise(40), condition_on_previous_text=True) as transcription:
        next(transcription)
    with pytest.raises(ValueError, match="closed before its end"):
        transcription.transcript()


@pytest.mark.parametrize("source", [None, b"RIFF", 3])
def test_other_sources_are_refused(source: object) -> None:
    with pytest.raises(InputError, match="a recording must be a path"):
        Model(FakeEngine()).transcribe(source)  # type: ignore[arg-type]


def test_no_audio_is_an_empty_transcript() -> None:
    transcript = Model(FakeEngine()).transcribe(noise(0))
    assert transcript.segments == ()
    assert (transcript.text, transcript.duration, transcript.language_probability) == ("", 0.0, 0.0)


def test_samples_that_are_no_numbers_are_silence(tiny_models: dict[str, Path]) -> None:
    model = mtasr.load_model(tiny_models["multilingual"])
    samples = noise(1)
    samples[::7] = np.nan
    samples[::11] = np.inf
    assert np.isfinite(model.transcribe(samples, temperature=(0.0,)).language_probability)


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (0.1, "float"),
        ("a.wav", "str"),
        (b"RIFF", "bytes"),
        ([0.0, 0.1], "list"),
        (np.zeros(100, np.int16), r"int16 of shape \(100,\)"),
        (np.zeros((100, 2), np.float32), r"float32 of shape \(100, 2\)"),
        (np.float32(0.1), "float32"),
    ],
)
@pytest.mark.parametrize("previous_text", [False, True])
def test_blocks_that_are_no_samples_are_refused(block: object, kind: str, previous_text: bool) -> None:
    for blocks in ([block], [noise(1), block], iter([block])):
        with pytest.raises(InputError, match=rf"samples must be a float array of shape \(n,\) at 16 kHz, not {kind}"):
            hearing().transcribe(blocks, condition_on_previous_text=previous_text)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"at 16 kHz, not {kind}"):
        hearing().detect_language([block])  # type: ignore[list-item]


def blocks_of(samples: np.ndarray, *sizes: int) -> Iterator[np.ndarray]:
    """The samples in blocks of these sizes in turn."""
    start = 0
    for size in itertools.cycle(sizes):
        yield samples[start : start + size]
        start += size
        if start >= len(samples):
            return


@pytest.mark.parametrize("sizes", [(1600,), (100_000, 0, 7), (10**6,)])
@pytest.mark.parametrize("previous_text", [False, True])
def test_blocks_of_samples_are_one_recording(sizes: tuple[int, ...], previous_text: bool) -> None:
    samples, model = said(4, 5, 6), hearing()
    options = {"condition_on_previous_text": previous_text, "word_timestamps": True}
    expected = model.transcribe(samples, **options)
    assert expected.segments
    assert model.transcribe(blocks_of(samples, *sizes), **options) == expected
    assert model.transcribe(list(blocks_of(samples, *sizes)), channels="split", **options).text == expected.text
    assert model.detect_language(blocks_of(samples, *sizes)) == model.detect_language(samples)
    assert model.transcribe(iter(()), **options).duration == 0.0


def test_blocks_are_transcribed_while_they_come() -> None:
    """A segment is there before the recording ends, and nothing says how long it will be."""
    more = threading.Event()

    def growing() -> Iterator[np.ndarray]:
        yield said(3, 3).astype(np.float64)
        assert more.wait(60)
        yield said(3)

    with hearing().stream(growing(), language="en") as stream:
        assert stream.total is None
        assert next(stream).start == pytest.approx(3, abs=0.1)
        assert stream.position < 9
        more.set()
        transcript = stream.transcript()
    assert transcript.duration == 18.0
    assert transcript == hearing().transcribe(np.concatenate([said(3, 3), said(3)]), language="en")


@pytest.mark.parametrize("previous_text", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_progress_rises_to_the_duration(call: Path, previous_text: bool, split: bool) -> None:
    told: list[tuple[float, float | None]] = []
    tracks = Tracks(channels="split" if split else "mix")
    hearing().transcribe(
        call, tracks=tracks, condition_on_previous_text=previous_text, progress=lambda *each: told.append(each)
    )
    seconds = [each for each, _ in told]
    assert len(set(seconds)) >= 2 or not split
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] <= seconds[-1] <= 12
    assert {total for _, total in told} == {12.0}


def test_progress_comes_with_each_window() -> None:
    told: list[tuple[float, float | None]] = []
    source = said(4, 5, 6)
    hearing().transcribe(source, language="en", progress=lambda *each: told.append(each))
    assert told == [(pytest.approx(7.5, abs=0.1), 24.0), (pytest.approx(15.5, abs=0.1), 24.0), (24.0, 24.0)]
    told.clear()
    hearing().transcribe(blocks_of(source, 16_000), language="en", progress=lambda *each: told.append(each))
    assert [total for _, total in told] == [None] * 3

    def stop(seconds: float, total: float | None) -> None:
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        hearing().transcribe(source, progress=stop)
    wait_for_threads(before)


@pytest.mark.parametrize("previous_text", [False, True])
def test_speech_is_told(call: Path, tmp_path: Path, previous_text: bool) -> None:
    model = hearing()

    def speech(source: object, **changes: object) -> list[tuple[float, float]]:
        found = model.transcribe(source, condition_on_previous_text=previous_text, **changes)  # type: ignore[arg-type]
        return [pytest.approx(each, abs=0.05) for each in found.speech]

    assert speech(said(4, 5)) == [(3, 7), (10, 15)]
    assert speech(noise(0)) == speech(np.zeros(5 * SAMPLE_RATE, np.float32)) == []
    # On the right somebody speaks from 4 to 7 s and goes on where the other stops for a while.
    right = np.concatenate([np.zeros(SAMPLE_RATE, np.float32), said(3)])
    path = write_channels(tmp_path / "a.wav", said(2, 4), right)
    assert speech(path, channels="split") == [(3, 7), (8, 12)]
    assert speech(call) == [(3, 12)]
    assert speech(call, channels="split") == [(3, 8), (8, 12)], "one begins where the other ends"


@pytest.mark.parametrize("samples", [np.zeros((2, 100), np.float32), np.zeros(100, np.int16)])
def test_other_arrays_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(InputError, match="16 kHz"):
        Model(FakeEngine()).transcribe(samples)


def test_unknown_options_and_languages_are_refused() -> None:
    model = Model(FakeEngine())
    with pytest.raises(UsageError, match="beam_sise"):
        model.transcribe(noise(1), beam_sise=3)
    with pytest.raises(UsageError, match="unknown language"):
        model.transcribe(noise(1), language="klingon")
    with pytest.raises(InputNotFoundError):
        model.transcribe("no such file.wav")


def test_the_package_exports_what_it_lists() -> None:
    for name in mtasr.__all__:
        assert getattr(mtasr, name) is not None
    assert set(mtasr.__all__) <= set(dir(mtasr))
    with pytest.raises(AttributeError):
        mtasr.nothing  # noqa: B018


def hearing(engine: HearingEngine | None = None) -> Model:
    """A model that takes what is loud for speech and writes words for it."""
    return Model(engine or HearingEngine(), detector=LoudIsSpeech)


def wait_for_threads(before: set[threading.Thread]) -> None:
    """Until no others are left than there were before."""
    deadline = time.monotonic() + 30
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def said(*seconds: float) -> np.ndarray:
    """Noise for so many seconds each, after 3 s of silence each."""
    silence = np.zeros(3 * SAMPLE_RATE, np.float32)
    return np.concatenate([part for each in seconds for part in (silence, noise(each))])


def test_windows_are_decoded_side_by_side_and_come_in_order() -> None:
    engine = HearingEngine(limits=EngineLimits(workers=2, batch_size=2))
    with hearing(engine).stream(said(4, 5, 6)) as transcription:
        assert transcription.total == 24.0
        assert transcription.language in {"en", "fr"}
        assert transcription.language_probability == 0.95
        assert [guess.probability for guess in transcription.guesses] == [0.95, 0.05]
        places = [(segment.id, transcription.position) for segment in transcription]
        assert places == [(0, pytest.approx(7.5, abs=0.1)), (1, pytest.approx(15.5, abs=0.1)), (2, 24.0)]
        transcript = transcription.transcript()
    assert transcript.duration == 24.0
    assert [segment.start for segment in transcript] == [pytest.approx(at, abs=0.1) for at in (3, 10, 18)]


def test_half_a_recording_decoded_side_by_side_is_refused() -> None:
    with hearing().stream(said(4, 5, 6)) as transcription:
        next(transcription)
    with pytest.raises(ValueError, match="closed before its end"):
        transcription.transcript()
    transcription.close()


def test_closing_all_of_several_recordings_closes_what_they_share() -> None:
    before = set(threading.enumerate())
    streams = hearing(HearingEngine(limits=EngineLimits(workers=3))).stream_all([said(4, 5), said(2), said(3)])
    assert len(streams) == 3
    assert next(streams[0]).id == 0
    streams[1].close()
    streams[0].close()
    assert streams[2].transcript().segments, "the others go on"
    streams[2].close()
    wait_for_threads(before)


def test_a_recording_that_cannot_be_opened_starts_no_thread() -> None:
    before = set(threading.enumerate())
    with pytest.raises(InputNotFoundError):
        Model(HearingEngine()).stream("no such file.wav")
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize("previous_text", [True, False])
def test_several_recordings_by_either_algorithm(previous_text: bool) -> None:
    model = hearing()
    sources = [said(2), said(3), said(4)]
    options = {"condition_on_previous_text": previous_text, "language": "en"}
    with model.stream_all(sources, **options) as streams:
        assert [stream.transcript() for stream in streams] == [
            model.transcribe(source, **options) for source in sources
        ]


def test_the_language_is_that_of_the_first_speech() -> None:
    engine = HearingEngine()
    source = np.concatenate([np.zeros(100 * SAMPLE_RATE, np.float32), said(3)])
    guesses = hearing(engine).detect_language(source)
    (heard,) = engine.detected
    assert heard.frames < 3000
    assert hearing().transcribe(source).language == guesses[0].code
    silence = HearingEngine()
    assert hearing(silence).detect_language(np.zeros(100 * SAMPLE_RATE, np.float32))
    assert [heard.frames for heard in silence.detected] == [3000]
    assert hearing().detect_language(noise(0)) == []


def test_timings_name_the_stages() -> None:
    model = hearing(HearingEngine(limits=EngineLimits(workers=2)))
    assert model.timings == {}
    model.transcribe(said(2, 3), word_timestamps=True)
    stages = {"decode", "voice activity", "features", "encode", "language", "generate", "align"}
    first = model.timings
    assert set(first) == stages
    assert all(seconds >= 0 for seconds in first.values())
    model.transcribe(said(2, 3), word_timestamps=True)
    assert all(seconds > first[stage] for stage, seconds in model.timings.items())


class Broken:
    """A recording that can be read in part."""

    warnings: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()
    duration = None

    def __iter__(self) -> Iterator[np.ndarray]:
        yield said(3)
        raise AudioDecodeError("cut short")

    def abort(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("previous_text", [False, True])
def test_what_failed_fails_again(monkeypatch: pytest.MonkeyPatch, previous_text: bool) -> None:
    """A recording that is incomplete must not look complete when it is asked for once more."""
    monkeypatch.setattr("mtasr.transcribe.channel_openers", lambda *_: [Broken])
    stream = Model(HearingEngine()).stream("a.wav", condition_on_previous_text=previous_text)
    for _ in range(2):
        with pytest.raises(AudioDecodeError, match="cut short"):
            stream.transcript()


def test_a_name_too_long_for_a_file_is_its_own_error() -> None:
    streams = hearing().stream_all([said(2), "x" * 300 + ".wav"])
    assert streams[0].transcript().segments
    with pytest.raises(InputError):
        streams[1].transcript()


def test_clips_alone_are_transcribed() -> None:
    transcript = hearing().transcribe(said(2, 2, 2), clip_timestamps=(7, 10.5))
    assert [(segment.start, segment.end) for segment in transcript] == [
        (pytest.approx(8, abs=0.1), pytest.approx(10, abs=0.1))
    ]
    assert transcript.duration == 15.0
    assert transcript.coverage
    assert transcript.coverage.complete


def test_clips_after_the_end_are_told() -> None:
    with hearing().stream(said(2, 2, 2), clip_timestamps=(7, 10.5, 15, 20, 30)) as stream:
        stream.transcript()
        assert stream.warnings == ("clips from 15 s on begin after the end at 15.0 s",)


def test_clips_that_are_all_after_the_end_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no clip begins before the end of the recording, at 15\.0 s"):
        hearing().transcribe(said(2, 2, 2), clip_timestamps=(15, 20, 30))


def test_speakers_without_a_channel_are_told(call: Path) -> None:
    speakers = ["Ann", "Ben", "", "Cid"]
    with hearing().stream(call, channels="split", speakers=speakers) as stream:
        stream.transcript()
        assert stream.warnings == ("no channel for 'Cid': the recording has 2 channels",)


def test_a_translation_is_a_transcript_of_its_own() -> None:
    model = hearing(HearingEngine(limits=EngineLimits(workers=2)))
    transcript = model.transcribe(said(2, 3, 2), also_translate=True, language="fr")
    translation = transcript.translation
    assert translation is not None
    assert [segment.id for segment in translation] == list(range(len(transcript.segments)))
    assert [(each.start, each.end) for each in translation] == [(each.start, each.end) for each in transcript]
    assert translation.duration == transcript.duration
    assert (transcript.text_language, translation.text_language) == ("fr", "en")
    assert model.transcribe(said(2), language="fr").translation is None


@pytest.mark.parametrize("previous_text", [True, False])
def test_what_is_drawn_for_a_recording_does_not_depend_on_those_before(
    tiny_models: dict[str, Path], previous_text: bool
) -> None:
    model = mtasr.load_model(tiny_models["multilingual"], device="cpu", threads=2)
    # A random model passes no check, so every window is sampled.
    changes = {"language": "en", "temperature": (0.5,), "best_of": 1, "vad_filter": False, "no_speech_threshold": None}
    sounds = [np.random.default_rng(seed).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32) for seed in range(3)]
    with model.stream_all(sounds, **changes, condition_on_previous_text=previous_text) as streams:  # type: ignore[arg-type]
        together = [stream.transcript() for stream in streams]
    alone = [model.transcribe(each, **changes, condition_on_previous_text=previous_text) for each in sounds]
    assert together == alone
    other = model.transcribe(sounds[0], **changes, condition_on_previous_text=previous_text, seed=1)
    assert other.text != alone[0].text


def write_channels(path: Path, *channels: np.ndarray) -> Path:
    """A file with these channels, at 16 kHz in floating point."""
    longest = max(map(len, channels))
    samples = np.stack([np.pad(channel, (0, longest - len(channel))) for channel in channels], axis=1)
    command = [find_ffmpeg(), "-loglevel", "error", "-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", str(len(channels))]
    subprocess.run([*command, "-i", "-", "-c:a", "pcm_f32le", path], input=samples.tobytes(), check=True)
    return path


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """12 s: somebody on the left from 3 to 5 and from 8 to 12 s, somebody on the right from 5 to 8 s."""
    right = np.concatenate([np.zeros(2 * SAMPLE_RATE, np.float32), said(3)])
    return write_channels(tmp_path / "call.wav", said(2, 4), right)


@pytest.mark.parametrize("previous_text", [False, True])
def test_channels_are_transcribed_each_by_itself(call: Path, tmp_path: Path, previous_text: bool) -> None:
    model = hearing(HearingEngine(limits=EngineLimits(workers=2, batch_size=2)))
    options = {"condition_on_previous_text": previous_text, "word_timestamps": True}
    found = model.transcribe(call, channels="split", speakers=["", "Ben"], **options)
    alone = []
    for channel in range(2):
        pan = ["-af", f"pan=mono|c0=c{channel}", "-c:a", "pcm_f32le"]
        path = tmp_path / f"{channel}.wav"
        subprocess.run([find_ffmpeg(), "-loglevel", "error", "-i", call, *pan, path], check=True)
        alone.append(model.transcribe(path, **options))
    assert found.duration == alone[0].duration == 12.0
    assert [each.id for each in found] == list(range(len(found.segments)))
    assert all(a.start <= b.start for a, b in itertools.pairwise(found.segments))
    for speaker, expected in zip(("Speaker 1", "Ben"), alone, strict=True):
        spoken = [each for each in found if each.speaker == speaker]
        assert spoken
        assert [(each.start, each.end, each.text, each.words) for each in spoken] == [
            (each.start, each.end, each.text, each.words) for each in expected
        ]
        assert {each.language for each in spoken} == {expected.language}
    assert (found.language, found.language_probability) == (alone[0].language, alone[0].language_probability)
    assert found.coverage
    assert all(each.coverage for each in alone)
    assert found.coverage.speech == pytest.approx(sum(each.coverage.speech for each in alone if each.coverage))


def test_translations_and_readings_have_speakers_too(call: Path) -> None:
    found = hearing().transcribe(call, channels="split", language="fr", also_translate=True, n_best=2)
    assert found.translation
    assert [each.speaker for each in found.translation] == [each.speaker for each in found]
    assert [each.start for each in found.translation] == [each.start for each in found]
    assert found.translation.text != found.text
    assert found.translation.coverage == found.coverage
    assert found.alternatives
    assert {each.speaker for each in found.alternatives} == {"Speaker 1", "Speaker 2"}
    starts = [each.start for each in found.alternatives]
    assert starts == sorted(starts)


def test_speakers_take_turns(call: Path) -> None:
    with hearing().stream(call, tracks=Tracks(channels="split"), language="en") as stream:
        assert stream.total == 12.0
        turns = [(each.speaker, round(each.start), stream.position) for each in stream]
        assert [turn[:2] for turn in turns] == [("Speaker 1", 3), ("Speaker 2", 5), ("Speaker 1", 8)]
        assert all(6 < position <= 12 for *_, position in turns), "half of the work was done before the first"
        assert stream.position == pytest.approx(10, abs=0.5), "the mean of where the speech of each ends"
    assert stream.warnings == ()


@pytest.mark.parametrize("previous_text", [False, True])
def test_one_channel_is_one_speaker(tmp_path: Path, previous_text: bool) -> None:
    path = write_channels(tmp_path / "mono.wav", said(2))
    model = hearing()
    for source in (path, said(2)):
        found = model.transcribe(source, channels="split", condition_on_previous_text=previous_text)
        assert {each.speaker for each in found} == {"Speaker 1"}


def test_the_language_told_is_that_of_the_first_who_speaks(tmp_path: Path) -> None:
    nobody = np.zeros(8 * SAMPLE_RATE, np.float32)
    path = write_channels(tmp_path / "a.wav", nobody, said(3), nobody)
    model = hearing()
    with model.stream(path, channels="split") as stream:
        before = (stream.language, stream.language_probability)
        found = stream.transcript()
    assert {each.speaker for each in found} == {"Speaker 2"}
    assert before == (found.language, 0.95)
    silent = model.transcribe(write_channels(tmp_path / "b.wav", nobody, nobody), channels="split")
    assert (silent.segments, silent.language, silent.language_probability) == ((), "en", 0.0)


def test_what_one_speaker_lost_is_not_covered_by_the_other(tmp_path: Path) -> None:
    """Both speak at once, and only one of them is written down."""
    quiet = said(4) / 20

    def judge(heard: object, temperature: float, hypothesis: object) -> object:
        return FakeEngine().hypothesis("") if heard.loudest < loudest else hypothesis  # type: ignore[attr-defined]

    engine = HearingEngine()
    model = hearing(engine)
    path = write_channels(tmp_path / "a.wav", said(4), quiet)
    assert model.transcribe(path, channels="split").coverage.complete  # type: ignore[union-attr]
    loudest = max(heard.loudest for heard, _ in engine.generated)
    engine.judge = judge  # type: ignore[assignment]
    found = model.transcribe(path, channels="split")
    assert {each.speaker for each in found} == {"Speaker 1"}
    assert found.coverage
    assert found.coverage.speech_without_text == ((pytest.approx(3, abs=0.1), pytest.approx(7, abs=0.1)),)


@pytest.mark.parametrize("previous_text", [False, True])
def test_what_cannot_be_split_fails_alone(call: Path, previous_text: bool) -> None:
    before = set(threading.enumerate())
    sources = [io.BytesIO(call.read_bytes()), "no such file.wav", "-", call]
    streams = hearing().stream_all(sources, channels="split", condition_on_previous_text=previous_text)
    with streams:
        for stream, reason in zip(streams, ("give the path", "no such file", "standard input"), strict=False):
            with pytest.raises(InputError, match=reason):
                stream.transcript()
        assert {each.speaker for each in streams[3].transcript()} == {"Speaker 1", "Speaker 2"}
    wait_for_threads(before)


def test_many_recordings_with_channels_are_not_mixed_up(tmp_path: Path) -> None:
    sources = [
        write_channels(tmp_path / f"{number}.wav", *(said(1 + number / 4, 1 + i / 2) for i in range(1 + number % 3)))
        for number in range(6)
    ]
    model = hearing(HearingEngine(limits=EngineLimits(workers=3, batch_size=2)))
    with model.stream_all(sources, channels="split", language="en") as streams:
        together = [stream.transcript() for stream in streams]
    assert together == [model.transcribe(source, channels="split", language="en") for source in sources]
    assert [len({each.speaker for each in found}) for found in together] == [1, 2, 3, 1, 2, 3]


def test_leaving_between_the_channels_stops_all(call: Path) -> None:
    before = set(threading.enumerate())
    with hearing().stream(call, channels="split") as stream:
        next(stream)
    with pytest.raises(ValueError, match="closed before its end"):
        stream.transcript()
    wait_for_threads(before)


def test_one_of_several_tracks(tmp_path: Path) -> None:
    first, second = (write_channels(tmp_path / f"{n}.wav", said(n)) for n in (2, 5))
    path = tmp_path / "a.mkv"
    tracks = ["-i", first, "-i", second, "-map", "0", "-map", "1", "-c:a", "copy"]
    subprocess.run([find_ffmpeg(), "-loglevel", "error", *tracks, path], check=True)
    model = hearing()
    for number, alone in enumerate((first, second)):
        assert model.transcribe(path, audio_stream=number).segments == model.transcribe(alone).segments
        assert model.detect_language(path, audio_stream=number) == model.detect_language(alone)
    for call in (model.transcribe, model.detect_language):
        with pytest.raises(InputError, match="has no audio track 2: it has 0 to 1"):
            call(path, audio_stream=2)
        with pytest.raises(UsageError, match="audio_stream must be a whole number from 0"):
            call(path, audio_stream=-1)
    with pytest.raises(InputError, match="has no audio track 2: it has 0 to 1"):
        model.transcribe(path, audio_stream=2, channels="split")


def test_what_is_done_is_let_go_of_at_once() -> None:
    """Not when Python happens to look for circles: it does not know how much memory hangs on them."""
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> the<|30.00|>")]
    gc.collect()
    gc.disable()
    try:
        with Model(engine).stream(noise(2), language="fr") as transcription:
            transcription.transcript()
        gone = weakref.ref(transcription)
        del transcription
        assert gone() is None
    finally:
        gc.enable()

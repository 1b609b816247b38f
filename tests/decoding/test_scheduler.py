from __future__ import annotations

import contextlib
import queue
import threading
import time
import wave
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import Heard, HearingEngine, LoudIsSpeech
from waiting import wait_until

from mtasr.arrays import Float32Array
from mtasr.audio.read import AudioStream, open_audio
from mtasr.audio.sources import SampleBlocks
from mtasr.decoding.checks import Checks
from mtasr.decoding.groups import Recording, Waiting
from mtasr.decoding.scheduler import Scheduler
from mtasr.decoding.submission import DecodedWindow, NoNotes, ResumeNotes
from mtasr.decoding.transcription import Scheduled
from mtasr.decoding.windows import Place
from mtasr.engines.engine import EngineLimits, Hypothesis, LanguageGuess
from mtasr.errors import InputNotFoundError
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE
from mtasr.stopwatch import Stopwatch
from mtasr.transcribe import Model
from mtasr.transcript import Repair, Segment, Transcript

# What goes wrong here is often a wait without end.
pytestmark = pytest.mark.timeout(30)


def model(engine: HearingEngine | None = None) -> Model:
    """To which every sound is speech."""
    return Model(engine or HearingEngine(), detector=LoudIsSpeech)


def said(*seconds: float, pause: float = 2.5, seed: int = 0, level: float = 0.1) -> Float32Array:
    """Utterances of so many seconds; a pause of 2 s and more makes each a window."""
    rng = np.random.default_rng(seed)
    silence = np.zeros(round(pause * SAMPLE_RATE), np.float32)
    parts = [silence]
    for each in seconds:
        parts += [rng.normal(0, level, round(each * SAMPLE_RATE)).astype(np.float32), silence]
    return np.concatenate(parts)


class Sound:
    """An open recording of which a test knows how far it was read; it may end with an error."""

    warnings: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()
    duration: float | None = None

    def __init__(self, blocks: Iterator[Float32Array], error: Exception | None = None) -> None:
        self.read = 0
        self.aborted = self.closed = False
        self._blocks, self._error = blocks, error

    def __iter__(self) -> Iterator[Float32Array]:
        for block in self._blocks:
            self.read += len(block)
            yield block
        if self._error is not None:
            raise self._error

    def abort(self) -> bool:
        self.aborted = True
        return True

    def close(self) -> None:
        self.closed = True


def in_blocks(samples: Float32Array) -> Iterator[Float32Array]:
    yield from (samples[start : start + SAMPLE_RATE] for start in range(0, len(samples), SAMPLE_RATE))


def recording(
    samples: Float32Array,
    error: Exception | None = None,
    language: str | None = "en",
    notes: ResumeNotes = NoNotes(),  # noqa: B008 - it keeps nothing
) -> Recording:
    return Recording(open=lambda: Sound(in_blocks(samples), error), language=language, notes=notes)


def scheduler(engine: HearingEngine) -> Scheduler:
    return Scheduler(engine, Stopwatch(), LoudIsSpeech)


def submit(engine: HearingEngine, recordings: Sequence[Recording], **changes: object) -> list[Scheduled]:
    options = DecodingOptions(**changes)  # type: ignore[arg-type]
    work = scheduler(engine)
    return [Scheduled(work, state) for state in work.submit(recordings, options, checks=Checks(thin=0.0))]


def submit_one(work: Scheduler, samples: Float32Array, *, priority: int = 0, **changes: object) -> Scheduled:
    """One recording more, in a group of its own."""
    options = DecodingOptions(**changes)  # type: ignore[arg-type]
    (state,) = work.submit([recording(samples)], options, priority=priority)
    return Scheduled(work, state)


def close(submissions: Sequence[Scheduled]) -> None:
    for each in submissions:
        each.close()


def segments(each: Scheduled) -> list[Segment]:
    return [segment for result in each.results() for segment in result.segments]


SOURCES = [
    said(3, 13, 5, 1, 12, 8, seed=1),
    said(2, seed=2),
    said(seed=3),
    said(11, 11, 4, 4, 4, 0.5, seed=4),
    said(6, 6, 6, pause=0.7, seed=5),
]


@pytest.fixture(scope="module")
def alone() -> list[Transcript]:
    """Each recording by itself, one window at a time."""
    some = {"word_timestamps": True, "checks": Checks(thin=0.0)}
    return [model().transcribe(source, **some) for source in SOURCES]  # type: ignore[arg-type]


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 1), (1, 8), (3, 1), (3, 4), (8, 16)])
def test_company_and_pace_change_nothing(alone: list[Transcript], workers: int, batch_size: int) -> None:
    engine = HearingEngine(limits=EngineLimits(workers=workers, batch_size=batch_size), pause=0.01)
    with model(engine).stream_all(SOURCES, word_timestamps=True) as streams:
        assert [stream.transcript() for stream in streams] == alone
    assert max(engine.batches) <= batch_size
    if batch_size > 1 and workers == 1:  # several may share out the windows one by one
        assert max(engine.batches) > 1, "windows are decoded together"


def test_segments_are_in_file_order_with_ids_that_count() -> None:
    source = said(*[1, 13, 2, 9, 5, 12] * 4)
    transcript = model(HearingEngine(limits=EngineLimits(workers=3, batch_size=2), pause=0.01)).transcribe(source)
    assert [segment.id for segment in transcript] == list(range(24))
    starts = [segment.start for segment in transcript]
    assert starts == sorted(starts)
    assert transcript.duration == pytest.approx(len(source) / SAMPLE_RATE)


@pytest.mark.parametrize("language", [None, "en"])
def test_a_missing_file_is_its_own_affair(alone: list[Transcript], language: str | None) -> None:
    engine = HearingEngine(limits=EngineLimits(workers=3, batch_size=4))
    sources = [SOURCES[0], "no such file.wav", SOURCES[1]]
    with model(engine).stream_all(sources, language=language) as streams:
        assert streams[0].transcript().segments
        with pytest.raises(InputNotFoundError, match=r"no such file\.wav"):
            streams[1].transcript()
        assert streams[2].transcript().segments


@pytest.mark.parametrize("language", [None, "en"])
def test_a_recording_that_breaks_off_gives_what_was_read(language: str | None) -> None:
    (expected,) = submit(HearingEngine(), [recording(SOURCES[0], language=language)])
    wanted = segments(expected)
    engine = HearingEngine(limits=EngineLimits(workers=2, batch_size=2))
    broken, after = submit(
        engine,
        [
            recording(SOURCES[0], OSError("the disk is gone"), language),
            recording(SOURCES[1], language=language),
        ],
    )
    heard: list[Segment] = []
    with pytest.raises(OSError, match="the disk is gone"):
        heard.extend(segment for result in broken.results() for segment in result.segments)
    assert heard == wanted
    assert broken.language() in {"en", "fr"}
    assert segments(after)
    after.close()


@pytest.mark.parametrize("language", [None, "en"])
@pytest.mark.parametrize(("workers", "batch_size"), [(1, 8), (3, 2)])
def test_an_engine_that_fails_for_one_recording(
    alone: list[Transcript], workers: int, batch_size: int, language: str | None
) -> None:
    def loud(heard: Heard) -> bool:
        return heard.loudest > 1.3

    engine = HearingEngine(limits=EngineLimits(workers=workers, batch_size=batch_size), fails=loud)
    sources = [SOURCES[0], said(3, 13, 5, level=0.9), SOURCES[1], SOURCES[3]]
    with model(engine).stream_all(sources, language=language) as streams:
        first = streams[0].transcript()
        with pytest.raises(RuntimeError, match="the engine stopped"):
            streams[1].transcript()
        others = [stream.transcript() for stream in (streams[2], streams[3])]
    for source, transcript in zip((SOURCES[0], SOURCES[1], SOURCES[3]), (first, *others), strict=True):
        assert transcript == model().transcribe(source, language=language)


@pytest.mark.parametrize("language", [None, "en"])
@pytest.mark.parametrize(("refused", "failed"), [("_read", 1), ("_read", 4), ("_work", 1), ("_work", 4)])
def test_no_room_for_threads(monkeypatch: pytest.MonkeyPatch, refused: str, failed: int, language: str | None) -> None:
    """Each recording has its own error until there is room, and those after that are written."""
    start, left = threading.Thread.start, iter(range(failed))

    def refuse(thread: threading.Thread) -> None:
        if thread._target.__name__ == refused and next(left, None) is not None:  # type: ignore[attr-defined]
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    sources = SOURCES[:4]
    with model(HearingEngine(limits=EngineLimits(workers=2))).stream_all(sources, language=language) as streams:
        for number, (source, stream) in enumerate(zip(sources, streams, strict=True)):
            if number < failed:
                with pytest.raises(MemoryError):
                    stream.transcript()
            else:
                assert stream.transcript() == model().transcribe(source, language=language)


@pytest.mark.parametrize("language", [None, "en"])
@pytest.mark.parametrize("ends", ["_put", "_take"])
def test_a_thread_that_ends_early_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, ends: str, language: str | None
) -> None:
    def no_room(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Scheduler, ends, no_room)
    with model(HearingEngine(limits=EngineLimits(workers=2))).stream_all(SOURCES[:2], language=language) as streams:
        for stream in streams:
            with pytest.raises(MemoryError):
                stream.transcript()


def test_one_worker_is_enough(alone: list[Transcript], monkeypatch: pytest.MonkeyPatch) -> None:
    start, room = threading.Thread.start, iter(range(1))

    def refuse(thread: threading.Thread) -> None:
        if thread._target.__name__ == "_work" and next(room, None) is None:  # type: ignore[attr-defined]
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with model(HearingEngine(limits=EngineLimits(workers=4))).stream_all(SOURCES, word_timestamps=True) as streams:
        assert [stream.transcript() for stream in streams] == alone


def test_a_worker_does_not_wait_for_a_language_that_it_should_find_out() -> None:
    """The second window of the last recording fits the batch before it, its first one does not."""
    gate = threading.Event()
    engine = HearingEngine(limits=EngineLimits(workers=1, batch_size=8), fails=lambda heard: not gate.wait())
    submitted = submit(engine, [recording(said(*seconds), language=None) for seconds in ((1,), (12, 12), (3, 12))])
    submitted[0]._scheduler.start(submitted[0]._state.group)
    wait_until(lambda: submitted[-1]._state.is_read)
    gate.set()
    assert [len(segments(each)) for each in submitted] == [1, 2, 2]


def test_closing_early_ends_the_threads_and_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        piece = (said(*[6] * 8) * 20_000).astype(np.int16).tobytes()
        file.writeframes(piece * 8)
    before = set(threading.enumerate())
    recordings = [Recording(open=lambda: open_audio(path), opens_at_once=True) for _ in range(3)]
    submitted = submit(HearingEngine(limits=EngineLimits(workers=2)), recordings)
    next(submitted[0].results())
    close(submitted)
    streams = [each.audio for each in submitted if isinstance(each.audio, AudioStream)]
    assert streams
    assert all(stream._process.returncode is not None for stream in streams)
    deadline = time.monotonic() + 30
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before
    with pytest.raises(ValueError, match="closed before its end"):
        next(submitted[1].results())


def test_the_reader_stays_a_number_of_windows_ahead() -> None:
    window = np.roll(said(5), -2 * SAMPLE_RATE)[: round(7.5 * SAMPLE_RATE)]
    sound = Sound(block for _ in range(200) for block in in_blocks(window))
    engine = HearingEngine(limits=EngineLimits(workers=2, batch_size=2), pause=0)
    (endless,) = submit(engine, [Recording(open=lambda: sound, language="en")])
    most = 4 * 2 * 2
    results = endless.results()
    for taken in range(4):
        if taken:
            next(results)
        else:
            endless.open()
        wait_until(lambda: endless._state.group.ahead == most)
        time.sleep(0.05)  # Enough for a reader that does not wait to run away.
        # One more is cut and waits for room; it was known 2 s of silence after its end.
        assert sound.read <= (taken + most + 1) * len(window) + 3 * SAMPLE_RATE
        assert endless._state.group.ahead == most
    endless.close()
    assert sound.aborted
    assert sound.closed


def test_a_recording_can_be_skipped() -> None:
    expected = [model().transcribe(source) for source in SOURCES]
    # More windows than may wait: the reader must be let on.
    long = said(*[1] * 60)
    with model(HearingEngine(limits=EngineLimits(workers=2))).stream_all(
        [long, SOURCES[1], long, SOURCES[3]]
    ) as streams:
        assert streams[1].transcript() == expected[1]
        next(streams[2])
        streams[2].close()
        assert streams[3].transcript() == expected[3]
        for skipped in (streams[0], streams[2]):
            with pytest.raises(ValueError, match="closed before its end"):
                skipped.transcript()


def test_going_back_to_an_abandoned_recording_takes_nothing_from_the_next() -> None:
    one, two = submit(HearingEngine(), [recording(SOURCES[0]), recording(SOURCES[3])])
    first, second = one.results(), two.results()
    next(first)
    start = list(next(second).segments)
    with pytest.raises(ValueError, match="closed before its end"):
        next(first)
    (alone,) = submit(HearingEngine(), [recording(SOURCES[3])])
    assert start + [segment for result in second for segment in result.segments] == segments(alone)


def test_the_language_of_a_closed_recording_is_not_waited_for() -> None:
    gate = threading.Event()
    engine = HearingEngine(limits=EngineLimits(workers=1), fails=lambda heard: not gate.wait())
    one, two = submit(engine, [recording(SOURCES[0]), recording(SOURCES[1], language=None)])
    one.open()
    wait_until(lambda: one._state.group.ahead == 4)
    close([one, two])
    gate.set()
    with pytest.raises(ValueError, match="closed before its end"):
        two.language()
    assert one.language() == "en"


def test_the_language_is_detected_once_in_the_first_window_and_encoding_is_not_repeated() -> None:
    engine = HearingEngine(limits=EngineLimits(workers=3, batch_size=4))
    with model(engine).stream_all(SOURCES) as streams:
        codes = [(stream.transcript().language, stream.language_probability) for stream in streams]
    assert codes[2] == ("en", 0.0), "nobody speaks"
    assert {probability for _, probability in codes[:2] + codes[3:]} == {0.95}
    assert len(engine.detected) == 4
    assert len(engine.encoded) == len(set(engine.encoded)) == len(engine.generated)
    for source, (code, _) in zip(SOURCES, codes, strict=True):
        guesses: list[LanguageGuess] = model().detect_language(source)
        assert guesses[0].code == code or code == "en"


def test_a_language_that_is_given_is_not_detected() -> None:
    engine = HearingEngine()
    transcript = model(engine).transcribe(SOURCES[0], language="fr")
    assert (transcript.language, transcript.language_probability, engine.detected) == ("fr", 1.0, [])


def test_windows_that_fail_are_decoded_at_full_length_and_then_at_the_temperatures_in_file_order() -> None:
    def improbable(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
        # Short lengths fail always, 30 s for half of the windows, which 0.4 saves.
        good = temperature >= 0.4 or (temperature == 0 and heard.frames == 3000 and heard.number % 2)
        return hypothesis if good else replace(hypothesis, avg_logprob=-3.0)

    def transcribe(workers: int) -> tuple[HearingEngine, list[Segment]]:
        engine = HearingEngine(limits=EngineLimits(workers=workers, batch_size=4), judge=improbable, pause=0.01)
        transcript = model(engine).transcribe(said(*[3, 8, 5, 2] * 3), language="en", temperature=(0.0, 0.2, 0.4, 0.6))
        return engine, list(transcript)

    engine, found = transcribe(3)
    assert len(found) == 12
    short = [heard for heard, temperature in engine.generated if heard.frames < 3000]
    assert len(short) == 12
    full = {heard.number for heard, temperature in engine.generated if temperature == 0 and heard.frames == 3000}
    assert len(full) == 12
    hot = [(heard, temperature) for heard, temperature in engine.generated if temperature > 0]
    assert all(heard.frames == 3000 and heard.number in full for heard, _ in hot)
    temperatures = [segment.temperature for segment in found]
    assert set(temperatures) == {0.0, 0.4}
    assert [temperature for _, temperature in hot] == [0.2, 0.4] * temperatures.count(0.4)
    other, same = transcribe(1)
    assert same == found
    assert [each for each in other.generated if each[1] > 0] == hot, "the same order, whatever the workers"


def test_nobody_speaks() -> None:
    engine = HearingEngine()
    transcript = model(engine).transcribe(np.zeros(70 * SAMPLE_RATE, np.float32))
    assert (transcript.segments, transcript.language_probability, transcript.duration) == ((), 0.0, 70.0)
    assert engine.encoded == []


def test_without_the_filter_silence_is_decoded_too() -> None:
    engine = HearingEngine()
    transcript = model(engine).transcribe(np.zeros(70 * SAMPLE_RATE, np.float32), vad_filter=False)
    assert transcript.segments
    assert sum(heard.frames for heard in engine.encoded) >= 70 * 100


def test_a_recording_is_opened_once_however_many_want_it() -> None:
    opened = []

    def opens() -> Sound:
        time.sleep(0.02)
        opened.append(Sound(in_blocks(SOURCES[1])))
        return opened[-1]

    one, two = submit(HearingEngine(), [Recording(open=opens, opens_at_once=True, language="en") for _ in range(2)])
    one.open()
    two.open()
    assert segments(one)
    assert segments(two)
    assert len(opened) == 2


@pytest.mark.parametrize("attempt", range(8))
def test_windows_are_decoded_by_others_while_their_language_is_judged(attempt: int) -> None:
    """Where the language is not clear in the first window, the windows after it are judged, too."""
    engine = HearingEngine(limits=EngineLimits(workers=4, batch_size=4))
    engine.detect_language = lambda heard: [LanguageGuess("en", 0.6), LanguageGuess("fr", 0.4)]  # type: ignore[method-assign]
    transcript = model(engine).transcribe(said(4, 4, 4, seed=attempt), multilingual=True)
    assert len(transcript.segments) == 3


class Notebook:
    """Notes that a test can read and cut short."""

    def __init__(self) -> None:
        self.judgement: list[LanguageGuess] | None = None
        self.results: dict[Place, DecodedWindow] = {}

    def guesses(self) -> list[LanguageGuess] | None:
        return self.judgement

    def result(self, place: Place) -> DecodedWindow | None:
        return self.results.get(place)

    def note_guesses(self, guesses: Sequence[LanguageGuess]) -> None:
        assert not self.results
        self.judgement = list(guesses)

    def note_result(self, place: Place, result: DecodedWindow) -> None:
        assert self.judgement is not None
        self.results[place] = result


@pytest.mark.parametrize("kept", [0, 1, 3, 6])
def test_what_is_remembered_is_not_decoded_again_and_changes_nothing(kept: int) -> None:
    def fails_in_part(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
        """Half of the windows fail at temperature 0 at any length, so that they come to samples."""
        if heard.frames < 3000 or heard.number % 2 == 0:
            return replace(hypothesis, avg_logprob=-3.0) if temperature == 0 else hypothesis
        return hypothesis

    def run(notebook: Notebook) -> tuple[list[Segment], HearingEngine, Scheduled]:
        engine = HearingEngine(limits=EngineLimits(workers=2, batch_size=2), judge=fails_in_part)
        (each,) = submit(engine, [recording(SOURCES[0], language=None, notes=notebook)])
        return segments(each), engine, each

    first = Notebook()
    whole, engine, each = run(first)
    drawn = {heard.number for heard, temperature in engine.generated if temperature > 0}
    assert 0 < len(drawn) < each._state.windows
    assert len(first.results) == each._state.windows - len(drawn), "those that samples were drawn for are drawn again"

    second = Notebook()
    second.judgement = first.judgement
    second.results = dict(sorted(first.results.items())[:kept])
    known = len(second.results)
    again, engine, each = run(second)
    assert again == whole
    assert not engine.detected
    assert len({heard.number for heard in engine.encoded if heard.frames < 3000}) <= each._state.windows - known
    assert second.results == first.results


def test_results_without_a_language_are_not_relied_on() -> None:
    first = Notebook()
    (each,) = submit(HearingEngine(), [recording(SOURCES[0], language=None, notes=first)])
    whole = segments(each)
    first.judgement = None
    results, first.results = first.results, {}
    torn = Notebook()
    torn.result = results.get  # type: ignore[method-assign]
    (each,) = submit(HearingEngine(), [recording(SOURCES[0], language=None, notes=torn)])
    assert segments(each) == whole


def test_a_result_is_noted_while_others_of_its_batch_are_tried_again() -> None:
    """What is noted when a window is decoded at the full length, because it failed at its own."""
    noted: list[int] = []

    def fails_for_some(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
        if heard.frames == 3000:
            noted.append(len(notebook.results))
            return hypothesis
        # The first of the batch does.
        return replace(hypothesis, avg_logprob=-3.0) if heard == engine.encoded[0] else hypothesis

    notebook = Notebook()
    notebook.judgement = [LanguageGuess("en", 1.0)]
    engine = HearingEngine(limits=EngineLimits(batch_size=4), judge=fails_for_some)
    (each,) = submit(engine, [recording(said(4, 4, 4, 4), notes=notebook)])
    work = each._scheduler
    work._read(each._state.group)  # all that is read waits, so that it becomes one batch
    batch = work._take()
    work._decode(batch)
    assert (len(batch), noted, len(notebook.results)) == (4, [3], 4)


# --- several callers --------------------------------------------------------------------------------------------------


def test_threads_that_share_a_model_get_what_each_would_get_alone(alone: list[Transcript]) -> None:
    engine = HearingEngine(limits=EngineLimits(workers=2, batch_size=4), pause=0.01)
    shared = model(engine)
    with ThreadPoolExecutor(len(SOURCES)) as pool:
        found = list(pool.map(lambda source: shared.transcribe(source, word_timestamps=True), SOURCES))
    assert found == alone
    assert not shared._scheduler._groups
    assert not shared._scheduler._waiting


def test_windows_of_several_callers_share_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    engine = HearingEngine(limits=EngineLimits(batch_size=4), fails=lambda heard: not gate.wait())
    shared = scheduler(engine)
    callers: list[int] = []
    take = shared._take

    def noted() -> list[Waiting]:
        batch = take()
        callers.append(len({each.state for each in batch}))
        return batch

    monkeypatch.setattr(shared, "_take", noted)
    one, other = (submit_one(shared, said(*[3] * 6, seed=seed)) for seed in (1, 2))
    for each in (one, other):
        each.open()
    wait_until(lambda: one._state.is_read and other._state.is_read)
    gate.set()
    with ThreadPoolExecutor(2) as pool:
        assert [len(found) for found in pool.map(segments, (one, other))] == [6, 6]
    assert max(callers) == 2


def test_other_options_have_other_batches() -> None:
    engine = HearingEngine(limits=EngineLimits(batch_size=4))
    shared = scheduler(engine)
    greedy, beam = (submit_one(shared, said(3, 3), beam_size=size, seed=seed) for size, seed in ((1, 0), (5, 0)))
    assert greedy._state.group.decoder is not beam._state.group.decoder
    greedy.open()
    again = submit_one(shared, said(3), beam_size=1, language="fr", seed=7)
    assert again._state.group.decoder is greedy._state.group.decoder, "neither language nor seed part a batch"
    for each in (greedy, beam, again):
        assert segments(each)


def order_of_work(first_priority: int, second_priority: int) -> list[str]:
    """Whose windows the one worker takes, when the second caller comes while the first has many waiting."""
    gate = threading.Event()
    engine = HearingEngine(fails=lambda heard: not gate.wait(), pause=0)
    shared = scheduler(engine)
    taken: list[str] = []
    take = shared._take

    def noted() -> list[Waiting]:
        batch = take()
        taken.extend("long" if each.state is long._state else "short" for each in batch)
        return batch

    shared._take = noted  # type: ignore[method-assign]
    long = submit_one(shared, said(*[3] * 12), priority=first_priority)
    short = submit_one(shared, said(3, 3), priority=second_priority)
    long.open()
    wait_until(lambda: taken and long._state.group.ahead == 4)
    short.open()
    wait_until(lambda: short._state.is_read)
    gate.set()
    with ThreadPoolExecutor(2) as pool:
        assert [len(each) for each in pool.map(segments, (long, short))] == [12, 2]
    return taken


def test_a_short_recording_does_not_wait_for_a_long_one() -> None:
    taken = order_of_work(0, 0)
    assert taken.index("short") <= 2, "the callers take turns"
    assert [place for place, who in enumerate(taken) if who == "short"][1] <= 4


def test_a_long_recording_does_not_fill_the_batch_of_a_short_one() -> None:
    engine = HearingEngine(limits=EngineLimits(batch_size=4))
    shared = scheduler(engine)
    long = submit_one(shared, said(*[3] * 12))
    short = submit_one(shared, said(3, 3))
    for each in (short, long):
        shared._read(each._state.group)
    batches = [[each.state for each in shared._take()] for _ in range(4)]
    assert batches == [[short._state] * 2, [long._state] * 4, [long._state] * 4, [long._state] * 4]


def test_a_long_recording_is_not_kept_waiting_by_short_ones_that_keep_coming() -> None:
    shared = scheduler(HearingEngine(limits=EngineLimits(batch_size=4)))
    long = submit_one(shared, said(*[3] * 12))
    shared._read(long._state.group)
    served = 0
    for _ in range(6):
        short = submit_one(shared, said(3))
        short._state.group.served = next(shared._turn)  # as `start` does, which would begin to decode
        shared._read(short._state.group)
        served += sum(each.state is long._state for each in shared._take())
    assert served >= 8


def test_a_higher_priority_goes_first() -> None:
    assert order_of_work(0, 1)[1:3] == ["short", "short"]
    taken = order_of_work(1, 0)
    assert taken.index("short") > 2, "and a lower one waits while windows of the other do"


def test_cancelling_frees_the_place_within_one_window() -> None:
    gate, working = threading.Event(), threading.Event()

    def stops(heard: Heard) -> bool:
        working.set()
        return not gate.wait()

    engine = HearingEngine(fails=stops)
    shared = scheduler(engine)
    long = submit_one(shared, said(*[3] * 12))
    after = submit_one(shared, said(5, seed=9))
    long.open()
    working.wait()
    wait_until(lambda: long._state.group.ahead == 4)
    long.close()
    after.open()
    gate.set()
    assert len(segments(after)) == 1
    assert len(engine.encoded) == 2, "the window under way, and then the other caller's"
    with pytest.raises(ValueError, match="closed before its end"):
        next(long.results())


def test_segments_come_while_the_input_is_still_being_fed() -> None:
    blocks: queue.Queue[Float32Array | None] = queue.Queue()
    source = said(3, 3, 3)

    def fed() -> Iterator[Float32Array]:
        while (block := blocks.get()) is not None:
            yield block

    with model(HearingEngine(limits=EngineLimits(workers=2))).stream(fed(), language="en") as stream:
        for block in in_blocks(source[: 9 * SAMPLE_RATE]):  # the first utterance, and the pause after it
            blocks.put(block)
        first = next(stream)
        assert first.end < 6
        assert stream.total is None
        for block in in_blocks(source[9 * SAMPLE_RATE :]):
            blocks.put(block)
        blocks.put(None)
        assert [first, *stream] == list(model().transcribe(source, language="en"))


def test_threads_end_when_nothing_is_left_to_decode() -> None:
    before = set(threading.enumerate())
    shared = model(HearingEngine(limits=EngineLimits(workers=3)))
    for _ in range(2):
        assert shared.transcribe(SOURCES[0]).segments
        wait_until(lambda: not set(threading.enumerate()) - before)
    assert not shared._scheduler._workers


@pytest.mark.parametrize("previous_text", [False, True])
def test_a_closed_transcription_gives_its_sampler_back(previous_text: bool) -> None:
    held = 0

    class Lending(HearingEngine):
        @contextlib.contextmanager
        def sampler(self, seed: int) -> Iterator[HearingEngine]:
            nonlocal held
            held += 1
            try:
                yield self
            finally:
                held -= 1

    shared = model(Lending())
    streams = [
        shared.stream(SOURCES[0], language="en", temperature=0.4, condition_on_previous_text=previous_text)
        for _ in range(3)
    ]
    for stream in streams:
        next(stream)
    assert held == 3 * previous_text  # without previous text, each window has a sampler of its own
    for stream in streams:
        stream.close()
        with pytest.raises(ValueError, match="closed before its end"):
            next(stream)
    assert held == 0


def test_what_is_cancelled_is_not_retried() -> None:
    def judge(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
        if not cancelled:
            cancelled.append(each)
            each.close()
        return replace(hypothesis, avg_logprob=-3.0)

    cancelled: list[Scheduled] = []
    engine = HearingEngine(limits=EngineLimits(batch_size=4), judge=judge)
    (each,) = submit(engine, [recording(said(4, 4, 4, 4))])
    each._scheduler._read(each._state.group)
    batch = each._scheduler._take()
    each._scheduler._decode(batch)
    assert {heard.frames for heard in engine.encoded} == {900}, "the full length was not tried"


def test_lists_are_options_too() -> None:
    options = DecodingOptions(suppress_tokens=[-1], clip_timestamps=[0.0, 4.0])  # type: ignore[arg-type]
    assert options == DecodingOptions(suppress_tokens=(-1,), clip_timestamps=(0.0, 4.0))
    assert model().transcribe(SOURCES[1], suppress_tokens=[-1]) == model().transcribe(SOURCES[1])


@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_recording_that_is_opened_and_cancelled_before_it_is_read_is_closed(meanwhile: bool) -> None:
    shared = scheduler(HearingEngine())
    closed: list[bool] = []

    class Closes(SampleBlocks):
        def close(self) -> None:
            closed.append(True)

    def opened() -> SampleBlocks:
        if meanwhile:
            shared.cancel([state])
        return Closes([said(3)])

    (state,) = shared.submit([Recording(open=opened)], DecodingOptions(language="en"))
    state.open()
    if not meanwhile:
        shared.cancel([state])
    assert closed


def test_every_fourth_batch_at_least_is_for_who_waits_behind_a_higher_priority() -> None:
    shared = scheduler(HearingEngine())
    low, high = submit_one(shared, said(*[3] * 4)), submit_one(shared, said(*[3] * 4), priority=1)
    for each in (low, high):
        shared._read(each._state.group)
    taken = ["high" if each.state is high._state else "low" for _ in range(6) for each in shared._take()]
    assert taken == ["high", "high", "high", "low", "high", "low"]


def test_batches_below_priority_0_are_half_as_large() -> None:
    shared = scheduler(HearingEngine(limits=EngineLimits(batch_size=4)))
    low = submit_one(shared, said(*[3] * 12), priority=-1)
    shared._read(low._state.group)
    assert [len(shared._take()) for _ in range(3)] == [2, 2, 2]
    shared._waiting.clear()

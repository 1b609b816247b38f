from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeEngine, LoudIsSpeech
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mtasr.arrays import Float32Array
from mtasr.audio.sources import SampleBlocks
from mtasr.decoding.checks import Checks
from mtasr.decoding.longform import LongForm
from mtasr.decoding.submission import DecodedWindow
from mtasr.engines.engine import Hypothesis
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE
from mtasr.transcript import Segment


def longform(engine: FakeEngine, samples: Float32Array, language: str | None = "en", **changes: object) -> LongForm:
    blocks = (samples[start : start + 70_000] for start in range(0, len(samples), 70_000))
    options = DecodingOptions(**changes)  # type: ignore[arg-type]
    return LongForm(engine, lambda: SampleBlocks(blocks), language, options, Checks(), LoudIsSpeech)


def results_of(
    engine: FakeEngine, seconds: float, script: Sequence[Callable[[float], Hypothesis]], **changes: object
) -> list[DecodedWindow]:
    engine.script = script
    return list(longform(engine, np.zeros(round(seconds * SAMPLE_RATE), np.float32), **changes).results())


def decode(
    engine: FakeEngine, seconds: float, script: Sequence[Callable[[float], Hypothesis]], **changes: object
) -> tuple[list[Segment], list[float]]:
    results = results_of(engine, seconds, script, **changes)
    return [segment for result in results for segment in result.segments], [result.position for result in results]


def times(segments: Sequence[Segment]) -> list[tuple[float, float, str]]:
    return [(s.start, s.end, s.text) for s in segments]


def test_windows_follow_the_timestamps() -> None:
    engine = FakeEngine()
    segments, positions = decode(
        engine,
        40,
        [
            engine.says("<|0.00|> the day<|20.00|><|20.00|> you"),
            engine.says("<|0.00|> you said<|5.00|><|6.00|> it<|8.00|>"),
        ],
    )
    assert times(segments) == [(0.0, 20.0, " the day"), (20.0, 25.0, " you said"), (26.0, 28.0, " it")]
    assert positions == [20.0, 40.0]
    assert engine.frames == [3000, 3000]


def test_previous_text_conditions_the_next_window() -> None:
    engine = FakeEngine()
    script = [engine.says("<|0.00|> the day<|30.00|>"), engine.says("<|0.00|> you<|10.00|>")]
    decode(engine, 40, script)
    at = engine.tokenizer.timestamp_begin
    start = engine.tokenizer.sot_sequence("en", "transcribe")
    assert engine.calls[0].prompt == start
    spoken = (at, *engine.tokenizer.encode(" the day"), at + 1500)
    assert engine.calls[1].prompt == (engine.tokenizer.sot_prev, *spoken, *start)


def test_a_prefix_begins_the_first_window_alone() -> None:
    engine = FakeEngine()
    script = [engine.says("<|0.00|> the day<|30.00|>"), engine.says("<|0.00|> you<|10.00|>")]
    decode(engine, 40, script, prefix="the")
    start = engine.tokenizer.sot_sequence("en", "transcribe")
    begun = (engine.tokenizer.timestamp_begin, *engine.tokenizer.encode(" the"))
    assert engine.calls[0].prompt == (*start, *begun)
    assert engine.calls[1].prompt[-len(start) :] == start


@pytest.mark.parametrize("spoken", [True, False])
def test_a_prompt_is_not_written_where_nobody_speaks(spoken: bool) -> None:
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> water<|2.00|>")]
    samples = np.full(2 * SAMPLE_RATE, 0.1 if spoken else 0.0, np.float32)
    (result,) = longform(engine, samples, hotwords="water", condition_on_previous_text=True).results()
    assert [segment.text for segment in result.segments] == ([" water"] if spoken else [])


def test_readings_end_where_the_window_does() -> None:
    engine = FakeEngine()
    first = engine.hypothesis("<|0.00|> the day<|20.00|><|20.00|> water")
    others = ((engine.hypothesis("<|0.00|> the people<|20.00|><|20.00|> you").tokens, -0.4),)
    script = [lambda temperature: replace(first, others=others), engine.says("<|0.00|> you<|10.00|>")]
    (found,) = results_of(engine, 30, script, n_best=2)[0].alternatives
    assert (found.start, found.end, [each.text for each in found.readings]) == (0, 20, ["the day", "the people"])


def test_a_hot_window_is_forgotten() -> None:
    engine = FakeEngine()

    def hot(temperature: float) -> Hypothesis:
        return engine.hypothesis("<|0.00|> the day<|30.00|>", avg_logprob=-0.2 if temperature > 0.5 else -2.0)

    segments, _ = decode(engine, 40, [hot, engine.says("<|0.00|> you<|10.00|>")])
    assert segments[0].temperature == 0.6
    assert engine.calls[-1].prompt == engine.tokenizer.sot_sequence("en", "transcribe")


def test_a_window_that_failed_all_checks_is_forgotten() -> None:
    engine = FakeEngine()
    loop = engine.says("<|0.00|>" + " the water" * 40 + "<|30.00|>")
    segments, _ = decode(engine, 40, [loop, engine.says("<|0.00|> you<|10.00|>")])
    assert segments[0].temperature == 0.0
    assert engine.calls[-1].prompt == engine.tokenizer.sot_sequence("en", "transcribe")


def test_a_crowd_of_segments_without_room_keeps_order_and_text() -> None:
    engine = FakeEngine()
    crowd = "<|0.00|> the<|0.00|>" * 15 + "<|0.00|> day<|0.02|><|0.02|>"
    segments, _ = decode(engine, 5, [engine.says(crowd), engine.says("<|0.00|> you<|1.00|>")])
    assert "".join(s.text for s in segments) == " the" * 15 + " day you"
    assert all(segment.start < segment.end for segment in segments)


def test_words_of_a_character_that_a_timestamp_cuts() -> None:
    engine = FakeEngine()
    euro = engine.tokenizer.encode("€")
    at = engine.tokenizer.timestamp_begin
    tokens = (at, *engine.tokenizer.encode(" ten"), euro[0], at + 50, at + 50, *euro[1:], at + 100)
    script = [lambda _: Hypothesis(tokens=tokens, avg_logprob=-0.1, no_speech_prob=0.0)]
    segments, _ = decode(engine, 5, script, word_timestamps=True)
    assert [[word.word for word in segment.words or ()] for segment in segments] == [[" ten"], ["€"]]


def test_long_prompts_keep_their_end_and_leave_room() -> None:
    engine = FakeEngine()
    decode(engine, 10, [engine.says("<|0.00|> you<|10.00|>")], initial_prompt="water " * 600 + "people")
    prompt = engine.calls[0].prompt
    assert len(prompt) == 1 + 223 + 3
    assert engine.tokenizer.decode(prompt).endswith(" water people")


def test_silence_gives_no_text() -> None:
    engine = FakeEngine()
    nothing = engine.says("<|0.00|> you<|2.00|>", avg_logprob=-1.2, no_speech_prob=0.8)
    segments, positions = decode(engine, 70, [nothing, engine.says("<|0.00|> the<|2.00|>"), nothing])
    assert times(segments) == [(30.0, 32.0, " the")]
    assert positions == [30.0, 60.0, 70.0]


def test_confident_text_is_kept_against_the_no_speech_token() -> None:
    engine = FakeEngine()
    segments, _ = decode(engine, 10, [engine.says("<|0.00|> you<|2.00|>", avg_logprob=-0.3, no_speech_prob=0.9)])
    assert times(segments) == [(0.0, 2.0, " you")]


def test_without_timestamps_a_window_is_a_segment() -> None:
    engine = FakeEngine()
    segments, _ = decode(engine, 12.5, [engine.says(" the day")], without_timestamps=True)
    assert times(segments) == [(0.0, 12.5, " the day")]
    assert engine.calls[0].prompt[-1] == engine.tokenizer.no_timestamps


def test_the_encoder_output_of_the_first_window_is_reused() -> None:
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> the<|2.00|>")]
    work = longform(engine, np.zeros(SAMPLE_RATE, np.float32), language=None)
    assert work.language() == "fr"
    assert len(list(work.results())) == 1
    assert engine.frames == [3000]
    assert len(engine.calls) == 1


class Watched(SampleBlocks):
    """Counts how often it is closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    "when", ["before it is opened", "while it is opened", "between two windows", "while it is read"]
)
def test_a_recording_that_is_closed_is_not_left_open(when: str) -> None:
    engine, opened = FakeEngine(), []
    engine.script = [engine.says("<|0.00|> the<|2.00|>")] * 9

    def blocks() -> Iterator[Float32Array]:
        for _ in range(9):
            yield np.zeros(30 * SAMPLE_RATE, np.float32)
            if when == "while it is read":
                work.close()

    def open_() -> SampleBlocks:
        opened.append(Watched(blocks()))
        if when == "while it is opened":
            work.close()
        return opened[-1]

    work = LongForm(engine, open_, "en", DecodingOptions(), Checks(), LoudIsSpeech)
    if when == "before it is opened":
        work.close()
    results = work.results()
    if when.endswith("opened"):
        with pytest.raises(ValueError, match="closed before its end"):
            next(results)
    else:
        next(results)
        work.close()
        results.close()  # type: ignore[attr-defined]
    assert [each.closed > 0 for each in opened] == ([] if when == "before it is opened" else [True])


def test_characters_cut_by_a_timestamp_are_whole() -> None:
    engine = FakeEngine()
    euro = engine.tokenizer.encode("€")
    assert len(euro) == 3
    at = engine.tokenizer.timestamp_begin
    tokens = (at, *engine.tokenizer.encode(" ten"), euro[0], at + 50, at + 50, *euro[1:], at + 100)
    segments, _ = decode(engine, 5, [lambda _: Hypothesis(tokens=tokens, avg_logprob=-0.1, no_speech_prob=0.0)])
    assert [segment.text for segment in segments] == [" ten", "€"]


def test_no_audio_gives_no_windows() -> None:
    assert decode(FakeEngine(), 0, []) == ([], [])
    assert decode(FakeEngine(), 0.05, []) == ([], [])


def test_word_times_are_in_file_time_and_frame_the_segment() -> None:
    engine = FakeEngine()
    script = [engine.says("<|0.00|> the day<|30.00|>"), engine.says("<|1.00|> you said<|5.00|>")]
    segments, _ = decode(engine, 40, script, word_timestamps=True)
    words = segments[1].words
    assert words is not None
    assert "".join(word.word for word in words) == segments[1].text
    assert words[0].start == 30.0
    assert (segments[1].start, segments[1].end) == (words[0].start, words[-1].end)
    assert all(word.probability == 0.5 for word in words)


ENGINE = FakeEngine()
TOKENS = st.one_of(
    st.integers(0, ENGINE.tokenizer.eot - 1),
    st.integers(0, 1500).map(lambda step: ENGINE.tokenizer.timestamp_begin + step),
)


@settings(max_examples=150)
@given(
    st.lists(st.lists(TOKENS, max_size=60), min_size=1, max_size=4),
    st.floats(0.1, 40),
    st.booleans(),
)
@example([[0, 807, 807, 126, 807, 807, 94, 807]], 1.0, True)  # the last segment's only character gets no word
def test_whatever_the_model_writes_times_are_sound(windows: list[list[int]], seconds: float, words: bool) -> None:
    engine = FakeEngine()
    engine.tokenizer = ENGINE.tokenizer
    nothing, *said = (Hypothesis(tokens=tuple(w), avg_logprob=-0.1, no_speech_prob=0.0) for w in [[], *windows])
    script = [lambda _, h=h: h for h in [*said, *[nothing] * 2000]]
    segments, positions = decode(
        engine,
        seconds,
        script,
        word_timestamps=words,
        compression_ratio_threshold=None,
        prompt_reset_on_temperature=-1.0,
    )
    duration = round(seconds * SAMPLE_RATE) / SAMPLE_RATE
    before = 0.0
    for segment in segments:
        assert before <= segment.start < segment.end <= duration + 1e-3
        before = segment.end
        for word in segment.words or ():
            assert segment.start <= word.start < word.end <= segment.end
    assert positions == sorted(positions)
    assert positions[-1] == pytest.approx(duration, abs=0.1)

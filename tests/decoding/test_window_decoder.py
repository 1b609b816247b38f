from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from fakes import FakeEngine, Heard, HearingEngine
from hypothesis import given
from hypothesis import strategies as st

from mtasr.decoding.checks import Checks
from mtasr.decoding.retries import Decoding, decode_at_temperatures
from mtasr.decoding.timing.segments import Piece
from mtasr.decoding.window_decoder import WindowDecoder, _beside_speech
from mtasr.decoding.window_input import WindowInput, context_for
from mtasr.decoding.windows import Window, longest_for
from mtasr.engines.engine import EngineLimits, Hypothesis, LanguageGuess
from mtasr.errors import UsageError
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE, Span
from mtasr.stopwatch import Stopwatch
from mtasr.transcript import Reading, Segment

#: Fakes write a few words for any time, which would look as if most of it was left out.
_ANY_RATE = Checks(thin=0.0)


def window(seconds: float, start: float = 0.0, seed: int = 0, speech: tuple[tuple[float, float], ...] = ()) -> Window:
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)
    spans = tuple(Span(round(begin * SAMPLE_RATE), round(end * SAMPLE_RATE)) for begin, end in speech)
    return Window(round(start * SAMPLE_RATE), samples, spans)


def decoder(
    engine: FakeEngine | HearingEngine,
    checks: Checks = _ANY_RATE,
    **changes: object,
) -> WindowDecoder:
    return WindowDecoder(engine, DecodingOptions(**changes), Stopwatch(), checks)  # type: ignore[arg-type]


def shown(seconds: float, **place: object) -> WindowInput:
    """A window at the context for its length, whatever the options."""
    cut = window(seconds, **place)  # type: ignore[arg-type]
    return WindowInput(window=cut, language="en", context=context_for(cut.seconds))


def decode(work: WindowDecoder, *inputs: WindowInput) -> list[Decoding]:
    """In the order of the inputs."""
    return [decoding for _, decoding in sorted(work.decode(inputs), key=lambda found: found[0])]


def finish(work: WindowDecoder, decoding: Decoding) -> list[Segment]:
    return list(work.finish(decoding, lambda: work._engine).segments)


@given(st.floats(0, 30))
def test_the_encoder_is_shown_the_window_and_some_silence(seconds: float) -> None:
    context = context_for(seconds)
    assert min(seconds + 2, 30) <= context <= 30
    assert context in {9, 12, 15, 18, 21, 24, 27, 30}
    assert context_for(min(seconds + 1, 30)) >= context
    assert context < seconds + 6 or context == 9


@given(st.floats(0, 30))
def test_a_model_for_any_length_is_shown_hardly_any_silence(seconds: float) -> None:
    context = context_for(seconds, variable_length=True)
    assert context in range(3, 31)
    assert min(seconds + 0.2, 30) <= context < max(seconds + 1.2, 3) + 1e-6


def test_the_engine_tells_what_length_its_model_is_for() -> None:
    syllables = Window(0, np.tile(np.repeat([0.5, 0.0], 4000), 10).astype(np.float32), ())
    contexts = [
        decoder(FakeEngine(limits=EngineLimits(variable_length=variable)), task=task).input(syllables).context
        for variable, task in ((False, "transcribe"), (True, "transcribe"), (True, "translate"))
    ]
    assert contexts == [9, 6, 30]


@pytest.mark.parametrize("seconds", [0.1, 5, 13.9, 16, 28, 29.9])
def test_features_have_the_length_of_the_context(seconds: float) -> None:
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> the day<|0.10|>")]
    (decoding,) = decode(decoder(engine), shown(seconds))
    assert engine.frames == [context_for(seconds) * 100]
    assert [segment.text for segment in finish(decoder(engine), decoding)] == [" the day"]


def test_a_result_without_speech_is_no_segment() -> None:
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> you<|2.00|>", avg_logprob=-1.4, no_speech_prob=0.9)] * 2
    (decoding,) = decode(decoder(engine), shown(3))
    assert engine.frames == [900, 3000], "silence is believed of the full length alone"
    assert decoding.taken is not None
    assert finish(decoder(engine), decoding) == []


def test_times_are_those_of_the_file_and_of_speech() -> None:
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> the day<|2.00|><|2.00|> you<|9.00|>")]
    (decoding,) = decode(decoder(engine), shown(6, start=100, speech=((100.5, 102.5), (103, 105.5))))
    assert [(each.start, each.end, each.text) for each in finish(decoder(engine), decoding)] == [
        (100.5, 102.0, " the day"),
        (102.0, 105.5, " you"),
    ]


def test_the_prompt_is_given_to_every_window() -> None:
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> water<|1.00|>")] * 2
    work = decoder(engine, initial_prompt=" the people ", without_timestamps=True)
    decode(work, shown(2), shown(2))
    tokenizer = engine.tokenizer
    start = tokenizer.sot_sequence("en", "transcribe", timestamps=False)
    expected = (tokenizer.sot_prev, *tokenizer.encode(" the people"), *start)
    assert [call.prompt for call in engine.calls] == [expected] * 2


def test_a_long_prompt_keeps_its_end() -> None:
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> the<|1.00|>")]
    decode(decoder(engine, initial_prompt="day " * 300 + "water"), shown(2))
    (call,) = engine.calls
    assert len(call.prompt) == 1 + 223 + 3
    assert engine.tokenizer.decode(call.prompt).endswith(" day water")


def test_above_temperature_0_nothing_is_searched_before_its_turn() -> None:
    engine = HearingEngine()
    work = decoder(engine, temperature=(0.4, 0.8))
    (decoding,) = decode(work, shown(3))
    assert (decoding.taken, decoding.is_open, engine.generated) == (None, True, [])
    assert finish(work, decoding)[0].temperature == 0.4
    assert [temperature for _, temperature in engine.generated] == [0.4]


def failing(*good: float) -> HearingEngine:
    def judge(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
        return hypothesis if temperature in good else replace(hypothesis, avg_logprob=-2.0 - temperature)

    return HearingEngine(judge=judge)


def test_a_window_that_fails_is_shown_at_30_seconds_and_encoded_no_more() -> None:
    engine = failing(0.6)
    work = decoder(engine)
    (decoding,) = decode(work, shown(3))
    assert [heard.frames for heard in engine.encoded] == [900, 3000]
    assert len(decoding.failed) == 2
    (segment,) = finish(work, decoding)
    assert segment.temperature == 0.6
    assert [(heard.frames, temperature) for heard, temperature in engine.generated] == [
        (900, 0.0), (3000, 0.0), (3000, 0.2), (3000, 0.4), (3000, 0.6),
    ]  # fmt: skip
    assert len(engine.encoded) == 2
    assert finish(work, decoding) == [segment], "finishing changes nothing in a decoding"


def test_a_window_of_full_length_is_not_decoded_twice() -> None:
    engine = failing(0.2)
    work = decoder(engine)
    (decoding,) = decode(work, shown(29.5))
    finish(work, decoding)
    assert [temperature for _, temperature in engine.generated] == [0.0, 0.2]


def test_when_all_fail_the_most_probable_is_taken() -> None:
    engine = failing()
    work = decoder(engine, temperature=(0.0, 0.2))
    (decoding,) = decode(work, shown(3))
    (segment,) = finish(work, decoding)
    assert (segment.temperature, segment.avg_logprob) == (0.0, -2.0)
    taken = decode_at_temperatures(
        lambda temperature: engine.judge(engine.encoded[1], temperature, decoding.failed[0].hypothesis),
        engine.tokenizer, DecodingOptions(temperature=(0.0, 0.2)), Checks(), failed=decoding.failed,
    )  # fmt: skip
    assert not taken.passed


def test_a_window_in_which_nothing_was_written_is_no_segment() -> None:
    engine = FakeEngine()
    engine.script = [engine.says("", avg_logprob=-np.inf)] * 2
    work = decoder(engine, temperature=(0.0,), without_timestamps=True)
    (decoding,) = decode(work, shown(3))
    assert finish(work, decoding) == []


def test_a_settled_window_has_words_and_keeps_no_encoder_output() -> None:
    engine = HearingEngine()
    work = decoder(engine, word_timestamps=True)
    (decoding,) = decode(work, shown(3))
    assert work.is_settled(decoding)
    result = work.finish(decoding, lambda: engine)
    assert result.segments[0].words
    assert not any(isinstance(getattr(result, name), Heard) for name in result.__slots__)


def test_a_language_the_model_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="cantonese"):
        decode(decoder(HearingEngine()), replace(shown(3), language="yue"))


# Times that both floats and samples hold exactly.
TIMES = st.integers(0, 1920).map(lambda step: step / 64)
SPANS = st.lists(TIMES, max_size=8).map(sorted).map(lambda at: list(zip(at[::2], at[1::2], strict=False)))


@given(TIMES, TIMES, SPANS)
def test_a_piece_keeps_to_speech_and_within_itself(one: float, other: float, spans: list[tuple[float, float]]) -> None:
    start, end = sorted((one, other))
    piece = Piece(start=start, end=end, tokens=(1, 2))
    speech = tuple(Span(round((50 + a) * SAMPLE_RATE), round((50 + b) * SAMPLE_RATE)) for a, b in spans if a < b)
    kept = _beside_speech(piece, Window(50 * SAMPLE_RATE, np.zeros(30 * SAMPLE_RATE, np.float32), speech))
    assert kept.tokens == piece.tokens
    assert start <= kept.start <= kept.end <= end
    near = [span for span in spans if span[0] < end and span[1] > start and span[0] < span[1]]
    if near and start < end:
        assert kept.start == pytest.approx(max(start, near[0][0]))
        assert kept.end == pytest.approx(min(end, near[-1][1]))
    else:
        assert (kept.start, kept.end) == (pytest.approx(start), pytest.approx(end))


def test_text_of_the_full_length_is_not_lost_to_a_hasty_silence() -> None:
    """A short context that hears silence with a better score must not win over the text that the full length gives."""

    def judge(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
        short = heard.frames < 3000
        return replace(hypothesis, avg_logprob=-1.1 if short else -1.4, no_speech_prob=0.9 if short else 0.1)

    work = decoder(HearingEngine(judge=judge))
    (decoding,) = decode(work, shown(3))
    assert finish(work, decoding), "the text is kept"


def test_a_prompt_is_not_written_where_nobody_speaks() -> None:
    """The model echoes its prompt with confidence; told nothing, it hears silence."""

    @dataclass
    class Echo(HearingEngine):
        def _says(self, heard: Heard, prompt: Sequence[int]) -> Hypothesis:
            told = prompt[0] == self.tokenizer.sot_prev
            text = "<|0.00|> people<|2.00|>" if told else "<|0.00|> the<|2.00|>"
            tokens = self.tokenizer.encoding.encode(text, allowed_special="all")
            silence = 0.05 if told or not silent else 0.95
            return Hypothesis(tokens=tuple(tokens), avg_logprob=-0.3 if told else -1.5, no_speech_prob=silence)

    for silent, speech in itertools.product((True, False), ((), ((0.5, 2.5),))):
        work = decoder(Echo(), hotwords="people")
        (decoding,) = decode(work, shown(3, speech=speech))
        said = [segment.text for segment in finish(work, decoding)]
        assert said == ([" people"] if speech and not silent else []), "with voice activity and a second opinion for it"


def early(seconds: float, ends: float, rest: str = " water", **options: object) -> list[str]:
    """The texts of a window of speech, and their times, whose text ends after `ends` seconds."""

    @dataclass
    class Hasty(HearingEngine):
        def _says(self, heard: Heard, prompt: Sequence[int]) -> Hypothesis:
            text = f"<|0.00|> the day<|{ends:.2f}|>" if len(self.encoded) == 1 else f"<|0.00|>{rest}<|2.00|>"
            tokens = self.tokenizer.encoding.encode(text, allowed_special="all")
            return Hypothesis(tokens=tuple(tokens), avg_logprob=-0.3, no_speech_prob=0.05)

    work = decoder(Hasty(), **options)
    samples = round(seconds * SAMPLE_RATE)
    window = Window(SAMPLE_RATE, np.zeros(samples, np.float32), (Span(SAMPLE_RATE, SAMPLE_RATE + samples),))
    (decoding,) = decode(work, work.input(window, language="en"))
    return [f"{each.text} {each.start:.1f}-{each.end:.1f}" for each in finish(work, decoding)]


def test_speech_after_an_early_end_is_decoded_again() -> None:
    assert early(6.0, 2.0) == [" the day 1.0-3.0", " water 3.0-5.0"]
    assert early(3.0, 2.5) == [" the day 1.0-3.5"], "half a second is the end of the last word"
    assert early(6.0, 2.0, task="translate") == [" the day 1.0-3.0"], "times of translations do not tell"
    assert early(6.0, 2.0, rest=" the" * 60) == [" the day 1.0-3.0"], "what fails the checks is not taken"


def test_several_languages_are_followed_window_by_window() -> None:
    engine = HearingEngine(limits=EngineLimits(batch_size=2))
    work = decoder(engine, multilingual=True)
    first, second = shown(3), shown(3)
    first.window.samples[0], second.window.samples[0] = 0.5, 0.25
    codes = [finish(work, decoding)[0].language for decoding in decode(work, first, second)]
    assert codes == [engine.detect_language(heard)[0].code for heard in engine.encoded]


def test_a_language_that_is_not_clear_is_judged_by_texts() -> None:
    """Italian is a little more probable by its token alone; what is written in Spanish is far more so."""

    @dataclass
    class Unsure(HearingEngine):
        sure: float = 0.5

        def detect_language(self, encoded: Heard) -> list[LanguageGuess]:
            return [LanguageGuess("it", self.sure), LanguageGuess("es", 1 - self.sure), LanguageGuess("la", 0.0)]

        def _says(self, heard: Heard, prompt: Sequence[int]) -> Hypothesis:
            spanish = self.tokenizer.language_tokens["es"] in prompt
            return replace(super()._says(heard, prompt), avg_logprob=-0.3 if spanish else -0.8)

    spoken = shown(3, speech=((0.5, 2.5),))
    for batch_size in (1, 4):
        engine = Unsure(limits=EngineLimits(batch_size=batch_size))
        assert decoder(engine).judge_language([spoken, shown(3)])[0].code == "es"
        assert [heard.frames for heard in engine.encoded] == [900, 900, 3000], "where somebody speaks, once more"
        assert [heard.frames for heard, _ in engine.generated] == [3000] * 2, "none without any probability"
        work = decoder(engine, multilingual=True)
        (decoding,) = decode(work, spoken)
        assert [segment.language for segment in finish(work, decoding)] == ["es"]
    at_home = Unsure(limits=EngineLimits(variable_length=True))
    assert decoder(at_home).judge_language([spoken])[0].code == "es"
    assert {heard.frames for heard, _ in at_home.generated} == {heard.frames for heard in at_home.encoded} == {900}

    class SureOfMore(Unsure):
        before = 0.87

        def detect_language(self, encoded: Heard) -> list[LanguageGuess]:
            self.sure = 0.95 if encoded.frames == 3000 else self.before
            return super().detect_language(encoded)

    more = SureOfMore()
    assert decoder(more).judge_language([spoken])[0].probability == pytest.approx(0.91)
    assert more.generated == [], "the two together were clear"
    more.before = 0.5
    assert decoder(more).judge_language([spoken])[0].code == "es", "the full length alone does not decide"
    clear, silent = Unsure(sure=0.95), Unsure()
    assert decoder(clear).judge_language([spoken])[0].code == "it"
    assert decoder(silent).judge_language([shown(3)])[0].code == "it", "nobody speaks, so there is nothing to write"
    assert clear.generated == silent.generated == []
    assert len(silent.encoded) == 1


def test_what_is_no_longer_wanted_is_neither_judged_nor_retried_to_the_end() -> None:
    class Unsure(HearingEngine):
        def detect_language(self, encoded: Heard) -> list[LanguageGuess]:
            return [LanguageGuess("it", 0.5), LanguageGuess("es", 0.5)]

    def doubtful(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
        return replace(hypothesis, avg_logprob=-2.0)

    engine = Unsure(judge=doubtful)
    spoken = shown(3, speech=((0.5, 2.5),))
    assert decoder(engine).judge_language([spoken], lambda: False)
    assert (len(engine.encoded), len(engine.generated)) == (1, 0), "neither at the full length nor by text"
    assert decoder(engine).judge_language([spoken], lambda: len(engine.encoded) < 3)
    assert (len(engine.encoded), len(engine.generated)) == (3, 0)
    assert len(list(decoder(engine).decode([spoken]))) == 1
    retried = len(engine.generated)
    assert retried > 1
    assert list(decoder(engine).decode([spoken], lambda place: len(engine.generated) == retried)) == []
    assert len(engine.generated) == retried + 1
    assert list(decoder(engine).decode([spoken], lambda place: len(engine.generated) < retried + 3)) == []
    assert len(engine.generated) == retried + 3, "the first of its retries was tried"


def test_translation_is_shown_the_full_length() -> None:
    engine = HearingEngine()
    work = decoder(engine, task="translate")
    decode(work, work.input(window(3), language="fr"))
    assert [heard.frames for heard in engine.encoded] == [3000]
    assert longest_for(DecodingOptions(task="translate"), 30).clear > longest_for(DecodingOptions(), 30).clear


def test_sound_in_loud_noise_is_shown_at_the_full_length() -> None:
    engine, rng = HearingEngine(), np.random.default_rng(0)
    work = decoder(engine)
    noise = rng.normal(0, 0.1, 10 * SAMPLE_RATE).astype(np.float32)
    talking = np.arange(len(noise)) % SAMPLE_RATE < SAMPLE_RATE // 2
    for samples in (noise, noise * np.where(talking, 1.0, 0.25), noise * np.where(talking, 1.0, 0.07), noise * talking):
        spans = (Span(0, len(samples)),)
        decode(work, work.input(Window(0, samples.astype(np.float32), spans), language="en"))
    assert [heard.frames for heard in engine.encoded] == [3000, 3000, 1200, 1200]


def test_a_prefix_begins_the_first_window_of_a_recording_alone() -> None:
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> the day<|2.00|>")] * 2
    work = decoder(engine, prefix="the", initial_prompt="water")
    tasks = [work.input(window(3), language="en", first=first) for first in (True, False)]
    decode(work, *tasks)
    tokenizer = engine.tokenizer
    start = (tokenizer.sot_prev, *tokenizer.encode(" water"), *tokenizer.sot_sequence("en", "transcribe"))
    begun = (*start, tokenizer.timestamp_begin, *tokenizer.encode(" the"))
    assert {call.encoded: call.prompt for call in engine.calls} == {0: begun, 1: start}


def test_readings_differ_in_their_text() -> None:
    engine = FakeEngine()
    first, second, third = (engine.hypothesis(f"<|0.00|>{text}<|2.00|>") for text in (" the day", " the day", " you"))
    others = ((second.tokens[:-1], -0.3), (third.tokens, -0.4))
    engine.script = [lambda temperature: replace(first, others=others)]
    work = decoder(engine, n_best=3)
    (decoding,) = decode(work, shown(3, start=10))
    (found,) = work.finish(decoding, lambda: engine).alternatives
    assert (found.start, found.end) == (10, 13)
    assert found.readings == (Reading(text="the day", avg_logprob=-0.2), Reading(text="you", avg_logprob=-0.4))


class Translating(FakeEngine):
    """Translates one text into another, encoding no window twice."""

    def answer(self, encoded: int, prompt: Sequence[int], options: DecodingOptions, temperature: float) -> Hypothesis:
        super().answer(encoded, prompt, options, temperature)
        translate = self.tokenizer.special("translate") in prompt
        return self.hypothesis("<|0.00|> you<|1.00|>" if translate else "<|0.00|> the<|1.00|><|1.00|> day<|2.00|>")


@pytest.mark.parametrize("language", ["fr", "en"])
def test_translating_as_well_encodes_once(language: str) -> None:
    engine = Translating()
    engine.script = [engine.says("")] * 2
    work = decoder(engine, also_translate=True)
    for decoding in decode(work, *(work.input(window(3, start=at), language=language) for at in (0, 10))):
        result = work.finish(decoding, lambda: engine)
        begin = result.position - 3
        assert [(each.text, each.start - begin, each.end - begin) for each in result.segments] == [
            (" the", 0, 1),
            (" day", 1, 2),
        ]
        both = [(" you", 0, 2)] if language == "fr" else [(" the", 0, 1), (" day", 1, 2)]
        assert [(each.text, each.start - begin, each.end - begin) for each in result.translation] == both
    assert engine.frames == [3000, 3000]
    assert len(engine.calls) == (4 if language == "fr" else 2)


def test_what_is_silent_is_not_translated() -> None:
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> you<|1.00|>", avg_logprob=-1.5, no_speech_prob=0.9)] * 2
    work = decoder(engine, also_translate=True)
    (decoding,) = decode(work, work.input(window(3), language="fr"))
    result = work.finish(decoding, lambda: engine)
    assert (result.segments, result.translation) == ((), ())


def test_an_improbable_translation_is_taken_unless_it_loops() -> None:
    engine = FakeEngine()
    loop = f"<|0.00|>{' you' * 40}<|5.00|>"
    engine.script = [engine.says("<|0.00|> the day<|2.00|>", avg_logprob=-1.5), engine.says(loop, avg_logprob=-0.1)]
    work = decoder(engine, task="translate")
    first, second = decode(work, *(work.input(window(6), language="fr") for _ in range(2)))
    assert [segment.text for segment in finish(work, first)] == [" the day"]
    finish(work, second)
    assert [call.temperature for call in engine.calls] == [0, 0, 0.2, 0.4, 0.6, 0.8, 1.0]


def loud(seconds: float, *pauses: tuple[float, float]) -> Window:
    """A window of speech with pauses."""
    edges = [0.0, *(edge for pause in pauses for edge in pause), seconds]
    spans = [Span(round(a * SAMPLE_RATE), round(b * SAMPLE_RATE)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return Window(0, np.zeros(round(seconds * SAMPLE_RATE), np.float32), tuple(spans))


@dataclass
class Repeating(HearingEngine):
    """Writes a sentence once, however often it is said, where the window is longer than `most` seconds; or loops."""

    most: float = 3.0
    loops: bool = False

    def _says(self, heard: Heard, prompt: Sequence[int]) -> Hypothesis:
        text = f"<|0.00|> the day number water people sound the day number<|{self.most:.2f}|>"
        if self.loops and len(self.encoded) <= 1:
            text = f"<|0.00|>{' the day' * 60}"
        tokens = self.tokenizer.encoding.encode(text, allowed_special="all")
        return Hypothesis(tokens=tuple(tokens), avg_logprob=-0.3, no_speech_prob=0.05)


@pytest.mark.parametrize("loops", [False, True])
def test_what_is_said_again_is_written_again(loops: bool) -> None:
    engine = Repeating(loops=loops)
    work = decoder(engine, Checks(thin=2.4))
    window = loud(12.0, (2.8, 3.2), (5.8, 6.2), (8.8, 9.2))
    (decoding,) = decode(work, work.input(window, language="en"))
    segments = finish(work, decoding)
    assert [round(segment.start) for segment in segments] == [0, 3, 6, 9]
    assert len({segment.text for segment in segments}) == 1
    assert all(after.start >= before.end for before, after in itertools.pairwise(segments))


def test_halves_with_no_more_text_are_not_taken() -> None:
    engine = FakeEngine()
    engine.script = [
        engine.says("<|0.00|> the day the day<|4.00|>"),
        engine.says("<|0.00|> the day<|2.00|>"),
        engine.says("<|0.00|> the day<|2.00|>"),
    ]
    work = decoder(engine, Checks(thin=2.4))
    (decoding,) = decode(work, work.input(loud(4.0, (1.9, 2.1)), language="en"))
    assert len(engine.calls) == 3, "they were tried"
    assert [(each.start, each.end, each.text) for each in finish(work, decoding)] == [(0, 4, " the day the day")]


#: Ten words each, all different.
SENTENCES = [
    " one word from this hot day was for all people",
    " they said how each would do it with their time",
    " when your water is up there, she can use some",
    " he will look down if you are not by now",
    " these long days go by like the sound of her",
]


def spoken(engine: FakeEngine, starts: Sequence[int], *which: int) -> Callable[[float], Hypothesis]:
    """Sentences, each from one of these seconds to the next; the last is the end."""
    times = itertools.pairwise(starts)
    said = [f"<|{start}.00|>{SENTENCES[each]}<|{end}.00|>" for each, (start, end) in zip(which, times, strict=True)]
    return engine.says("".join(said))


def test_a_sentence_lost_in_the_middle_of_a_window_is_found() -> None:
    engine = FakeEngine()
    engine.script = [
        spoken(engine, [0, 6, 9, 12, 15], 0, 2, 3, 4),
        spoken(engine, [0, 6], 0),
        spoken(engine, [0, 3], 0),
        spoken(engine, [0, 3], 1),
        spoken(engine, [0, 3, 6, 9], 2, 3, 4),
    ]
    work = decoder(engine, Checks())
    window = loud(15.0, (2.8, 3.2), (5.8, 6.2), (8.8, 9.2), (11.8, 12.2))
    (decoding,) = decode(work, work.input(window, language="en"))
    assert [each.text for each in finish(work, decoding)] == SENTENCES


def test_a_segment_said_slowly_stays() -> None:
    engine = FakeEngine()
    engine.script = [
        spoken(engine, [0, 6, 9, 12, 15], 0, 2, 3, 4),
        spoken(engine, [0, 6], 0),
        *map(engine.says, (" one word from this hot", " one word", " from this hot")),
        *map(engine.says, (" day was for all people", " day was for", " all people")),
        spoken(engine, [0, 3, 6, 9], 2, 3, 4),
    ]
    work = decoder(engine, Checks())
    window = loud(15.0, (5.8, 6.2), (8.8, 9.2), (11.8, 12.2))
    (decoding,) = decode(work, work.input(window, language="en"))
    assert not decoding.parts
    assert [each.text for each in finish(work, decoding)] == [SENTENCES[each] for each in (0, 2, 3, 4)]


def test_halves_with_more_marks_and_no_more_letters_are_not_taken() -> None:
    engine = FakeEngine()
    engine.script = [
        engine.says("<|0.00|> the day the day<|4.00|>"),
        engine.says("<|0.00|> the day.......<|2.00|>"),
        engine.says("<|0.00|> the day.......<|2.00|>"),
    ]
    work = decoder(engine, Checks(thin=2.4))
    (decoding,) = decode(work, work.input(loud(4.0, (1.9, 2.1)), language="en"))
    assert [each.text for each in finish(work, decoding)] == [" the day the day"]


@given(st.floats(1.1, 30), st.floats(0.3, 0.7), st.floats(0.05, 0.3))
def test_halves_meet_in_a_pause(seconds: float, place: float, pause: float) -> None:
    begin, end = place * seconds - pause / 2, place * seconds + pause / 2
    halves = loud(seconds, (begin, end)).halves()
    if min(begin, seconds - end) < 0.51:
        return
    assert halves is not None
    first, second = halves
    assert begin <= second.offset <= end
    assert (first.offset, first.seconds + second.seconds) == (0, pytest.approx(seconds, abs=1e-4))
    assert second.offset == pytest.approx(first.seconds)


def test_without_a_pause_halves_meet_where_it_is_most_quiet() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 8 * SAMPLE_RATE).astype(np.float32)
    samples[5 * SAMPLE_RATE : 5 * SAMPLE_RATE + 2400] *= 0.1
    halves = Window(0, samples, (Span(0, len(samples)),)).halves()
    assert halves is not None
    assert 5.0 <= halves[1].offset <= 5.15
    assert Window(0, samples[: SAMPLE_RATE // 2], (Span(0, SAMPLE_RATE // 2),)).halves() is None
    assert Window(0, samples[:100], ()).halves() is None


def test_a_window_that_never_stops_looping_is_halved_once() -> None:
    engine = HearingEngine(
        judge=lambda heard, temperature, found: replace(found, tokens=tuple(engine.tokenizer.encode(" the day" * 60)))
    )
    work = decoder(engine, temperature=(0.0,))
    decode(work, work.input(loud(14.0, (6.9, 7.1)), language="en"))
    assert len(engine.encoded) <= 12, "of each part its own length and the full one, and no part twice"


@pytest.mark.parametrize("first", [0.0, 0.4])
def test_a_sample_that_echoes_the_prompt_is_not_written_either(first: float) -> None:
    engine = FakeEngine()

    def says(temperature: float) -> Hypothesis:
        return engine.hypothesis("<|0.00|> water<|2.00|>", avg_logprob=-0.3 if temperature else -3.0)

    engine.script = [says] * 2
    work = decoder(engine, hotwords="water", temperature=(first, 0.6))
    (decoding,) = decode(work, work.input(window(3), language="en"))
    assert finish(work, decoding) == []

"""Whatever a model writes, the transcript's times are sound: the whole path behind engines that write at random."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from fakes import Heard, HearingEngine, LoudIsSpeech

import mtasr.decoding.longform
import mtasr.decoding.reader
import mtasr.decoding.window_input
import mtasr.decoding.windows
import mtasr.vad.silero
from mtasr.arrays import Float32Array
from mtasr.decoding.sample_buffer import SampleBuffer
from mtasr.engines.engine import Alignment, EngineLimits, Hypothesis, LanguageGuess
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import Model
from mtasr.transcript import Transcript

#: Seconds in the file.
Stretch = tuple[float, float]

_MILLISECOND = 1e-3


@dataclass
class Babbler(HearingEngine):
    """Writes anything: tokens in any order, timestamps that run backwards or past the end, loops, nothing."""

    seed: int = 0
    written: int = 0
    pause: float = 0.0
    chooser: random.Random = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.chooser = random.Random(self.seed)

    def detect_language(self, encoded: Heard) -> list[LanguageGuess]:
        sure = self.chooser.random()
        return sorted(
            (LanguageGuess(code, share) for code, share in (("en", sure), ("fr", 1 - sure))),
            key=lambda guess: -guess.probability,
        )

    def align(self, encoded: Heard, start: Sequence[int], text_tokens: Sequence[int], frames: int) -> Alignment:
        """A path that ascends, as all do, and else goes anywhere: it may skip tokens, or stay where it is."""
        steps, any_numbers = len(text_tokens) + self.chooser.randrange(40), np.random.default_rng(self.written)
        return Alignment(
            token_indices=np.sort(any_numbers.integers(0, len(text_tokens) + 1, steps)),
            frame_indices=np.sort(any_numbers.integers(0, max(1, frames // 2) + 1, steps)),
            token_probs=any_numbers.random(len(text_tokens)),
        )

    def _says(self, heard: Heard, prompt: Sequence[int]) -> Hypothesis:
        self.written += 1
        chooser = self.chooser
        return Hypothesis(
            tokens=tuple(self._tokens()),
            avg_logprob=chooser.choice([-0.2, -0.6, -chooser.uniform(0, 4), -math.inf]),
            no_speech_prob=chooser.choice([0.0, 1.0, chooser.random()]),
        )

    def _tokens(self) -> list[int]:
        """As many kinds of output as there are lines."""
        kinds = [self._nothing, self._anything, self._stamps, self._text, self._ordered, self._early, self._loop]
        return self.chooser.choice(kinds)()

    def _nothing(self) -> list[int]:
        return []

    def _anything(self) -> list[int]:
        return [self.chooser.choice([self._word, self._stamp])() for _ in range(self._length())]

    def _stamps(self) -> list[int]:
        return [self._stamp() for _ in range(self._length())]

    def _text(self) -> list[int]:
        return [self._word() for _ in range(self._length())]

    def _ordered(self) -> list[int]:
        """As a well-trained model writes, but for the times, which know nothing of the window's length."""
        stamps = sorted(self._stamp() for _ in range(2 * self.chooser.randrange(1, 9)))
        pairs = zip(stamps[::2], stamps[1::2], strict=True)
        return [token for start, end in pairs for token in (start, *self._few_words(), end)]

    def _early(self) -> list[int]:
        """Text that ends before the speech may do."""
        begin = self.tokenizer.timestamp_begin
        return [begin, *self._few_words(), begin + self.chooser.randrange(1, 100)]

    def _loop(self) -> list[int]:
        phrase = self._anything()[:12] or [self._word()]
        return [*self._few_words(), *phrase * self.chooser.randrange(2, 40)][:220]

    def _few_words(self) -> list[int]:
        return [self._word() for _ in range(self.chooser.randrange(9))]

    def _word(self) -> int:
        return self.chooser.randrange(self.tokenizer.eot)

    def _stamp(self) -> int:
        return self.tokenizer.timestamp_begin + self.chooser.randrange(1501)

    def _length(self) -> int:
        return self.chooser.choice([1, 2, 3, self.chooser.randrange(60), 220])


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[Stretch]:
    """The windows that a recording is decoded in; the other parts, of which nothing depends, are made fast."""
    seen: list[Stretch] = []
    cut, window = mtasr.decoding.reader.cut_windows, SampleBuffer.window

    def cut_and_tell(*args: Any, **options: Any) -> Iterator[mtasr.decoding.windows.Window]:
        for each in cut(*args, **options):
            seen.append((each.offset, each.offset + each.seconds))
            yield each

    def window_and_tell(self: SampleBuffer, start: int, length: int) -> Float32Array:
        samples = window(self, start, length)
        seen.append((start / SAMPLE_RATE, (start + len(samples)) / SAMPLE_RATE))
        return samples

    def no_features(samples: Float32Array, n_mels: int) -> Float32Array:
        return np.zeros((n_mels, len(samples) // 160), np.float32)

    monkeypatch.setattr(mtasr.decoding.reader, "cut_windows", cut_and_tell)
    monkeypatch.setattr(SampleBuffer, "window", window_and_tell)
    for module in (mtasr.decoding.window_input, mtasr.decoding.longform):
        monkeypatch.setattr(module, "log_mel", no_features)
    return seen


def recording(chooser: random.Random, utterances: int) -> Float32Array:
    """Sound and silence in turns, each of any length."""
    parts = []
    for _ in range(utterances):
        loud, quiet = chooser.choice([0.05, chooser.uniform(0.1, 4), chooser.uniform(4, 20)]), chooser.uniform(0, 3)
        parts += [np.full(round(loud * SAMPLE_RATE), 0.1, np.float32), np.zeros(round(quiet * SAMPLE_RATE), np.float32)]
    return np.concatenate(parts)


def any_options(chooser: random.Random, **given: Any) -> DecodingOptions:
    """Everything that changes how times come about."""
    return DecodingOptions(
        language=(language := chooser.choice(["en", "fr", None])),
        multilingual=language is None and chooser.random() < 0.5,
        word_timestamps=chooser.random() < 0.6,
        without_timestamps=chooser.random() < 0.1,
        vad_filter=chooser.random() < 0.8,
        also_translate=not given["condition_on_previous_text"] and chooser.random() < 0.2,
        n_best=chooser.choice([1, 1, 3]),
        prefix=chooser.choice([None, "people"]),
        temperature=chooser.choice([(0.0,), (0.0, 0.5), (0.5, 1.0)]),
        no_speech_threshold=chooser.choice([0.6, None]),
        logprob_threshold=chooser.choice([-1.0, None]),
        compression_ratio_threshold=chooser.choice([2.4, None]),
        hotwords=chooser.choice([None, "water"]),
        clip_timestamps=chooser.choice([(), (0.0, 0.9, 2.0, 9.5), (0.01, 3.0, 7.0)]),
        **given,
    )


def check(transcript: Transcript, windows: Sequence[Stretch], *, words: bool) -> None:
    before = 0.0
    for number, segment in enumerate(transcript.segments):
        assert segment.id == number
        assert segment.text.strip()
        assert before <= segment.start < segment.end <= transcript.duration + _MILLISECOND
        before = segment.end
        start, end = segment.start + _MILLISECOND, segment.end - _MILLISECOND
        assert any(first <= start and end <= last for first, last in windows), "in one window, so no longer than it"
        assert (segment.words is not None) == words
        at = segment.start
        for word in segment.words or ():
            assert at <= word.start < word.end <= segment.end
            at = word.end
    for name in OUTPUT_FORMATS:
        transcript.to_format(name, subtitle_style="raw")


@pytest.mark.parametrize("outputs", [500, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("previous_text", [False, True])
def test_whatever_is_written_no_cue_leaves_its_window_or_overlaps(
    windows: list[Stretch], outputs: int, previous_text: bool
) -> None:
    chooser, engine, cues = random.Random(outputs), Babbler(seed=outputs), 0
    while engine.written < outputs:
        engine.limits = EngineLimits(batch_size=chooser.choice([1, 4]))
        chosen = any_options(chooser, condition_on_previous_text=previous_text)
        windows.clear()
        transcript = Model(engine, detector=LoudIsSpeech).transcribe(
            recording(chooser, 3 if previous_text else 12), chosen
        )
        check(transcript, windows, words=chosen.word_timestamps)
        cues += len(transcript.segments)
    assert cues > outputs / 3, "enough of what was written has reached transcripts"

"""Words whose times stretch over speech without text do not hide that the text is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from fakes import HearingEngine, LoudIsSpeech

from mtasr.arrays import Float32Array, IntArray
from mtasr.decoding.checks import Checks
from mtasr.engines.engine import Alignment
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import Model


class Half(HearingEngine):
    """Writes what is said in the first 4 s of a window, and aligns its words to all of it."""

    def generate(self, encoded, prompts, options, temperature):  # type: ignore[no-untyped-def]
        begin = self.tokenizer.timestamp_begin
        tokens = (begin, *self.tokenizer.encode(" people number day water"), begin + 200)
        found = super().generate(encoded, prompts, options, temperature)
        return [replace(each, tokens=tokens) for each in found]

    def align(self, encoded, start, text_tokens, frames):  # type: ignore[no-untyped-def]
        count = len(text_tokens)
        steps: IntArray = np.arange(count + 1)
        times = steps * (frames // 2) // count
        return Alignment(token_indices=steps, frame_indices=times, token_probs=np.full(count, 0.5))


def test_coverage_is_the_same_with_and_without_word_times() -> None:
    rng = np.random.default_rng(0)
    sound: Float32Array = rng.normal(0, 0.1, 11 * SAMPLE_RATE).astype(np.float32)
    model = Model(Half(), detector=LoudIsSpeech)
    checks = Checks(thin=0.0, lost=100.0)  # what is lost stays lost
    plain = model.transcribe(sound, language="en", checks=checks)
    timed = model.transcribe(sound, language="en", checks=checks, word_timestamps=True)
    assert plain.segments[0].end == 4
    assert timed.segments[0].end > 10
    (lost,) = plain.coverage.speech_without_text if plain.coverage else ()
    assert lost[0] == 4.3
    assert timed.coverage == plain.coverage

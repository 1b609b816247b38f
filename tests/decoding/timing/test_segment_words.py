"""Times of words from the path of an alignment."""

from __future__ import annotations

from fakes import FakeEngine

from mtasr.decoding.timing.words import find_word_times
from mtasr.options import DecodingOptions


def test_a_word_begins_a_frame_after_the_path_reaches_it() -> None:
    engine = FakeEngine()
    tokens = engine.tokenizer.encoding.encode(" the water people")
    assert len(tokens) == 3
    (words,) = find_word_times(engine, 0, [tokens], language="en", options=DecodingOptions(), frames=100)
    # The fake says that tokens begin every 0.2 s; before the first one there is only the window.
    assert [(word.word, round(word.start, 2), round(word.end, 2)) for word in words] == [
        (" the", 0.0, 0.22),
        (" water", 0.22, 0.42),
        (" people", 0.42, 0.62),
    ]


def test_no_word_ends_after_the_sound() -> None:
    engine = FakeEngine()
    tokens = engine.tokenizer.encoding.encode(" the water people")
    (words,) = find_word_times(engine, 0, [tokens], language="en", options=DecodingOptions(), frames=61)
    assert words[-1].end == 0.6

"""Words of speech without pauses: one that is squeezed in the alignment does not cost the others their times."""

from __future__ import annotations

import difflib
import itertools

import numpy as np
import pytest
from speech import speak_words

from mtasr import load_model
from mtasr.transcript import Word

pytestmark = [pytest.mark.weights, pytest.mark.slow]

#: Words to read, and what is written for them where that differs.
JAPANESE = (
    "ちいさな|小さな まち|町 の いちば|市場 に わ|は あたらしい|新しい さかな|魚 が たくさん ならんで|並んで いた ので "
    "わたし|私 と いもうと|妹 わ|は みせ|店 の ひと|人 の はなし|話 お|を ききながら|聞きながら うみ|海 の "
    "ちかく|近く の ホテル まで ゆっくり あるいて|歩いて かえりました|帰りました"
)


@pytest.mark.parametrize("rate", [150, 200])
def test_japanese_words_begin_when_they_are_spoken(rate: int) -> None:
    spoken, written = zip(*((item.split("|") * 2)[:2] for item in JAPANESE.split()), strict=True)
    samples, words = speak_words(" ".join(spoken), "ja", words_per_minute=rate)
    assert len(words) == len(written)
    found = [
        character
        for segment in load_model("base").transcribe(samples, language="ja", word_timestamps=True)
        for word in segment.words or ()
        for character in characters(word)
    ]
    places = list(itertools.accumulate(map(len, written), initial=0))
    matcher = difflib.SequenceMatcher(None, "".join(written), "".join(text for text, _ in found), autojunk=False)
    same = {block.a + i: block.b + i for block in matcher.get_matching_blocks() for i in range(block.size)}
    apart = [
        abs(found[same[place]][1] - word.start) for place, word in zip(places, words, strict=False) if place in same
    ]
    assert len(apart) >= 0.6 * len(words)
    assert np.median(apart) <= 0.08
    assert np.quantile(apart, 0.9) <= 0.25


def characters(word: Word) -> list[tuple[str, float]]:
    """Those of a word with the times at which they begin, if they take equally long."""
    text = word.word.strip()
    return [(each, word.start + (word.end - word.start) * place / len(text)) for place, each in enumerate(text)]

"""Words of speech without pauses: one that is squeezed in the alignment did not leave the others their times."""

from __future__ import annotations

import difflib
import re

import numpy as np
import pytest
from speech import speak_words

from mtasr import load_model

pytestmark = [pytest.mark.weights, pytest.mark.slow]

SENTENCES = {
    "en-us": (
        "en",
        "The captain of the small white ferry told us that he had crossed the bay every single morning for thirty "
        "years and that a day without the sea was a day that he would rather spend in his bed",
    ),
    "es": (
        "es",
        "Mi abuelo construyó la casa de la montaña con la ayuda de un burro muy paciente y en verano a toda la familia "
        "le gusta cenar en el jardín a la luz de las estrellas y hablar de la vida hasta la madrugada",
    ),
    "fr": (
        "fr",
        "Le samedi ma grand-mère va à la place du village et elle achète du pain à la boulangerie avant de boire un "
        "café à la terrasse et de parler de la pluie et du beau temps avec la femme du maire",
    ),
}


@pytest.mark.parametrize("voice", SENTENCES)
@pytest.mark.parametrize("rate", [160, 190])
def test_words_begin_when_they_are_spoken(voice: str, rate: int) -> None:
    language, text = SENTENCES[voice]
    samples, words = speak_words(text, voice, words_per_minute=rate)
    spoken = [(re.match(r"\w+", text[word.place :].lower())[0], word.start) for word in words]  # type: ignore[index]
    found = [
        (re.sub(r"\W", "", word.word.lower()), word.start)
        for segment in load_model("base").transcribe(samples, language=language, word_timestamps=True)
        for word in segment.words or ()
    ]
    matcher = difflib.SequenceMatcher(None, [word for word, _ in spoken], [word for word, _ in found], autojunk=False)
    pairs = [(block.a + i, block.b + i) for block in matcher.get_matching_blocks() for i in range(block.size)]
    apart = [abs(spoken[here][1] - found[there][1]) for here, there in pairs]
    assert len(apart) >= 0.6 * len(spoken)
    assert np.median(apart) <= 0.08
    assert np.quantile(apart, 0.9) <= 0.25

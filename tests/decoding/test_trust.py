"""With the base model: what is said ten times is written ten times, and nothing is made up where nobody speaks."""

from __future__ import annotations

import itertools
import random
import re

import numpy as np
import pytest
from speech import speak

import mtasr
from mtasr.arrays import Float32Array
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import Model

pytestmark = [pytest.mark.weights, pytest.mark.slow]

#: The prompt's tokens are counted; of its room (223) some are less, as many, and far more.
PROMPT_TOKENS = [30, 223, 1000]


@pytest.fixture(scope="module")
def model() -> Model:
    return mtasr.load_model("base", device="cpu", threads=2)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def silence(seconds: float) -> Float32Array:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def noise(kind: str, seconds: float, level: float) -> Float32Array:
    """`level` is the root mean square."""
    rng, count = np.random.default_rng(len(kind)), round(seconds * SAMPLE_RATE)
    if kind == "hum":
        at = np.arange(count) / SAMPLE_RATE
        made = np.sum([np.sin(2 * np.pi * 50 * times * at) / times for times in range(1, 6)], axis=0)
    else:
        slope = {"white": 0.0, "pink": 0.5, "brown": 1.0}[kind]
        spectrum = np.fft.rfft(rng.normal(size=count)) / np.maximum(1, np.arange(count // 2 + 1)) ** slope
        made = np.fft.irfft(spectrum, count)
    return (made * level / np.sqrt(np.mean(made**2))).astype(np.float32)


def longest_run(spoken: list[str]) -> int:
    """How often in a row the same words come, one word or several."""
    longest = 1
    for size in range(1, len(spoken) // 2 + 1):
        same = [spoken[at] == spoken[at - size] for at in range(size, len(spoken))]
        runs = [len(list(group)) for value, group in itertools.groupby(same) if value]
        longest = max([longest, *(run // size + 1 for run in runs)])
    return longest


def test_runs_are_counted() -> None:
    texts = {"": 1, "a b c": 1, "x a a a a y": 4, "a b a b a b a": 3, "a b c a b": 1}
    assert {text: longest_run(text.split()) for text in texts} == texts


SENTENCES = ["Please bring the blue chairs into the office.", "The library opens every Saturday morning."]


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize("pause", [0.2, 0.5, 1.0])
def test_a_sentence_said_ten_times_is_written_ten_times(model: Model, sentence: str, pause: float) -> None:
    said = speak(sentence)
    transcript = model.transcribe(np.concatenate([said, silence(pause)] * 10), language="en")
    heard = words(model.transcribe(said, language="en").text)
    assert len(set(heard) & set(words(sentence))) >= 5, "the model understands this voice"
    last = words(sentence)[-1]
    assert words(transcript.text).count(last) == 10, transcript.text


@pytest.mark.parametrize("kind", ["white", "brown", "hum"])
@pytest.mark.parametrize("level", [0.003, 0.03])
def test_noise_and_speech_in_turns_give_no_loop(model: Model, kind: str, level: float) -> None:
    spoken = [
        "Somebody left an umbrella in the garden.",
        "The morning train was late again.",
        "He forgot his passport.",
    ]
    parts = [each for text in spoken for each in (noise(kind, 9.0, level), speak(text))]
    recording = np.concatenate([*parts, noise(kind, 31.0, level)])
    text = model.transcribe(recording, language="en").text
    assert {"garden", "train", "passport"} <= set(words(text)), text
    assert longest_run(words(text)) < 4, text


def unusual(model: Model, tokens: int) -> tuple[str, set[str]]:
    """A text of so many tokens in words that do not exist, and the words."""
    rng, tokenizer, made = random.Random(tokens), model.engine.tokenizer, list[str]()
    while len(tokenizer.encode(f" {' '.join(made)}")) < tokens:
        made.append("".join(rng.choice("bdfgklmnprstvwxz") + rng.choice("aeiouy") for _ in range(4)))
    return " ".join(made), set(made)


@pytest.mark.parametrize("tokens", PROMPT_TOKENS)
@pytest.mark.parametrize("option", ["initial_prompt", "hotwords"])
@pytest.mark.parametrize("way", [{}, {"vad_filter": False}, {"condition_on_previous_text": True}], ids=str)
def test_a_prompt_is_never_written_where_nobody_speaks(
    model: Model, tokens: int, option: str, way: dict[str, bool]
) -> None:
    prompt, invented = unusual(model, tokens)
    for kind, level in (("white", 0.05), ("hum", 0.1)):
        text = model.transcribe(noise(kind, 6.0, level), language="en", **{option: prompt}, **way).text
        assert not invented & set(words(text)), (kind, text)

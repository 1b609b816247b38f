"""Figures against the libraries that define them, and a report that a browser would show whole."""

from __future__ import annotations

import contextlib
import io
import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jiwer
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from mtasr.engines.engine import LanguageGuess
from mtasr.errors import AudioDecodeError
from mtasr.evaluation import Clip, Evaluation, evaluate, write_page
from mtasr.evaluation.scores import align, normalise, rate, share, word_errors
from mtasr.options import DecodingOptions
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcript import Segment, Transcript


def segment(text: str) -> Segment:
    return Segment(
        id=0, start=0.0, end=1.0, text=text, tokens=(), avg_logprob=0.0, compression_ratio=1.0, no_speech_prob=0.0,
        temperature=0.0,
    )  # fmt: skip


@dataclass
class Model:
    """Says of a recording what `said` has by its name and task."""

    said: dict[tuple[str, str], str]
    spoken: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str | None, str, int]] = field(default_factory=list)
    engine: Any = field(default_factory=lambda: SimpleNamespace(tokenizer=SimpleNamespace(is_multilingual=True)))

    @contextlib.contextmanager
    def stream_all(
        self, sources: Sequence[Path], options: DecodingOptions, *, diarize: bool | SpeakerOptions
    ) -> Iterator[list[Stream]]:
        assert diarize is False
        self.calls.append((options.language, options.task, len(sources)))
        yield [Stream(self.said.get((source.name, options.task))) for source in sources]

    def detect_language(self, source: Path, languages: object = None) -> list[LanguageGuess]:
        return [LanguageGuess(self.spoken[source.name], 0.9)]


@dataclass
class Stream(contextlib.AbstractContextManager["Stream"]):
    text: str | None

    def __exit__(self, *error: object) -> None:
        pass

    def transcript(self) -> Transcript:
        if self.text is None:
            raise AudioDecodeError("broken.wav: noise")
        parts = tuple(segment(f" {part}") for part in self.text.split("|"))
        return Transcript(language="en", language_probability=1.0, duration=2.0, segments=parts)


def clip(name: str, **known: str) -> Clip:
    return Clip(audio=Path("recordings") / name, **known)


CLIPS = [
    clip("a.wav", text="We're at the harbour, aren't we?", language="en"),
    clip("b.wav", text="Twenty-five boats came home.", language="en"),
    clip("c.wav", text="Où est-il allé ?", translation="Where did he go?", language="fr"),
    clip("d.wav", text="La mer était calme ce matin", translation="The sea was calm this morning", language="fr"),
]
MODEL = Model(
    {
        ("a.wav", "transcribe"): "we are at the harbor|are we?",
        ("b.wav", "transcribe"): "25 boats came back home.",
        ("c.wav", "transcribe"): "Ou est il alle",
        ("d.wav", "transcribe"): "La mère était calme|ce <matin> & demain",
        ("c.wav", "translate"): "Where has he gone?",
        ("d.wav", "translate"): "The sea was calm this morning.",
    },
    {"a.wav": "en", "b.wav": "en", "c.wav": "fr", "d.wav": "it"},
)


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return evaluate(MODEL, CLIPS, DecodingOptions())  # type: ignore[arg-type]


def test_error_rates_are_those_of_jiwer_on_normalised_texts(found: Evaluation) -> None:
    english, basic = EnglishTextNormalizer(), BasicTextNormalizer(remove_diacritics=True)
    wanted = [(english if each.language == "en" else basic)(each.text or "") for each in CLIPS]
    heard = [
        (english if each.language == "en" else basic)(MODEL.said[each.audio.name, "transcribe"].replace("|", " "))
        for each in CLIPS
    ]
    assert found.total.wer is not None
    assert found.total.wer.value == pytest.approx(jiwer.wer(wanted, heard), abs=1e-12)
    assert found.total.cer is not None
    assert found.total.cer.value == pytest.approx(jiwer.cer(wanted, heard), abs=1e-12)
    for code, part in (("en", slice(0, 2)), ("fr", slice(2, 4))):
        figure = found.languages[code].wer
        assert figure is not None
        assert figure.value == pytest.approx(jiwer.wer(wanted[part], heard[part]), abs=1e-12)
    assert 0 < found.total.wer.value < 1


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Él cantó, ¡sí!", "es", "el canto si "),
        ("Ёлка. Мой край", "ru", "елка мои краи"),
        ("がっこう、かぎ。", "ja", "がっこう かぎ "),
        ("한국어", "ko", "한국어"),
        ("किताब की क़ीमत", "hi", "किताब की क़ीमत"),
        ("น้ำ", "th", "น้ํา"),
        ("Ma, má, mà, mả, mã, mạ: Đường đi!", "vi", "ma má mà mả mã mạ đường đi "),
        (unicodedata.normalize("NFD", "Tiếng Việt"), "vi", "tiếng việt"),
        ("Ọjọ́ dára.", "yo", "ọjọ́ dára "),
    ],
)
def test_marks_that_make_another_letter_stay(text: str, language: str, expected: str) -> None:
    assert normalise(text, language) == unicodedata.normalize("NFKC", expected)


def test_translations_are_scored_by_sacrebleu(found: Evaluation) -> None:
    references = [each.translation for each in CLIPS if each.translation]
    heard = ["Where has he gone?", "The sea was calm this morning."]
    french = found.languages["fr"]
    assert french.bleu is not None
    assert french.chrf is not None
    assert french.bleu.value == sacrebleu.corpus_bleu(heard, [references], lowercase=True).score > 10
    assert french.chrf.value == sacrebleu.corpus_chrf(heard, [references]).score
    assert found.languages["en"].bleu is None


def test_languages_and_speed(found: Evaluation) -> None:
    assert found.total.language_accuracy is not None
    assert found.total.language_accuracy.value == 0.75
    assert found.total.audio == 8.0
    assert found.total.real_time_factor is not None
    assert 0 < found.total.real_time_factor < 1
    # A call for each language and task: the clips of one language are decoded together.
    assert MODEL.calls == [("en", "transcribe", 2), ("fr", "transcribe", 2), ("fr", "translate", 2)]


@pytest.mark.parametrize("measure", ["transcription", "translation", "language"])
def test_only_what_is_asked_for(measure: Any) -> None:
    total = evaluate(MODEL, CLIPS, DecodingOptions(), [measure]).total  # type: ignore[arg-type]
    assert (total.wer is not None) == (measure == "transcription")
    assert (total.bleu is not None) == (measure == "translation")
    assert (total.language_accuracy is not None) == (measure == "language")


def test_a_broken_recording_counts_for_nothing(found: Evaluation) -> None:
    bad = clip("broken.wav", text="not readable", language="en")
    more = evaluate(MODEL, [*CLIPS, bad], DecodingOptions(), ["transcription"])  # type: ignore[arg-type]
    assert more.total.wer == found.total.wer
    assert [str(error) for error in more.results[-1].failures] == ["broken.wav: noise"]


words = st.lists(st.sampled_from(["one", "two", "three", "four", "five"]), max_size=8).map(" ".join)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=8))
def test_alignments_spell_both_texts(pairs: list[tuple[str, str]]) -> None:
    errors = [word_errors(wanted, heard) for wanted, heard in pairs]
    for (wanted, heard), each in zip(pairs, errors, strict=True):
        steps = align(wanted, heard)
        assert " ".join(filter(None, (step.reference for step in steps))) == wanted
        assert " ".join(filter(None, (step.hypothesis for step in steps))) == heard
        assert (each.errors == 0) == (wanted == heard)
        assert each.length == len(wanted.split())
    figure = rate(errors)
    if figure is None:
        assert not any(wanted for wanted, _ in pairs)
    else:
        assert figure.value == pytest.approx(jiwer.wer([a for a, _ in pairs], [b for _, b in pairs]))
        assert figure.low <= figure.high


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_intervals_hold_the_value_and_narrow_with_agreement(right: list[bool]) -> None:
    figure = share(right)
    assert figure is not None
    assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert (figure.low == figure.high) == (len(set(right)) == 1) or len(right) == 1
    assert figure == share(right)


def test_an_interval_is_as_wide_as_statistics_say() -> None:
    figure = share([True] * 300 + [False] * 100)
    assert figure is not None
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * (0.75 * 0.25 / 400) ** 0.5, rel=0.1)


def test_worst_clips_first(found: Evaluation) -> None:
    errors = [result.words.errors for result in found.worst(10) if result.words]
    assert errors == sorted(errors, reverse=True)
    assert all(errors)
    assert len(found.worst(1)) == 1
    assert found.worst(0) == []


def test_json(found: Evaluation) -> None:
    back = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert found.total.wer is not None
    assert back["total"]["wer"] == found.total.wer.value
    assert back["total"]["wer_interval"] == [found.total.wer.low, found.total.wer.high]
    assert set(back["languages"]) == {"en", "fr"}
    assert [each["audio"] for each in back["clips"]] == [str(each.audio) for each in CLIPS]
    assert back["clips"][3]["detected_language"] == "it"
    wrong, total = (sum(each[name] for each in back["clips"]) for name in ("word_errors", "words"))
    assert wrong / total == found.total.wer.value


class Page(HTMLParser):
    """Notes what a browser would fetch, whether elements are closed in order, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_fetches_nothing(found: Evaluation) -> None:
    stream = io.StringIO()
    write_page(found, "a <b> & c", stream)
    page = Page()
    page.feed(stream.getvalue())
    assert page.open == []
    assert page.fetched == []
    assert {"table", "svg", "rect", "circle", "del", "ins"} <= page.tags
    assert "a <b> & c" in page.text
    assert "matin demain" in page.text or "demain" in page.text
    assert found.total.wer is not None
    assert f"{found.total.wer.value:.1%}".replace("%", " %") in page.text

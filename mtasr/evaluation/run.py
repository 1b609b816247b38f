"""Running a model over clips and comparing its texts with the references."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from mtasr.edit_distance import ErrorCount
from mtasr.errors import MtasrError
from mtasr.evaluation import scores
from mtasr.evaluation.manifest import Clip
from mtasr.evaluation.scores import Figure, Scores, Step, normalise

if TYPE_CHECKING:
    from mtasr.options import DecodingOptions
    from mtasr.transcribe import Model
    from mtasr.transcript import Transcript

#: "transcription" gives WER and CER, "translation" BLEU and chrF, "language" the accuracy of language detection.
Measure = Literal["transcription", "translation", "language"]


@dataclass(slots=True, kw_only=True)
class Result:
    """The outputs of a model for a clip; None if not requested or failed."""

    clip: Clip
    #: Seconds.
    audio: float = 0.0
    text: str | None = None
    translation: str | None = None
    language: str | None = None
    words: ErrorCount | None = None
    characters: ErrorCount | None = None
    #: The text beside the reference, both normalised.
    steps: tuple[Step, ...] = ()
    failures: list[MtasrError] = field(default_factory=list)

    @property
    def has_failed(self) -> bool:
        """Whether there are errors and no output."""
        return bool(self.failures) and self.text is None and self.translation is None and self.language is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Figures for each language and in total, and the results they come from."""

    total: Scores
    languages: dict[str, Scores]
    results: tuple[Result, ...]

    def worst(self, count: int) -> list[Result]:
        """The clips with the most word errors; of clips with equally many, the one with the fewest words first."""
        wrong = [(result.words, result) for result in self.results if result.words is not None and result.words.errors]
        ordered = sorted(wrong, key=lambda each: (each[0].errors, -each[0].length))
        return [result for _, result in ordered[::-1][:count]]

    def to_json(self) -> dict[str, Any]:
        """The evaluation as JSON values."""
        return {
            "total": _plain(self.total),
            "languages": {code: _plain(each) for code, each in self.languages.items()},
            "clips": [_row(result) for result in self.results],
        }


def evaluate(
    model: Model,
    clips: Sequence[Clip],
    options: DecodingOptions,
    measures: Sequence[Measure] = ("transcription", "translation", "language"),
    *,
    done: Callable[[Clip], None] = lambda clip: None,
) -> Evaluation:
    """Transcribe, translate and detect the language of the clips that have a reference for it.

    A clip is transcribed in its own language, which the model detects if the manifest does not name it. A clip that
    cannot be read has its error in `failures` and does not count. `done` is called after each clip of each measure.
    """
    scores.require_libraries()
    results = [Result(clip=clip) for clip in clips]
    took: dict[str, float] = {}
    if "transcription" in measures:
        chosen = [result for result in results if result.clip.text is not None]
        for result, transcript in _recognised(model, chosen, replace(options, task="transcribe"), took, done):
            result.text, result.audio = _text(transcript), transcript.duration
        _align(results)
    if "translation" in measures:
        chosen = [result for result in results if result.clip.translation is not None]
        for result, transcript in _recognised(model, chosen, replace(options, task="translate"), {}, done):
            result.translation, result.audio = _text(transcript), transcript.duration
    if "language" in measures and model.engine.tokenizer.is_multilingual:
        for result in results:
            if result.clip.language is not None:
                _judge(model, result, options)
                done(result.clip)
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.clip.language or "", []).append(result)
    return Evaluation(
        total=_scores(results, sum(took.values())),
        languages={code or "?": _scores(groups[code], took.get(code, 0.0)) for code in sorted(groups)},
        results=tuple(results),
    )


def _in(options: DecodingOptions, code: str | None) -> DecodingOptions:
    return replace(options, language=code, multilingual=options.multilingual and code is None)


def _recognised(
    model: Model,
    results: Sequence[Result],
    options: DecodingOptions,
    took: dict[str, float],
    done: Callable[[Clip], None],
) -> Iterator[tuple[Result, Transcript]]:
    """Decode the clips of one language together; `took` receives the seconds for each language."""
    for code in dict.fromkeys(result.clip.language for result in results):
        own = [result for result in results if result.clip.language == code]
        began = time.perf_counter()
        with model.stream_all([result.clip.audio for result in own], _in(options, code)) as streams:
            for result, stream in zip(own, streams, strict=True):
                try:
                    with stream:
                        yield result, stream.transcript()
                except MtasrError as error:
                    result.failures.append(error)
                done(result.clip)
        took[code or ""] = time.perf_counter() - began


def _text(transcript: Transcript) -> str:
    return " ".join(segment.text.strip() for segment in transcript)


def _judge(model: Model, result: Result, options: DecodingOptions) -> None:
    try:
        guesses = model.detect_language(result.clip.audio, options.languages)
    except MtasrError as error:
        result.failures.append(error)
        return
    result.language = guesses[0].code if guesses else "en"


def _align(results: Sequence[Result]) -> None:
    for result in results:
        if result.text is not None:
            language = result.clip.language
            wanted, found = (normalise(text or "", language) for text in (result.clip.text, result.text))
            result.words = scores.word_errors(wanted, found)
            result.characters = scores.character_errors(wanted, found, language)
            result.steps = scores.align(wanted, found)


def _scores(results: Sequence[Result], took: float) -> Scores:
    words = [result.words for result in results if result.words is not None]
    characters = [result.characters for result in results if result.characters is not None]
    translated = [result for result in results if result.translation is not None]
    references = [result.clip.translation or "" for result in translated]
    translations = [result.translation or "" for result in translated]
    judged = [result.language == result.clip.language for result in results if result.language is not None]
    timed = sum(result.audio for result in results if result.text is not None)
    return Scores(
        clips=sum(not result.has_failed for result in results),
        audio=sum(result.audio for result in results),
        wer=scores.rate(words),
        cer=scores.rate(characters),
        bleu=scores.bleu(references, translations),
        chrf=scores.chrf(references, translations),
        language_accuracy=scores.share(judged),
        real_time_factor=took / timed if timed else None,
    )


def _plain(each: Scores) -> dict[str, Any]:
    """Each figure as its value and a pair `..._interval`."""
    plain: dict[str, Any] = {"clips": each.clips, "audio": round(each.audio, 3)}
    for name in ("wer", "cer", "bleu", "chrf", "language_accuracy"):
        figure: Figure | None = getattr(each, name)
        if figure is not None:
            plain[name] = figure.value
            plain[f"{name}_interval"] = [figure.low, figure.high]
    if each.real_time_factor is not None:
        plain["real_time_factor"] = each.real_time_factor
    return plain


def _row(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {"audio": str(result.clip.audio), "language": result.clip.language}
    given = {
        "reference": result.clip.text,
        "text": result.text,
        "reference_translation": result.clip.translation,
        "translation": result.translation,
        "detected_language": result.language,
    }
    row |= {name: value for name, value in given.items() if value is not None}
    if result.words is not None:
        row |= {"words": result.words.length, "word_errors": result.words.errors}
    if result.characters is not None:
        row |= {"characters": result.characters.length, "character_errors": result.characters.errors}
    if result.failures:
        row["errors"] = [str(error) for error in result.failures]
    return row

"""Running a model over clips and comparing its texts with the references."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from mtasr.errors import MtasrError, UsageError
from mtasr.evaluation import scores
from mtasr.evaluation.diarization import diarization_errors
from mtasr.evaluation.manifest import Clip
from mtasr.evaluation.results import Evaluation, Result, summed_up
from mtasr.evaluation.scores import normalise
from mtasr.speakers.diarize import diarize, load_diarizer
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcript import Transcript

if TYPE_CHECKING:
    from mtasr.options import DecodingOptions
    from mtasr.speakers.voices import Diarizes
    from mtasr.transcribe import Model

#: "transcription" gives WER and CER, "translation" BLEU and chrF, "language" the accuracy of language detection,
#: "speakers" the errors of diarization and cpWER.
Measure = Literal["transcription", "translation", "language", "speakers"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


def evaluate(
    model: Model | None,
    clips: Sequence[Clip],
    options: DecodingOptions,
    measures: Sequence[Measure] = MEASURES,
    *,
    speakers: SpeakerOptions | None = None,
    collar: float = 0.0,
    diarizer: Callable[[], Diarizes] = load_diarizer,
    done: Callable[[Clip], None] = lambda clip: None,
) -> Evaluation:
    """Transcribe, translate, tell speakers apart and detect the language of the clips that have a reference for it.

    A clip is transcribed in its own language, which the model detects if the manifest does not name it. A clip that
    cannot be read has its error in `failures` and does not count. `speakers` are told apart in clips whose manifest
    says who speaks; `collar` is that of `diarization_errors`. `done` is called after each clip of each measure.

    `model` may be None unless `needs_model`. `diarizer` loads what tells speakers apart in clips without a text. Raises
    `UsageError` for a collar that is no number of seconds, and `ModelError` if speakers cannot be told apart.
    """
    scores.require_libraries()
    if not 0 <= collar < math.inf:
        raise UsageError(f"collar must be a number of seconds, not {collar}")
    results = [Result(clip=clip) for clip in clips]
    speakers, took = speakers or SpeakerOptions(), dict[str, float]()
    heard = [result for result in results if _is_heard_only(result.clip, measures)]
    if heard:
        _tell_apart(diarizer(), heard, speakers, took, done)
    if model is not None:
        _transcribe(model, results, options, measures, speakers, took, done)
        if "translation" in measures:
            _translate(model, results, options, done)
        if "language" in measures and model.engine.tokenizer.is_multilingual:
            _detect_languages(model, results, options, done)
    if "transcription" in measures:
        _align(results)
    if "speakers" in measures:
        _compare_speakers(results, collar)
    return summed_up(results, took)


def needs_model(clips: Sequence[Clip], measures: Sequence[Measure]) -> bool:
    """Whether these measures need text or language, and not only who speaks when."""
    return bool({"translation", "language"} & set(measures)) or any(_has_words(clip, measures) for clip in clips)


def _has_words(clip: Clip, measures: Sequence[Measure]) -> bool:
    """Whether the clip is to be transcribed."""
    of_all, of_each = "transcription" in measures, "speakers" in measures
    return (of_all and clip.text is not None) or (of_each and clip.speaker_texts is not None)


def _has_speakers(clip: Clip, measures: Sequence[Measure]) -> bool:
    """Whether its speakers are to be told apart."""
    return "speakers" in measures and (clip.turns is not None or clip.speaker_texts is not None)


def _is_heard_only(clip: Clip, measures: Sequence[Measure]) -> bool:
    """Whether its speakers are to be told apart, and nothing else of it is needed."""
    return _has_speakers(clip, measures) and not _has_words(clip, measures)


def _transcribe(
    model: Model,
    results: Sequence[Result],
    options: DecodingOptions,
    measures: Sequence[Measure],
    speakers: SpeakerOptions,
    took: dict[str, float],
    done: Callable[[Clip], None],
) -> None:
    """Find the text of clips, and who says it where the manifest has speakers."""
    spoken = [result for result in results if _has_words(result.clip, measures)]
    for how in (None, speakers):
        chosen = [result for result in spoken if _has_speakers(result.clip, measures) == (how is not None)]
        for result, transcript in _recognised(model, chosen, replace(options, task="transcribe"), took, done, how):
            result.text, result.audio, result.turns = _text(transcript), transcript.duration, transcript.turns
            result.speaker_texts = _by_speaker(transcript)


def _translate(model: Model, results: Sequence[Result], options: DecodingOptions, done: Callable[[Clip], None]) -> None:
    chosen = [result for result in results if result.clip.translation is not None]
    for result, transcript in _recognised(model, chosen, replace(options, task="translate"), {}, done):
        result.translation, result.audio = _text(transcript), transcript.duration


def _detect_languages(
    model: Model, results: Sequence[Result], options: DecodingOptions, done: Callable[[Clip], None]
) -> None:
    for result in results:
        if result.clip.language is not None:
            _judge(model, result, options)
            done(result.clip)


def _in(options: DecodingOptions, code: str | None) -> DecodingOptions:
    return replace(options, language=code, multilingual=options.multilingual and code is None)


def _recognised(
    model: Model,
    results: Sequence[Result],
    options: DecodingOptions,
    took: dict[str, float],
    done: Callable[[Clip], None],
    speakers: SpeakerOptions | None = None,
) -> Iterator[tuple[Result, Transcript]]:
    """Decode the clips of one language together; `took` receives the seconds for each language."""
    for code in dict.fromkeys(result.clip.language for result in results):
        own = [result for result in results if result.clip.language == code]
        began = time.perf_counter()
        sources = [result.clip.audio for result in own]
        with model.stream_all(sources, _in(options, code), diarize=speakers or False) as streams:
            for result, stream in zip(own, streams, strict=True):
                try:
                    with stream:
                        yield result, stream.transcript()
                except MtasrError as error:
                    result.failures.append(error)
                done(result.clip)
        took[code or ""] = took.get(code or "", 0.0) + time.perf_counter() - began


def _tell_apart(
    diarizer: Diarizes,
    results: Sequence[Result],
    options: SpeakerOptions,
    took: dict[str, float],
    done: Callable[[Clip], None],
) -> None:
    """Find who speaks when, without text."""
    for result in results:
        began = time.perf_counter()
        try:
            found = diarize(result.clip.audio, options, diarizer=diarizer)
            result.turns, result.audio = found.turns, found.duration
        except MtasrError as error:
            result.failures.append(error)
        code = result.clip.language or ""
        took[code] = took.get(code, 0.0) + time.perf_counter() - began
        done(result.clip)


def _text(transcript: Transcript) -> str:
    return " ".join(segment.text.strip() for segment in transcript)


def _by_speaker(transcript: Transcript) -> tuple[str, ...]:
    """What each speaker says."""
    texts: dict[str | None, list[str]] = {}
    for segment in transcript:
        texts.setdefault(segment.speaker, []).append(segment.text.strip())
    return tuple(map(" ".join, texts.values()))


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


def _compare_speakers(results: Sequence[Result], collar: float) -> None:
    for result in results:
        clip = result.clip
        if result.turns is not None and clip.turns is not None:
            result.diarization = diarization_errors(clip.turns, result.turns, collar=collar)
        if result.speaker_texts is not None and clip.speaker_texts is not None:
            wanted, found = (
                [normalise(text, clip.language) for text in texts]
                for texts in (clip.speaker_texts, result.speaker_texts)
            )
            result.speaker_words = scores.speaker_word_errors(wanted, found)

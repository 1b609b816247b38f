"""What a model gave for each clip, and the figures that come of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mtasr.edit_distance import ErrorCount
from mtasr.errors import MtasrError
from mtasr.evaluation import scores
from mtasr.evaluation.diarization import DiarizationErrors
from mtasr.evaluation.manifest import Clip
from mtasr.evaluation.scores import Figure, Scores, Step
from mtasr.transcript import Turn

#: Stands for the language of clips of which the manifest does not name it.
_UNKNOWN = "?"


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
    #: Who speaks when, what each of them says, and how much of both is wrong.
    turns: tuple[Turn, ...] | None = None
    speaker_texts: tuple[str, ...] | None = None
    diarization: DiarizationErrors | None = None
    speaker_words: ErrorCount | None = None
    failures: list[MtasrError] = field(default_factory=list)

    @property
    def has_failed(self) -> bool:
        """Whether there are errors and no output."""
        outputs = (self.text, self.translation, self.language, self.turns)
        return bool(self.failures) and all(output is None for output in outputs)

    @property
    def speaker_counts(self) -> tuple[int, int] | None:
        """How many speakers there are, and how many were found."""
        if self.diarization is not None:
            return self.diarization.speakers, self.diarization.found
        if self.turns is None or self.clip.speaker_texts is None:
            return None
        return len(self.clip.speaker_texts), len({turn.speaker for turn in self.turns})

    @property
    def speaker_rates(self) -> tuple[float | None, ...]:
        """DER, missed speech, false alarms, confusion, JER and cpWER; None where the manifest has nobody speak."""
        errors, words = self.diarization or DiarizationErrors(), self.speaker_words or ErrorCount()
        seconds = (errors.seconds, errors.missed, errors.false_alarm, errors.confusion)
        rates = [each / errors.speech if errors.speech else None for each in seconds]
        return (*rates, errors.jer, words.rate if words.length else None)

    @property
    def speaker_errors(self) -> tuple[float, int, int]:
        """Seconds and words that are another speaker's, missing or too many, and by how many the number is wrong."""
        there, found = self.speaker_counts or (0, 0)
        seconds = self.diarization.seconds if self.diarization is not None else 0.0
        return seconds, self.speaker_words.errors if self.speaker_words is not None else 0, abs(there - found)


def rates_shown(results: Sequence[Result]) -> list[int]:
    """The places in `speaker_rates` of those that at least one of the results has."""
    columns = zip(*(each.speaker_rates for each in results), strict=True)
    return [place for place, rates in enumerate(columns) if any(rate is not None for rate in rates)]


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

    def worst_speakers(self, count: int) -> list[Result]:
        """The clips with the most `speaker_errors`: by seconds, then by words, then by the number of speakers."""
        wrong = [result for result in self.results if any(result.speaker_errors)]
        return sorted(wrong, key=lambda result: result.speaker_errors, reverse=True)[:count]

    @property
    def by_language(self) -> dict[str, Scores]:
        """The figures of each language; none if no language is known, as those in total say the same."""
        return {} if self.languages.keys() == {_UNKNOWN} else self.languages

    @property
    def counts_seconds(self) -> bool:
        """Whether errors of speakers are in seconds: it is known who speaks when, and not only who says what."""
        return any(result.diarization is not None for result in self.results)

    def wrong(self, result: Result) -> str:
        """How many seconds of its speakers are wrong, or if these do not count, how many words."""
        seconds, words, _ = result.speaker_errors
        return f"{seconds:.1f}" if self.counts_seconds else str(words)

    def name(self, result: Result) -> str:
        """The path of a clip, without the folders that all clips are in."""
        levels = zip(*(each.clip.audio.parent.parts for each in self.results), strict=False)
        shared = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, levels))
        return str(Path(*result.clip.audio.parts[shared:]))

    def to_json(self) -> dict[str, Any]:
        """The evaluation as JSON values."""
        return {
            "total": _plain(self.total),
            "languages": {code: _plain(each) for code, each in self.languages.items()},
            "clips": [_row(result) for result in self.results],
        }


def summed_up(results: Sequence[Result], took: Mapping[str, float]) -> Evaluation:
    """The figures of results. `took` has the seconds of processing for each language; "" is an unknown one."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.clip.language or "", []).append(result)
    return Evaluation(
        total=_scores(results, sum(took.values())),
        languages={code or _UNKNOWN: _scores(groups[code], took.get(code, 0.0)) for code in sorted(groups)},
        results=tuple(results),
    )


def _scores(results: Sequence[Result], took: float) -> Scores:
    words = [result.words for result in results if result.words is not None]
    characters = [result.characters for result in results if result.characters is not None]
    translated = [result for result in results if result.translation is not None]
    references = [result.clip.translation or "" for result in translated]
    translations = [result.translation or "" for result in translated]
    judged = [result.language == result.clip.language for result in results if result.language is not None]
    timed = sum(result.audio for result in results if result.text is not None or result.turns is not None)
    diarized = [result.diarization for result in results if result.diarization is not None]
    speech = [each.speech for each in diarized]
    off = [abs(there - found) for there, found in filter(None, (result.speaker_counts for result in results))]
    return Scores(
        clips=sum(not result.has_failed for result in results),
        audio=sum(result.audio for result in results),
        wer=scores.rate(words),
        cer=scores.rate(characters),
        bleu=scores.bleu(references, translations),
        chrf=scores.chrf(references, translations),
        language_accuracy=scores.share(judged),
        cpwer=scores.rate([result.speaker_words for result in results if result.speaker_words is not None]),
        der=scores.ratio([each.seconds for each in diarized], speech),
        missed_speech=scores.ratio([each.missed for each in diarized], speech),
        false_alarm=scores.ratio([each.false_alarm for each in diarized], speech),
        confusion=scores.ratio([each.confusion for each in diarized], speech),
        jer=scores.ratio([each.jaccard for each in diarized], [each.speakers for each in diarized]),
        speaker_count_error=scores.mean(off),
        speaker_count_accuracy=scores.share([each == 0 for each in off]),
        real_time_factor=took / timed if timed else None,
    )


def _plain(figures: Scores) -> dict[str, Any]:
    """Each figure as its value and a pair `..._interval`."""
    plain: dict[str, Any] = {"clips": figures.clips, "audio": round(figures.audio, 3)}
    for name in (each.name for each in fields(Scores)):
        figure = getattr(figures, name)
        if isinstance(figure, Figure):
            plain[name] = figure.value
            plain[f"{name}_interval"] = [figure.low, figure.high]
    if figures.real_time_factor is not None:
        plain["real_time_factor"] = figures.real_time_factor
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
    row |= _speakers_row(result)
    if result.failures:
        row["errors"] = [str(error) for error in result.failures]
    return row


def _speakers_row(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if result.speaker_words is not None:
        row |= {"speaker_words": result.speaker_words.length, "speaker_word_errors": result.speaker_words.errors}
    if result.speaker_counts is not None:
        row["speakers"], row["speakers_found"] = result.speaker_counts
    if (errors := result.diarization) is not None:
        row |= {"der": errors.der, "jer": errors.jer, "speech_seconds": round(errors.speech, 3)}
        row |= {
            f"{name}_seconds": round(value, 3)
            for name, value in (
                ("missed", errors.missed),
                ("false_alarm", errors.false_alarm),
                ("confusion", errors.confusion),
            )
        }
    if result.turns is not None:
        row["turns"] = [
            {"start": round(turn.start, 3), "end": round(turn.end, 3), "speaker": turn.speaker} for turn in result.turns
        ]
    return row

"""A recording with all its results, for another machine."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mtasr.closing import ClosingIterator
from mtasr.decoding.submission import ChannelSubmission, PlacedResult, ResumeNotes
from mtasr.decoding.survey import ChannelSurvey, HeardSpeakers, Survey, channel_survey
from mtasr.engines.engine import LanguageGuess
from mtasr.speakers.diarized import SpeakerListener
from mtasr.transcript import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedRecording:
    """A recording that was decoded as a whole.

    The error of a channel is what ended its results: it could not be read further, or a window could not be decoded.
    Channels after that are not decoded, and have the same error.
    """

    survey: Survey
    #: The results of each channel, in file order.
    results: tuple[tuple[PlacedResult, ...], ...]

    def note(self, notes: Callable[[int], ResumeNotes]) -> None:
        """Add what is news to the notes on the channels, as `Model.stream_all` would have."""
        for channel, (survey, results) in enumerate(zip(self.survey.channels, self.results, strict=True)):
            news = [each for each in results if each.to_note]
            if not news:
                continue
            kept = notes(channel)
            if kept.guesses() is None and survey.guesses:
                kept.note_guesses(survey.guesses)
            for each in news:
                if each.place is not None and each.result is not None:
                    kept.note_result(each.place, each.result)


def decoded_recordings(
    submitted: Sequence[tuple[Sequence[ChannelSubmission], SpeakerListener | None]], language: str | None
) -> ClosingIterator[DecodedRecording]:
    """Recordings with all their results; `language` is its code if it was given.

    Each has its channels, and what hears them. Closing the iterator cancels those that are not done.
    """

    def close() -> None:
        for channel in itertools.chain.from_iterable(channels for channels, _ in submitted):
            channel.close()

    return ClosingIterator((_decoded(channels, language, listener) for channels, listener in submitted), close)


def _decoded(
    channels: Sequence[ChannelSubmission], language: str | None, listener: SpeakerListener | None
) -> DecodedRecording:
    surveys: list[ChannelSurvey] = []
    results: list[tuple[PlacedResult, ...]] = []
    for channel in channels:
        if surveys and surveys[-1].error is not None:
            channel.close()
            surveys.append(ChannelSurvey(samples=0, language=language, error=surveys[-1].error))
            results.append(())
        else:
            survey, placed = _decoded_channel(channel, language)
            surveys.append(survey)
            results.append(placed)
    speakers = heard_speakers(listener) if listener is not None else None
    return DecodedRecording(survey=Survey(channels=tuple(surveys), speakers=speakers), results=tuple(results))


def heard_speakers(listener: SpeakerListener) -> HeardSpeakers:
    """What the listener of a recording knows at its end."""
    turns: tuple[Turn, ...] = ()
    error = None
    try:
        turns = listener.turns()
    except Exception as exc:
        error = exc
    finally:
        listener.leave()
    return HeardSpeakers(turns=turns, warnings=listener.warnings, error=error)


def _decoded_channel(
    channel: ChannelSubmission, language: str | None
) -> tuple[ChannelSurvey, tuple[PlacedResult, ...]]:
    """A channel with all its results; `language` is its code if it was given."""
    results: list[PlacedResult] = []
    guesses: Sequence[LanguageGuess] = ()
    error = None
    try:
        results.extend(channel.placed())
        guesses = channel.guesses() or ()
    except Exception as exc:
        error = exc
        with contextlib.suppress(Exception):
            guesses = channel.guesses() or ()
    finally:
        channel.close()
    survey = channel_survey(channel.audio, channel.samples, channel.speech()[None], language, guesses, error)
    return survey, tuple(results)

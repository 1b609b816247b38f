"""A recording that others decode becomes a `Transcription`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol

from mtasr.audio.tracks import Tracks
from mtasr.decoding.submission import AudioFacts, DecodedWindow, Submission
from mtasr.decoding.survey import ChannelSurvey, HeardSpeakers, Survey
from mtasr.decoding.transcription import Transcription
from mtasr.engines.engine import LanguageGuess
from mtasr.options import DecodingOptions
from mtasr.recordings.together import together, without_channel
from mtasr.spans import Interval
from mtasr.transcript import Turn


class Elsewhere(Protocol):
    """A recording that others read and decode. Any thread may call `close`, one thread at a time the rest."""

    def survey(self) -> Survey:
        """What reading the recording told. Waits until that is known, and raises why it will not be."""

    def results(self, channel: int) -> Iterator[DecodedWindow]:
        """What the windows of a channel became, in file order; waits for each. Asked of one channel after the other.

        Raises what went wrong with a window, in its turn. The error in the channel's survey is raised by the caller.
        """

    def came(self) -> float:
        """Seconds of audio whose results are known, in whatever order; 0 while that is unknown. Does not wait."""

    def close(self) -> None:
        """Nobody wants the recording any more; who waits for it gets a `ValueError`. A second call does nothing."""


def received(elsewhere: Elsewhere, tracks: Tracks, options: DecodingOptions) -> Transcription:
    """The transcription of a recording that is decoded elsewhere, as it would be if it were decoded here."""
    submission = Received(elsewhere, tracks)
    return Transcription(submission, options, submission.warnings, came=elsewhere.came)


class Received:
    """A recording decoded elsewhere: a `Submission` of which nothing is known until its survey comes."""

    def __init__(self, elsewhere: Elsewhere, tracks: Tracks) -> None:
        self._elsewhere, self._tracks = elsewhere, tracks
        self._survey: Survey | None = None
        self._submission: Submission | None = None
        self._waiting = threading.Lock()
        #: Without effect.
        self.priority = 0

    def _here(self) -> Submission:
        """Its channels and voices put together. Waits for the survey."""
        with self._waiting:
            if self._submission is None:
                self._survey = survey = self._elsewhere.survey()
                channels = [
                    _ReceivedChannel(each, partial(self._elsewhere.results, channel))
                    for channel, each in enumerate(survey.channels)
                ]
                heard = None if survey.speakers is None else _Told(survey.speakers)
                self._submission = together(channels, self._tracks, heard)
        return self._submission

    @property
    def audio(self) -> AudioFacts | None:
        return None if self._submission is None else self._submission.audio

    @property
    def samples(self) -> int:
        return 0 if self._submission is None else self._submission.samples

    def open(self) -> None:
        self._here().open()

    def guesses(self) -> list[LanguageGuess] | None:
        return self._here().guesses()

    def language(self) -> str:
        return self._here().language()

    def results(self) -> Iterator[DecodedWindow]:
        yield from self._here().results()

    def speech(self) -> Mapping[str | None, Sequence[Interval]]:
        return self._here().speech()

    def turns(self) -> Sequence[Turn] | None:
        return self._here().turns()

    def warnings(self) -> Sequence[str]:
        """What was asked for and is not in the recording, as far as that is known."""
        if self._survey is None:
            return ()
        speakers = self._survey.speakers
        return speakers.warnings if speakers else without_channel(self._tracks, len(self._survey.channels))

    def close(self) -> None:
        self._elsewhere.close()


class _ReceivedChannel:
    """A channel of a recording decoded elsewhere."""

    def __init__(self, survey: ChannelSurvey, results: Callable[[], Iterator[DecodedWindow]]) -> None:
        self.audio, self.samples = survey, survey.samples
        self._survey, self._results = survey, results
        self.priority = 0

    def open(self) -> None:
        if not self.samples:
            self._raise()

    def _raise(self) -> None:
        if self._survey.error is not None:
            raise self._survey.error.with_traceback(None)

    def guesses(self) -> list[LanguageGuess] | None:
        if self._survey.language is not None:
            return None
        if not self._survey.guesses:
            self._raise()
        return list(self._survey.guesses)

    def language(self) -> str:
        self.guesses()
        return self._survey.spoken

    def results(self) -> Iterator[DecodedWindow]:
        yield from self._results()
        self._raise()

    def speech(self) -> dict[str | None, list[Interval]]:
        return {None: list(self._survey.speech)}

    def turns(self) -> None:
        return None

    def close(self) -> None:
        pass


class _Told:
    """Who speaks, as another machine found."""

    def __init__(self, speakers: HeardSpeakers) -> None:
        self._speakers = speakers

    def turns(self) -> tuple[Turn, ...]:
        if self._speakers.error is not None:
            raise self._speakers.error.with_traceback(None)
        return self._speakers.turns

    def leave(self) -> None:
        pass

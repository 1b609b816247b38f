"""What one machine tells another of a recording that it has read, in values that can be pickled and hold no samples."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mtasr.decoding.groups import Group, Recording, RecordingState
from mtasr.decoding.language import MOST_WINDOWS
from mtasr.decoding.reader import windows_of
from mtasr.decoding.submission import AudioFacts
from mtasr.decoding.window_decoder import WindowDecoder
from mtasr.decoding.window_input import WindowInput
from mtasr.decoding.windows import Window, WindowOutline
from mtasr.engines.engine import LanguageGuess
from mtasr.options import DecodingOptions
from mtasr.spans import Interval
from mtasr.stopwatch import Stopwatch
from mtasr.transcript import Repair, Turn
from mtasr.vad import MakeDetector


def is_divisible(options: DecodingOptions) -> bool:
    """Whether windows of one recording can be decoded apart from each other.

    They cannot if each is given the text before it. If samples are drawn for all of them, one machine draws them.
    """
    return not options.condition_on_previous_text and options.temperature[0] == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSurvey:
    """What reading a recording or one of its channels to the end tells."""

    #: How many samples it has, or had before it failed.
    samples: int
    #: Where somebody speaks, in seconds, in order of time.
    speech: tuple[Interval, ...] = ()
    #: Its windows in file order; none in a `DecodedRecording`, whose results have their places.
    outlines: tuple[WindowOutline, ...] = ()
    #: Seconds that the file states, None if it states none.
    duration: float | None = None
    warnings: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()
    #: Code of the language if it was given, None if it was judged.
    language: str | None = None
    #: The languages it may be in, the most probable first; none if nobody speaks or the language was given.
    guesses: tuple[LanguageGuess, ...] = ()
    #: What went wrong while it was opened or read; windows before that are whole.
    error: Exception | None = None

    @property
    def spoken(self) -> str:
        """Code of the language given or judged; "en" if nobody speaks."""
        return _spoken(self.language, self.guesses)


def _spoken(language: str | None, guesses: Sequence[LanguageGuess]) -> str:
    return language or (guesses[0].code if guesses else "en")


class WindowsFound(Protocol):
    """Follows a survey."""

    def __call__(self, channel: int, spoken: str, outlines: Sequence[WindowOutline]) -> None:
        """A channel in this language has these windows more, in file order; called once the language is known."""


def ignored(channel: int, spoken: str, outlines: Sequence[WindowOutline]) -> None:
    """For a survey that nobody follows."""


def survey_channel(
    recording: Recording,
    decoder: WindowDecoder,
    options: DecodingOptions,
    detector: MakeDetector,
    stopwatch: Stopwatch,
    found: Callable[[str, Sequence[WindowOutline]], None],
) -> ChannelSurvey:
    """Read a recording, and judge its language as the scheduler does. Raises what goes wrong while that is judged."""
    state = RecordingState(Group(decoder, options, priority=0), recording)
    outlines: list[WindowOutline] = []
    first: list[WindowInput] = []
    guesses: Sequence[LanguageGuess] = ()
    told = 0

    state.open()
    with contextlib.closing(_windows(state, detector, stopwatch)) as windows:
        for window in windows:
            outlines.append(window.outline(first=not outlines))
            if recording.language is None and not guesses:
                first.append(decoder.input(window))
                if len(first) < MOST_WINDOWS:
                    continue
                guesses = decoder.judge_language(first)
                first.clear()
            found(_spoken(recording.language, guesses), outlines[told:])
            told = len(outlines)
    if first:
        guesses = decoder.judge_language(first)
        found(_spoken(None, guesses), outlines)
    return channel_survey(state.audio, state.samples, state.speech, recording.language, guesses, state.error, outlines)


def _windows(state: RecordingState, detector: MakeDetector, stopwatch: Stopwatch) -> Generator[Window]:
    """The windows of a recording, which is closed after that; what is wrong with it is kept in its state."""
    try:
        yield from windows_of(state, detector, stopwatch)
    except Exception as exc:
        state.error = state.error or exc
    finally:
        if state.audio is not None:
            state.audio.close()


def channel_survey(
    audio: AudioFacts | None,
    samples: int,
    speech: Sequence[Interval],
    language: str | None,
    guesses: Sequence[LanguageGuess],
    error: Exception | None,
    outlines: Sequence[WindowOutline] = (),
) -> ChannelSurvey:
    """The survey of a channel that was read to its end; `audio` is None if it could not be opened."""
    return ChannelSurvey(
        samples=samples,
        speech=tuple(speech),
        outlines=tuple(outlines),
        duration=audio.duration if audio is not None else None,
        warnings=audio.warnings if audio is not None else (),
        repairs=audio.repairs if audio is not None else (),
        language=language,
        guesses=tuple(guesses),
        error=error,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardSpeakers:
    """Who speaks when, told apart by voice in all of a recording that could be read."""

    turns: tuple[Turn, ...] = ()
    #: What was asked for and cannot be had.
    warnings: tuple[str, ...] = ()
    #: What went wrong while they were told apart.
    error: Exception | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All that reading a recording tells without decoding it."""

    #: One, unless channels are split.
    channels: tuple[ChannelSurvey, ...]
    #: None unless speakers are told apart by voice.
    speakers: HeardSpeakers | None = None
    #: Which version of the recording was read, for `Model.decode_windows`; None if nothing tells.
    version: str | None = None

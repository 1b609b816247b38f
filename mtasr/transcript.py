"""Words, segments and transcripts: the frozen values that all modules exchange. Times are seconds of the file."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mtasr.spans import Interval

if TYPE_CHECKING:
    from mtasr.subtitles.layout import Layout

#: Characters of the text in the `repr` of a transcript, and rows of its table in a notebook.
_REPR_CHARACTERS, _NOTEBOOK_ROWS = 60, 200


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Word:
    """One word with its times in seconds from the start of the file.

    `word` keeps its leading space, so that joining the words of a segment gives its text.
    `probability` is the mean probability of its tokens, 0 to 1.
    """

    word: str
    start: float
    end: float
    probability: float
    #: The name of the speaker; None if speakers are not distinguished, or are by channel, which the segment tells.
    speaker: str | None = None
    #: 0 to 1: the speaker's turns during the word, and how sure they are; None unless voices were told apart.
    speaker_confidence: float | None = None
    #: Whether another speaker talks too, for half of the word or more.
    overlap: bool = False
    #: How many text tokens it has, 0 if that is not known; not written to files.
    tokens: int = field(default=0, compare=False)

    def __repr__(self) -> str:
        return f"<Word {self.start:.2f}-{self.end:.2f} {self.word!r} {self.probability:.2f}>"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Segment:
    """A stretch of text that the model wrote, with times: 0 <= start < end <= duration.

    `tokens` are its token ids, timestamp tokens included. `avg_logprob` (natural logarithm, per token),
    `compression_ratio` (zlib, of the text), `no_speech_prob` and `temperature` describe the decoding of the
    window that the segment came from. `words` is None unless word timestamps were requested.
    """

    id: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float
    words: tuple[Word, ...] | None = None
    #: Code of the language spoken; None if only the transcript's language is known.
    language: str | None = None
    #: The name of the speaker; None if speakers are not distinguished.
    speaker: str | None = None
    #: The mean of its words', or the same for the whole segment; None unless voices were told apart.
    speaker_confidence: float | None = None
    #: Whether another speaker talks too: during a word, or, without words, for half of the segment or more.
    overlap: bool = False
    #: Start and end by the model's timestamps, if word times have moved them; not written to files.
    heard: Interval | None = field(default=None, compare=False)
    #: Each text token with its log-probability (natural logarithm), given the text before it in the window, if words
    #: were timed; not written to files.
    token_logprobs: tuple[tuple[int, float], ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        speaker = "" if self.speaker is None else f"{self.speaker!r} "
        words = "" if self.words is None else f" ({len(self.words)} words)"
        return f"<Segment {self.start:.2f}-{self.end:.2f} {speaker}{self.text!r}{words}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A stretch from `start` to `end` seconds in which one speaker talks; turns of different speakers may overlap.

    `confidence`, 0 to 1, says how sure it is that the voice is this speaker's and no other's.
    """

    start: float
    end: float
    speaker: str
    confidence: float = 1.0
    #: The channel it was heard on, counted from 0; None if voices were told apart, whatever the channels.
    channel: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One text that a window may hold, and its mean log-probability per token (natural logarithm)."""

    text: str
    avg_logprob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternatives:
    """The most probable readings of the window from `start` to `end` seconds, the one in the transcript first.

    Their texts differ: readings that differ in timestamps alone count as one.
    """

    start: float
    end: float
    readings: tuple[Reading, ...]
    #: As in `Segment`.
    speaker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """A transcript compared with voice activity; times in seconds of the file.

    `speech` is the total duration of speech. `speech_without_text` holds the stretches of speech that have no text, and
    `text_without_speech` the stretches of text in which nobody speaks.
    """

    speech: float
    speech_without_text: tuple[tuple[float, float], ...] = ()
    text_without_speech: tuple[tuple[float, float], ...] = ()

    @property
    def complete(self) -> bool:
        return not self.speech_without_text and not self.text_without_speech


RepairKind = Literal["hole", "restart", "drift", "resumed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """One repair of a recording that is joined, damaged or out of step with its timestamps.

    `start` is in seconds of the transcript. `kind` says what `seconds` are:

    | `kind` | `seconds` |
    |---|---|
    | "hole" | silence in place of sound that is missing |
    | "restart" | how far timestamps jump, back if negative; time goes on |
    | "drift" | time that was added by stretching sound whose clock is off, or taken by squeezing if negative |
    | "resumed" | sound after the end that the header states |
    """

    kind: RepairKind
    start: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Transcript:
    """The whole result for one recording; iterating yields its segments.

    `language` is a code such as "en": the language spoken (also when translating). `language_probability`
    is 1.0 when the language was given rather than detected. `duration` is the decoded length in seconds. `coverage`
    compares the text with voice activity. `alternatives` (one for each window) and `translation` (the same recording in
    English) are None unless they were requested. `text_language` is the code of the language of the text, None where
    it is not known or changes.
    """

    language: str
    language_probability: float
    duration: float
    segments: tuple[Segment, ...]
    #: Start and end of each stretch of speech, in seconds, by voice activity detection; empty if unknown.
    speech: tuple[tuple[float, float], ...] = ()
    coverage: Coverage | None = None
    alternatives: tuple[Alternatives, ...] | None = None
    translation: Transcript | None = None
    text_language: str | None = None
    #: What was repaired of the recording, in order of time.
    repairs: tuple[Repair, ...] = ()
    #: Who speaks when, in order of start: voices that were told apart, or the speech of each channel; None if speakers
    #: are not distinguished.
    turns: tuple[Turn, ...] | None = None

    @property
    def text(self) -> str:
        """All text, as the segments' texts joined."""
        return "".join(segment.text for segment in self.segments).strip()

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= _REPR_CHARACTERS else f"{self.text[:_REPR_CHARACTERS].rstrip()}…"
        return f"<Transcript {self.language!r} {self._length()}: {text!r}>"

    def _length(self) -> str:
        count = len(self.segments)
        return f"{self.duration:.2f} s, {count} segment{'' if count == 1 else 's'}"

    def _repr_html_(self) -> str:
        """A table of the segments, for notebooks."""
        rows = [(f"{each.start:.2f}", f"{each.end:.2f}", each.speaker or "", each.text.strip()) for each in self]
        cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows[:_NOTEBOOK_ROWS]]
        more = len(rows) - _NOTEBOOK_ROWS
        return (
            f"<p>{html.escape(self.language)}, {self._length()}</p>\n<table>\n"
            "<tr><th>start</th><th>end</th><th>speaker</th><th>text</th></tr>\n"
            + "".join(f"<tr>{row}</tr>\n" for row in cells)
            + f"</table>\n{f'<p>and {more} more segments</p>' if more > 0 else ''}"
        )

    # The formats are built on this module, so these methods import them when they are called.

    def write(
        self,
        path: str | os.PathLike[str],
        output_format: str | None = None,
        *,
        subtitle_style: str | Layout = "web",
        highlight_words: bool = False,
    ) -> None:
        """Write the transcript to a file, which appears whole or not at all and replaces one of that name.

        The format is `output_format`, or by default the ending of the name: txt, srt, vtt, ass, lrc, ttml, tsv, csv,
        md, json or rttm (who speaks when). Subtitles (srt, vtt, ass, lrc, ttml) are divided into cues as by
        `mtasr transcribe`: `subtitle_style` is "broadcast", "web", "social", a `mtasr.subtitles.Layout`, or "raw" for
        the segments as the model wrote them. Cues begin and end with words if their times are known
        (`word_timestamps=True`, which `mtasr transcribe` sets for subtitles). Otherwise each segment counts as spoken
        at an even pace. With `highlight_words`, srt and vtt underline each word while it is spoken, if its time is
        known. To write an English translation, call `translation.write(...)`.

        Raises `UsageError` for an unknown format or style, and `OutputError` if the file cannot be written.
        """
        from mtasr.formats import registry

        registry.write(self, path, output_format, subtitle_style=subtitle_style, highlight_words=highlight_words)

    def to_format(
        self, output_format: str, *, subtitle_style: str | Layout = "web", highlight_words: bool = False
    ) -> str:
        """The text that `write` writes to a file in this format; the options and errors are the same."""
        from mtasr.formats import registry

        return registry.render(self, output_format, subtitle_style=subtitle_style, highlight_words=highlight_words)

    def to_txt(self) -> str:
        """Plain text, one line for each turn, or without speakers for each segment."""
        return self.to_format("txt")

    def to_srt(self, *, subtitle_style: str | Layout = "web", highlight_words: bool = False) -> str:
        """Subtitles in SubRip; for the options and errors see `write`."""
        return self.to_format("srt", subtitle_style=subtitle_style, highlight_words=highlight_words)

    def to_vtt(self, *, subtitle_style: str | Layout = "web", highlight_words: bool = False) -> str:
        """Subtitles in WebVTT; for the options and errors see `write`."""
        return self.to_format("vtt", subtitle_style=subtitle_style, highlight_words=highlight_words)

    def to_json(self) -> str:
        """All that is known, as JSON with openai-whisper's names."""
        return self.to_format("json")

    def to_dict(self) -> dict[str, Any]:
        """The document of `to_json`: times in seconds, None for numbers that are not finite."""
        from mtasr.formats import transcript_json

        return transcript_json.to_dict(self)

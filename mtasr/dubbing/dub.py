"""`dub`: a recording in any language -> the same recording with an English voice."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mtasr.atomic import check_replaceable, write_file
from mtasr.audio.dubbed import SpokenTrack, has_picture, loudness, loudness_of, write_dubbed
from mtasr.audio.video import CONTAINERS, Position
from mtasr.audio.write import SPEECH_ENDINGS, to_16_bits
from mtasr.dubbing.fitting import Line, SpokenLine, fitted
from mtasr.errors import InputError, OutputError, UsageError
from mtasr.options import DecodingOptions
from mtasr.speech.marking import new_mark, read_mark
from mtasr.speech.voice import DEFAULT_VOICE, FASTEST, Speech, Voice, load_voice
from mtasr.transcribe import Model, load_model
from mtasr.transcript import Segment, Transcript

#: How much faster than by itself the voice may speak to be in time.
MAX_SPEED = 1.3
#: What is said this many seconds after its source is late.
LATE = 0.2
#: dB that a quiet recording is raised by at most.
_MOST_GAIN = 20.0
_ENGINE = "translation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dub:
    """What became of a recording."""

    path: Path
    #: The translation as it is spoken: its segments have the times of the voice.
    transcript: Transcript
    lines: tuple[SpokenLine, ...]
    #: What was not spoken, because the recogniser is not sure of it, or because it has no words.
    left_out: tuple[Segment, ...]

    @property
    def late(self) -> tuple[SpokenLine, ...]:
        """The lines that start more than `LATE` seconds after their source."""
        return tuple(each for each in self.lines if each.late > LATE)

    @property
    def beyond(self) -> float:
        """Seconds that are spoken after the end of the recording."""
        return max(0.0, self.lines[-1].end - self.transcript.duration)


def dub(
    source: str | Path,
    voice: Voice | str = DEFAULT_VOICE,
    *,
    model: Model | str | None = None,
    output: str | Path | None = None,
    keep_original: float | None = None,
    max_speed: float = MAX_SPEED,
    options: DecodingOptions | None = None,
) -> Dub:
    """Translate a recording into English, and write it with a voice that speaks the translation.

    The result is `output`, by default `talk.en.mp4` beside `talk.mp4`. A video keeps its picture and its own sound, as
    a second track; `keep_original` (dB, below 0) also leaves the recording audible underneath the voice. The voice is
    as loud as the recording. Each segment starts when its source does, or when the one before it has ended, and is
    spoken faster, up to `max_speed`, only if it has no time.

    Raises `UsageError`, `InputError` (also for a recording in English, or without speech), `OutputError`, and what
    `load_model` and `load_voice` raise. Nothing half-written is left behind.
    """
    recording = Path(source)
    check_settings(keep_original, max_speed)
    target = Path(output) if output is not None else recording.with_name(dubbed_name(recording))
    check_result(target, recording)
    options = replace(options or DecodingOptions(), task="translate", also_translate=False)
    if not isinstance(model, Model):
        model = load_model(model)
    transcript = model.transcribe(str(recording), options)
    if isinstance(voice, str):
        voice = load_voice(voice)
    return dub_transcript(
        recording, transcript, voice, target, options=options, keep_original=keep_original, max_speed=max_speed
    )


def dub_transcript(
    recording: Path,
    transcript: Transcript,
    voice: Voice,
    target: Path,
    *,
    options: DecodingOptions,
    keep_original: float | None = None,
    max_speed: float = MAX_SPEED,
    audio_stream: int = 0,
    progress: Position = lambda seconds: None,
) -> Dub:
    """As `dub`, with a translation that is there already; `progress` gets the seconds that are done."""
    if transcript.language == "en":
        raise InputError(f"{recording}: is spoken in English already")
    said, left_out = _trusted(transcript, options)
    if not said:
        raise InputError(f"{recording}: has no speech that could be translated")
    lines = [Line(start=each.start, end=each.end, text=each.text.strip()) for each in said]
    with tempfile.TemporaryDirectory(prefix="mtasr-") as folder:
        track = SpokenTrack(file=Path(folder, "track"), rate=voice.rate)
        spoken = list(
            _written(track, fitted(lines, voice.say, max_speed=max_speed, duration=transcript.duration), progress)
        )
        if not spoken:
            raise InputError(f"{recording}: its translation has no words that the voice can read")
        mark = new_mark(engine=_ENGINE, voice=voice.name, source=_digest(recording))
        write = partial(
            write_dubbed,
            recording,
            track,
            name=target,
            tags=mark.tags,
            gain=_gain(recording, track, audio_stream),
            keep_original=keep_original,
            duration=max(transcript.duration, spoken[-1].end),
            audio_stream=audio_stream,
        )
        write_file(target, write)
    heard, unsaid = _matched(said, spoken)
    segments = tuple(
        replace(each, id=number, start=at.start, end=at.end, words=None) for number, (each, at) in enumerate(heard)
    )
    return Dub(
        path=target,
        transcript=replace(transcript, segments=segments, coverage=None, alternatives=None),
        lines=tuple(spoken),
        left_out=tuple(sorted([*left_out, *unsaid], key=lambda each: each.start)),
    )


def check_settings(keep_original: float | None, max_speed: float) -> None:
    """Raise `UsageError` for values out of range."""
    if keep_original is not None and not -60 <= keep_original <= 0:
        raise UsageError(f"keep_original must be from -60 to 0 dB, not {keep_original:g}")
    if not 1 <= max_speed <= FASTEST:
        raise UsageError(f"max_speed must be from 1 to {FASTEST:g}, not {max_speed:g}")


def dubbed_name(recording: Path) -> str:
    """The name of a dubbed recording. Raises `InputError` if it cannot be read."""
    ending = recording.suffix.lower()
    if has_picture(recording):
        return f"{recording.stem}.en{ending if ending in CONTAINERS else '.mkv'}"
    return f"{recording.stem}.en{ending if ending in SPEECH_ENDINGS else '.m4a'}"


def check_result(target: Path, recording: Path) -> None:
    """Raise `UsageError` or `OutputError` for a result that cannot be written, or is the recording itself."""
    ending = target.suffix.lower()
    if ending not in CONTAINERS and ending not in SPEECH_ENDINGS:
        raise UsageError(f"{target}: its name must end with one of {', '.join([*CONTAINERS, *SPEECH_ENDINGS])}")
    if not target.parent.is_dir():
        raise OutputError(f"{target.parent}: no such folder")
    if check_replaceable(target) and target.samefile(recording):
        raise UsageError(f"{target}: is the recording itself; name another file")


def is_dubbed(target: Path, recording: Path, voice: str) -> bool:
    """Whether the target is this very recording, dubbed by this voice already, as its mark says."""
    try:
        mark = read_mark(target)
    except InputError:
        return False
    return mark is not None and (mark.engine, mark.voice, mark.source) == (_ENGINE, voice, _digest(recording))


def _trusted(transcript: Transcript, options: DecodingOptions) -> tuple[list[Segment], list[Segment]]:
    """The segments to speak, in order, and those whose text fails the recogniser's own checks."""
    said: list[Segment] = []
    left_out: list[Segment] = []
    coverage = transcript.coverage
    unheard = coverage.text_without_speech if coverage else ()
    for each in sorted(transcript.segments, key=lambda segment: segment.start):
        (left_out if _fails(each, unheard, options) else said).append(each)
    return said, left_out


def _fails(segment: Segment, unheard: Sequence[tuple[float, float]], options: DecodingOptions) -> bool:
    ratio, logprob = options.compression_ratio_threshold, options.logprob_threshold
    silent = sum(max(0.0, min(segment.end, end) - max(segment.start, start)) for start, end in unheard)
    return (
        (ratio is not None and segment.compression_ratio > ratio)
        or (logprob is not None and segment.avg_logprob < logprob)
        or silent > (segment.end - segment.start) / 2
    )


def _matched(
    said: Sequence[Segment], spoken: Sequence[SpokenLine]
) -> tuple[list[tuple[Segment, SpokenLine]], list[Segment]]:
    """The segments with their lines, and those without a line; both are in order."""
    matched: list[tuple[Segment, SpokenLine]] = []
    unsaid: list[Segment] = []
    for each in said:
        line = spoken[len(matched)].line if len(matched) < len(spoken) else None
        if line is not None and (line.start, line.text) == (each.start, each.text.strip()):
            matched.append((each, spoken[len(matched)]))
        else:
            unsaid.append(each)
    return matched, unsaid


def _written(
    track: SpokenTrack, spoken: Iterator[tuple[SpokenLine, Speech]], progress: Callable[[float], None]
) -> Iterator[SpokenLine]:
    """Write the lines into the track, with silence between them; the track is on disk, so it may be long."""
    done = 0
    with track.file.open("wb") as stream:
        for line, speech in spoken:
            silence = max(0, round(line.start * track.rate) - done)
            for at in range(0, silence, track.rate):
                stream.write(bytes(2 * min(track.rate, silence - at)))
            samples = to_16_bits(speech.samples)
            stream.write(samples.tobytes())
            done += silence + len(samples)
            progress(line.line.end)
            yield line


def _gain(recording: Path, track: SpokenTrack, audio_stream: int) -> float:
    """DB that make the voice as loud as the recording."""
    wanted, have = loudness(recording, audio_stream), loudness_of(track)
    return 0.0 if wanted is None or have is None else min(wanted - have, _MOST_GAIN)


def _digest(recording: Path) -> str:
    with recording.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

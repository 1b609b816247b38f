"""Transcribe recordings one after the other with one model, write their files, and say how each ended."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from mtasr.audio.tracks import Tracks
from mtasr.batch import outputs
from mtasr.batch.outputs import Job
from mtasr.errors import ClusterError, InputError, OutputError, UsageError, WorkerDiedError
from mtasr.formats.cues import PLAIN, Style
from mtasr.formats.rttm import Rttm
from mtasr.options import DecodingOptions
from mtasr.remote.file import examine
from mtasr.remote.listing import ask_all
from mtasr.remote.urls import is_url
from mtasr.speakers.assignment import assign, assign_segments, seconds_without_turn
from mtasr.speakers.speaker_times import AllSpeakerTimes
from mtasr.subtitles import Broken, Layout
from mtasr.transcript import Coverage, Segment, Transcript, Turn

if TYPE_CHECKING:
    from mtasr.batch.journal import Entry, Journal
    from mtasr.batch.recogniser import Recogniser
    from mtasr.decoding.transcription import Transcription
    from mtasr.speakers.options import SpeakerOptions

#: "in doubt" is a recording with speech but no text somewhere, or text but no speech.
Outcome = Literal["done", "in doubt", "failed", "skipped"]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

#: What to do about results of an earlier run: replace them, skip recordings that have all their files, or go on where
#: the journal says that the earlier run was stopped.
Existing = Literal["overwrite", "skip", "resume"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How one recording ended."""

    #: The recording, as it was named.
    name: str
    result: Outcome
    #: Why it failed or was skipped.
    reason: str = ""
    #: What a failed one raised: an `MtasrError`, or any other for a bug and for a lack of memory.
    error: Exception | None = None
    #: Duration of the audio.
    seconds: float | None = None
    #: Code of the language; None if there is no text.
    language: str | None = None
    #: The files written.
    files: tuple[str, ...] = ()
    #: Where speech and text do not match, if they do not.
    coverage: Coverage | None = None
    #: Rules of the subtitle layout that the speech did not allow to keep.
    broken: tuple[Broken, ...] = ()
    #: Seconds of speech that no turn of the RTTM covers.
    without_turn: float = 0.0


class Observer:
    """Follows a batch; override what you need. All methods are called in the thread that runs the batch.

    An exception from a method ends the batch, and what is decoded stays in the journal. Only an `OutputError` from
    `segment` and `all_segments` does not: it fails that recording, after its files are written.
    """

    def begun(self, jobs: Sequence[Job]) -> None:
        """These recordings, which are neither skipped nor refused, are decoded from now on."""

    def discarded(self) -> None:
        """The journal of an earlier run, which could have been resumed, was deleted."""

    def transcribing(self, job: Job, transcription: Transcription) -> AbstractContextManager[None]:
        """Entered before the first segment of a recording is awaited, left after its last."""
        return nullcontext()

    def segment(self, segment: Segment) -> None:
        """The recording being transcribed has one more segment."""

    def all_segments(self) -> None:
        """The recording being transcribed has no more segments."""

    def transcribed(self, job: Job, transcription: Transcription, transcript: Transcript) -> None:
        """All text of a recording is known; its files are written next."""

    def ended(self, ending: Ending) -> None:
        """A recording has ended."""

    def kept(self) -> None:
        """The batch did not end well; what is decoded stays in the journal, for `existing="resume"`."""

    def finished(self) -> None:
        """All recordings have ended. The journal of a batch that ended well is deleted after this."""


class BatchRun:
    """Recordings to transcribe with one model and the same options.

    Args:
        jobs: What `plan` returned for one output folder.
        model: A `Model` or another `Recogniser`, or a function that loads one; it is not called when all recordings are
            skipped or refused.
        options, tracks: How to decode, and what of each recording (see `Model.stream_all`).
        style, layout: The look of the subtitles, and their layout; None writes segments as recognised.
        existing: What to do about results of an earlier run. "resume" wants the same model, options and formats.
        keeps_done: Whether the journal remembers recordings that are done, so that "resume" skips them. False for
            callers that can tell by the files.
        priority, most_seconds: As in `Model.stream_all`.
        diarize: The same, or a function that returns it, which is called once the model is loaded. Recordings of known
            voices are heard once.
        turns: An RTTM that says who speaks in the recordings, by their names without the suffix (one recording and an
            RTTM of one need no such name); their segments come at the end. Needs word times, and no `diarize`.
        observer: Follows the progress.

    """

    def __init__(
        self,
        jobs: Sequence[Job],
        model: Recogniser | Callable[[], Recogniser],
        options: DecodingOptions | None = None,
        *,
        tracks: Tracks | None = None,
        style: Style = PLAIN,
        layout: Layout | None = None,
        existing: Existing = "overwrite",
        keeps_done: bool = True,
        priority: int = 0,
        most_seconds: float | None = None,
        diarize: bool | SpeakerOptions | Callable[[], bool | SpeakerOptions] = False,
        turns: Rttm | None = None,
        observer: Observer | None = None,
    ) -> None:
        if existing not in get_args(Existing):
            raise UsageError(f"existing must be one of {', '.join(get_args(Existing))}, not {existing!r}")
        self._jobs, self._model = jobs, model
        self._options, self._tracks = options or DecodingOptions(), tracks or Tracks()
        self._style, self._layout = style, layout
        self._existing, self._keeps_done = existing, keeps_done
        self._priority, self._most_seconds, self._diarize = priority, most_seconds, diarize
        self._turns, self._observer = turns, observer or Observer()
        self._failed = self._has_results = False

    def run(self) -> Iterator[Ending]:
        """Transcribe the recordings, and yield how each ended.

        A recording that fails does not stop the others. Leaving the iteration early, an interruption or a kill keeps
        the journal. Raises `OutputError` for an output folder that cannot be written, what loading the model raises,
        and `ClusterError` when the machines that decode are lost.
        """
        ready = []
        done = outputs.done(self._jobs) if self._existing == "skip" else frozenset[str]()
        unasked = (job.source for job in self._jobs if is_url(job.source) and job.state is None)
        states = ask_all(examine, (source for source in unasked if source not in done))
        for job in self._jobs:
            state = states.get(job.source, job.state)
            if job.source in done:
                yield self._ended(Ending(job.name, "skipped", "its files are there already"))
            elif isinstance(state, Exception):
                yield self._ended(_failure(job, state))
            elif (error := self._refusal(job)) is not None:
                yield self._ended(_failure(job, error))
            else:
                ready.append(replace(job, state=state))
        if not ready:
            self._observer.finished()
            return
        folders = dict.fromkeys((ready[0].directory, *(file.parent for job in ready for file in job.files)))
        with outputs.new_folders([*folders]):
            yield from self._run(ready)

    def _refusal(self, job: Job) -> Exception | None:
        """What is wrong with a recording, as far as that shows without decoding it."""
        from mtasr.audio.read import check_input, check_reopenable

        try:
            if not is_url(job.source):  # stores have been asked, many at a time
                check_input(job.source)
            if self._tracks.channels == "split":
                check_reopenable(job.source)
            if self._turns is not None:
                self._turns_in(job)
        except Exception as error:
            return error
        return None

    def _run(self, ready: Sequence[Job]) -> Iterator[Ending]:
        from mtasr.batch.journal import Journal

        model = self._model() if callable(self._model) else self._model
        speakers = self._speakers(model)
        looks = (self._tracks, self._layout, self._style)
        settings = (model.fingerprint(), self._options, *looks, *_settings_of(speakers))
        resume = self._existing == "resume"
        journal = Journal(ready[0].directory, settings, resume=resume, keeps_done=self._keeps_done)
        try:
            yield from self._decode(model, speakers, journal, ready)
        except BaseException as error:
            # A reader of standard output that exits early has read enough, unless files are wanted too.
            enough = isinstance(error, BrokenPipeError) and not (resume or self._has_results)
            self._leave(journal, keep=not enough)
            raise
        if self._failed:
            self._leave(journal, keep=True)
        self._observer.finished()
        if not self._failed:
            journal.close(keep=False)  # last, so that resuming repeats nothing whatever stops the program before

    def _speakers(self, model: Recogniser) -> SpeakerOptions | None:
        """How speakers are told apart, None if they are not. Raises `InputError` for recordings of voices."""
        from mtasr.speakers.options import split_off

        speakers, _ = split_off(self._diarize() if callable(self._diarize) else self._diarize, {})
        return None if speakers is None else model.enrolled(speakers)

    def _leave(self, journal: Journal, *, keep: bool) -> None:
        journal.close(keep=keep)
        if journal.exists:
            self._observer.kept()

    def _decode(
        self, model: Recogniser, speakers: SpeakerOptions | None, journal: Journal, ready: Sequence[Job]
    ) -> Iterator[Ending]:
        from mtasr.batch.journal import notes_of

        left: list[tuple[Job, Entry | None]] = []
        for job in ready:
            entry = journal.entry(job, None if self._turns is None else self._turns_in(job))
            if self._existing == "resume" and entry is not None and entry.is_done():
                yield self._ended(Ending(job.name, "skipped", "it was done before"))
            else:
                left.append((job, entry))
        if journal.discarded:
            self._observer.discarded()
        self._observer.begun([job for job, _ in left])
        sources, notes = [job.source for job, _ in left], [notes_of(entry) for _, entry in left]
        with model.stream_all(
            sources,
            self._options,
            tracks=self._tracks,
            notes=notes,
            priority=self._priority,
            most_seconds=self._most_seconds,
            diarize=speakers or False,
        ) as streams:
            for (job, entry), transcription in zip(left, streams.drain(), strict=True):
                yield self._ended(self._attempt(job, transcription, entry))

    def _attempt(self, job: Job, transcription: Transcription, entry: Entry | None) -> Ending:
        try:
            with contextlib.nullcontext() if entry is None else contextlib.closing(entry):
                ending = self._transcribe(job, transcription)
                if entry is not None:
                    entry.done()
                return ending
        except BrokenPipeError:
            raise
        except Exception as error:
            if isinstance(error, ClusterError) and not isinstance(error, WorkerDiedError):
                raise  # no other recording can be decoded either
            return _failure(job, error)

    def _transcribe(self, job: Job, transcription: Transcription) -> Ending:
        """Transcribe one recording and write its files."""
        unshown: OutputError | None = None
        with transcription:
            decoded = (
                transcription if self._turns is None else _Assigned(transcription, self._turns, self._turns_in(job))
            )
            with self._observer.transcribing(job, transcription):
                told: Iterator[Callable[[], None]] = (partial(self._observer.segment, each) for each in decoded)
                for tell in itertools.chain(told, [self._observer.all_segments]):
                    try:
                        if unshown is None:
                            tell()
                    except OutputError as error:  # A full disk behind standard output does not cost the files.
                        unshown = error
            transcript = decoded.transcript()
        self._observer.transcribed(job, transcription, transcript)
        # The translation is of the same recording.
        style = replace(self._style, recording=self._style.recording or _recording(job))
        broken = outputs.write_job(transcript, job, style, self._layout)
        if unshown is not None:
            raise unshown
        doubtful = transcript.coverage is not None and not transcript.coverage.complete
        return Ending(
            job.name,
            "in doubt" if doubtful else "done",
            seconds=transcript.duration,
            language=transcript.language if transcript.text else None,
            files=tuple(map(str, job.files)),
            coverage=transcript.coverage if doubtful else None,
            broken=broken,
            without_turn=0.0 if self._turns is None else seconds_without_turn(transcript),
        )

    def _turns_in(self, job: Job) -> tuple[Turn, ...]:
        return () if self._turns is None else self._turns.turns(_recording(job), is_alone=len(self._jobs) == 1)

    def _ended(self, ending: Ending) -> Ending:
        self._failed |= ending.result == "failed"
        self._has_results |= bool(ending.files)
        self._observer.ended(ending)
        return ending


def _recording(job: Job) -> str:
    """The name of a recording without its suffix."""
    return Path(job.stem).name


class _Assigned:
    """A recording with the speakers of turns. Its segments come at the end: who says a word depends on those after it.

    If it fails half-way, those so far come before the error.
    """

    def __init__(self, transcription: Transcription, rttm: Rttm, turns: Sequence[Turn]) -> None:
        """`turns` are those that the `rttm` has of the recording."""
        self._transcription, self._rttm, self._turns = transcription, rttm, turns
        self._whole: Transcript | None = None

    def __iter__(self) -> Iterator[Segment]:
        held: list[Segment] = []
        try:
            for segment in self._transcription:
                held.append(segment)
        except Exception:
            yield from assign_segments(held, AllSpeakerTimes(self._turns))
            raise
        yield from self.transcript()

    def transcript(self) -> Transcript:
        """The whole. Raises `InputError` if the turns are those of another recording."""
        if self._whole is None:
            whole = self._transcription.transcript()
            if self._turns and self._turns[0].start >= whole.duration:
                raise InputError(f"{self._rttm.path}: its turns begin after the end of the recording")
            self._whole = assign(whole, self._turns)
        return self._whole


def _settings_of(speakers: SpeakerOptions | None) -> Sequence[object]:
    """What the speakers depend on, nothing if they are not told apart."""
    from mtasr.models.speakers import find
    from mtasr.speakers.voices import KnownVoices

    if speakers is None:
        return ()
    known, model = speakers.voices, find(None)
    digest = known.digest if isinstance(known, KnownVoices) else None
    return replace(speakers, voices=digest), model.name, model.revision


def _failure(job: Job, error: Exception) -> Ending:
    return Ending(job.name, "failed", str(error) or type(error).__name__, error=error)

"""From a recording to a transcript: what the command line and the Python API both call."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.sources import Source, opener, openers, opens_at_once
from mtasr.audio.tracks import Tracks
from mtasr.closing import ClosingIterator
from mtasr.decoding.checks import Checks
from mtasr.decoding.groups import Recording, loaded_before_fork
from mtasr.decoding.language import MOST_WINDOWS
from mtasr.decoding.longform import LongForm, full_window
from mtasr.decoding.retries import RETRIES, Retry
from mtasr.decoding.scheduler import Scheduler
from mtasr.decoding.single_windows import SingleWindows
from mtasr.decoding.submission import ChannelSubmission, NoNotes, PlacedResult, ResumeNotes
from mtasr.decoding.survey import Survey, WindowsFound, ignored, survey_channel
from mtasr.decoding.transcription import OnProgress, Scheduled, Transcription, Transcriptions
from mtasr.decoding.window_decoder import WindowDecoder
from mtasr.decoding.windows import LEAST_SECONDS, Window, WindowOutline, cut_windows, longest_for
from mtasr.engine_loading import ctranslate2_engine, torch_engine
from mtasr.engines.engine import Engine, LanguageGuess
from mtasr.errors import ModelError, UsageError
from mtasr.models import DEFAULT_MODEL, resolve
from mtasr.options import DecodingOptions, merge_options
from mtasr.recordings.channels import channel_openers
from mtasr.recordings.decoded import DecodedRecording, decoded_recordings, heard_speakers
from mtasr.recordings.together import transcription_of
from mtasr.recordings.versions import opening_version, version_if_known
from mtasr.resolved_options import ResolvedOptions, language_given, resolve_options, with_language_codes
from mtasr.speakers.diarize import load_diarizer
from mtasr.speakers.diarized import SpeakerListener, listeners
from mtasr.speakers.options import SpeakerOptions
from mtasr.speakers.voices import Diarizes, KnownVoices, enrolled
from mtasr.stopwatch import Stopwatch
from mtasr.transcript import Transcript
from mtasr.vad import DEFAULT_DETECTOR, DETECTORS, MakeDetector, SileroDetector, SpeechDetector

#: What runs the network: CTranslate2, or the torch reference, which is slower and needs the extra `train`.
EngineName = Literal["ctranslate2", "torch"]


def load_model(
    name: str | Path | None = None,
    *,
    device: str = "auto",
    device_index: int = 0,
    compute_type: str = "auto",
    threads: int = 0,
    workers: int = 0,
    batch_size: int = 0,
    engine: EngineName = "ctranslate2",
    detector: str | MakeDetector = DEFAULT_DETECTOR,
    retries: tuple[Retry, ...] = RETRIES,
    diarizer: Callable[[], Diarizes] = load_diarizer,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Model:
    """Load a model by name ("base", "large-v3", ...), hub name ("owner/name") or folder; "base" without a name.

    A named model that is not on this machine is downloaded; `progress(file, bytes_done, bytes_total)` follows that.

    `device` is auto, cpu, cuda or cuda:N. `compute_type` auto computes in int8 on the CPU and int8_float16 on CUDA.
    `threads` is the number of CPU threads in all, `workers` of batches decoded at a time, and `batch_size` of windows
    in a batch; 0 means automatic. They change speed and memory, not the result. The torch engine ignores `workers` and
    `batch_size`, computes in float32, float16 or bfloat16, and also loads checkpoints (an OpenAI .pt file, a Hugging
    Face folder).

    `detector` finds speech: a name in `mtasr.vad.DETECTORS`, or a function that makes a `SpeechDetector` for a
    recording. `retries` are the ways to decode again a window that fails the checks (`mtasr.decoding.retries`).
    `diarizer` loads what tells speakers apart, when that is first asked for.

    Raises `ModelError` (see `mtasr.errors`) if the model cannot be found, loaded or run here, `UsageError` for
    arguments that make no sense.
    """
    if engine not in get_args(EngineName):
        raise UsageError(f"engine must be {' or '.join(get_args(EngineName))}, not {engine!r}")
    for name_, value in (("threads", threads), ("workers", workers), ("batch_size", batch_size)):
        if value < 0:
            raise UsageError(f"{name_} must be at least 0, not {value}")
    if isinstance(detector, str):
        if detector not in DETECTORS:
            raise UsageError(f"detector must be {' or '.join(DETECTORS)}, not {detector!r}")
        detector = DETECTORS[detector]
    settings: dict[str, Any] = {
        "device": device, "device_index": device_index, "compute_type": compute_type, "threads": threads,
    }  # fmt: skip
    name = DEFAULT_MODEL if name is None else name
    if engine == "torch":
        loaded, fingerprint = torch_engine(name, settings, progress)
    else:
        settings |= {"workers": workers, "batch_size": batch_size}
        loaded, fingerprint = ctranslate2_engine(resolve(name, progress=progress), settings)
    return Model(loaded, fingerprint, detector=detector, retries=retries, diarizer=diarizer)


class Model:
    """A loaded model, for any number of recordings and threads.

    Calls from several threads share the machine: their windows are decoded in the same batches, and callers take turns
    window by window, so a short recording does not wait for a long one. Each gets the result that it would get alone.
    With `condition_on_previous_text` each call computes by itself.
    """

    def __init__(
        self,
        engine: Engine,
        fingerprint: Callable[[], str] = str,
        *,
        detector: MakeDetector = SileroDetector,
        retries: tuple[Retry, ...] = RETRIES,
        diarizer: Callable[[], Diarizes] = load_diarizer,
    ) -> None:
        """`fingerprint` returns a text that differs for every model and way of computing. `diarizer`
        loads what tells speakers apart, when that is first asked for.

        Raises `ModelError` for an encoder that takes too little audio.
        """
        seconds = engine.limits.audio_seconds
        if seconds < LEAST_SECONDS:
            raise ModelError(f"the model's encoder takes {seconds:g} s of audio; at least {LEAST_SECONDS:g} are needed")
        self.engine = engine
        self.fingerprint = fingerprint
        self._detector, self._diarizer = detector, diarizer
        self._process = os.getpid()
        self._stopwatch = Stopwatch()
        self._scheduler = Scheduler(engine, self._stopwatch, detector, retries)

    @property
    def timings(self) -> dict[str, float]:
        """Seconds spent so far by stage (decode, features, encode, generate, ...), summed over threads."""
        return self._stopwatch.seconds

    def transcribe(
        self,
        source: Source,
        options: DecodingOptions | None = None,
        *,
        progress: OnProgress | None = None,
        **changes: Any,
    ) -> Transcript:
        """Transcribe a recording, or translate it with `task="translate"`, and return the whole result.

        `source` is a path, a URL, "-" for standard input, an open binary file, samples (16 kHz, mono, float, shape
        (n,)) or an iterable of such samples. A string that looks like a URL is opened as one, so that this connects to
        its server; a `pathlib.Path` never is. Options are the fields of `DecodingOptions`, as one object, as keywords,
        or both (keywords win). Keywords may also be fields of `Tracks` (which audio track, whether channels are split),
        and `checks` and `priority` as in `stream_all`. `progress(seconds, total)` is called after each window.

        With `diarize=True`, speakers are told apart by their voices: each segment and word names its speaker, and
        `Transcript.turns` says who speaks when. Keywords may then also be fields of `SpeakerOptions`, such as
        `num_speakers` and `speakers` (names in order of appearance). The models for that are downloaded the first time.

        Raises `InputError` if the recording cannot be read and `UsageError` for options that make no sense.
        """
        with self.stream(source, options, **changes) as transcription:
            transcription.on_progress = progress
            return transcription.transcript()

    def stream(self, source: Source, options: DecodingOptions | None = None, **changes: Any) -> Transcription:
        """The same, as an iterator over segments that yields each as soon as it is decoded.

        Use it in a `with` block, so that leaving early closes the recording. An iterable of samples may still be
        growing: segments come before it ends.
        """
        streams = self.stream_all([source], options, **changes)
        only: Transcription = streams[0]
        try:
            only.open()
        except BaseException:
            streams.close()
            raise
        return only

    def stream_all(
        self,
        sources: Sequence[Source],
        options: DecodingOptions | None = None,
        *,
        tracks: Tracks | None = None,
        notes: Sequence[Callable[[int], ResumeNotes]] = (),
        checks: Checks | None = None,
        priority: int = 0,
        most_seconds: float | None = None,
        diarize: bool | SpeakerOptions = False,
        **changes: Any,
    ) -> Transcriptions:
        """Several recordings, to be iterated in their order: one is decoded while the next is read.

        Their windows are decoded together, which is much faster for short recordings. If a recording fails, its
        `Transcription` raises the error, and the others go on. Use the result in a `with` block.

        With `channels="split"` the channels are decoded separately, and each has its language. Segments then name their
        speaker, and come in order of time once the last channel is being decoded.

        With `diarize`, True or a `SpeakerOptions`, speakers of mixed channels are told apart by voice. Who is who shows
        at the end of a recording, so all its segments come then, with word times, and progress until then.

        `notes` has one function for each source; it returns what an earlier run noted of a channel, and those windows
        are not decoded again. `checks` are the thresholds that decide whether text is trusted, apart from the three
        that are options. Windows of a higher `priority` are decoded first (`Transcription.priority` changes it).
        `notes` and `priority` have no effect with `condition_on_previous_text`. A recording longer than `most_seconds`
        raises `RecordingTooLongError` while it is read.
        """
        self._require_own_process()
        resolved = resolve_options(self.engine.tokenizer, options, tracks=tracks, diarize=diarize, changes=changes)
        submitted = self._submitted(sources, resolved, notes, checks, priority, most_seconds)
        return Transcriptions(
            transcription_of(channels, resolved.tracks, resolved.options, listener) for channels, listener in submitted
        )

    def decode_all(
        self,
        sources: Sequence[Source],
        options: DecodingOptions | None = None,
        *,
        tracks: Tracks | None = None,
        notes: Sequence[Callable[[int], ResumeNotes]] = (),
        checks: Checks | None = None,
        priority: int = 0,
        most_seconds: float | None = None,
        diarize: bool | SpeakerOptions = False,
        **changes: Any,
    ) -> ClosingIterator[DecodedRecording]:
        """Decode recordings for another machine: all that `received` needs to build their transcriptions.

        Everything is as in `stream_all`, but errors of recordings are in the results. Closing the iterator cancels.
        """
        self._require_own_process()
        resolved = resolve_options(self.engine.tokenizer, options, tracks=tracks, diarize=diarize, changes=changes)
        submitted = self._submitted(sources, resolved, notes, checks, priority, most_seconds)
        return decoded_recordings(submitted, resolved.language)

    def survey(
        self,
        source: Source,
        options: DecodingOptions | None = None,
        *,
        tracks: Tracks | None = None,
        checks: Checks | None = None,
        most_seconds: float | None = None,
        diarize: bool | SpeakerOptions = False,
        found: WindowsFound = ignored,
        **changes: Any,
    ) -> Survey:
        """Read a recording to its end, cut it into windows and judge its language, without decoding the windows.

        Its windows can then be decoded by several models (`decode_windows`), which give the results of `stream_all`
        together. `found(channel, spoken, outlines)` is told of them while the recording is read. With `diarize`,
        speakers are told apart too. Other arguments are as in `stream_all`.

        Errors of the recording are in the survey. Raises `UsageError` for options that make no sense, and with
        `condition_on_previous_text`, where windows depend on the text before them.
        """
        self._require_own_process()
        resolved = resolve_options(self.engine.tokenizer, options, tracks=tracks, diarize=diarize, changes=changes)
        _require_windows(resolved.options)
        version = version_if_known(source)  # before it is opened: what changes later shows
        (listener,) = self._listeners(resolved.speakers, 1)
        decoder = self._scheduler.decoder(resolved.options, checks)
        channels = []
        for channel, open_ in enumerate(channel_openers(source, resolved.tracks, most_seconds)):
            recording = Recording(open=open_, language=resolved.language, listener=listener)
            told = partial(found, channel)
            channels.append(survey_channel(recording, decoder, resolved.options, self._detector, self._stopwatch, told))
        speakers = None if listener is None else heard_speakers(listener)
        return Survey(channels=tuple(channels), speakers=speakers, version=version)

    def decode_windows(
        self,
        source: Source,
        outlines: Sequence[WindowOutline],
        options: DecodingOptions | None = None,
        *,
        language: str,
        tracks: Tracks | None = None,
        channel: int = 0,
        version: str | None = None,
        draws: bool = False,
        checks: Checks | None = None,
        priority: int = 0,
        diarize: bool | SpeakerOptions = False,
        **changes: Any,
    ) -> ClosingIterator[PlacedResult]:
        """Decode some windows of a recording that was surveyed, in file order; yields each as soon as it is decoded.

        `language` is `ChannelSurvey.spoken` of the `channel`, and `version` is `Survey.version`, None for any; other
        arguments are as for the survey. The recording is read from its start up to the last window, because seeking is
        not exact, and without voice activity detection. Closing the iterator cancels.

        What is drawn at random depends on what was drawn before it. So windows that need it have no result. When all
        others of the channel are decoded, call this once more with those, and `draws`: they then have the results that
        they have in `stream_all`. If `is_divisible` says False, windows have no results without `draws`.

        Raises `InputError` if the recording cannot be read, has another version or lacks a window; what went wrong with
        a window, in its turn; and `UsageError` as `survey`.
        """
        self._require_own_process()
        resolved = resolve_options(self.engine.tokenizer, options, tracks=tracks, diarize=diarize, changes=changes)
        _require_windows(resolved.options)
        open_ = opening_version(opener(source, resolved.tracks, channel), source, version)
        recording = Recording(open=open_, language=language, outlines=tuple(outlines))
        (state,) = self._scheduler.submit([recording], resolved.options, checks=checks, priority=priority)
        windows = Scheduled(self._scheduler, state)
        return ClosingIterator(windows.placed(draws=draws), windows.close)

    def _submitted(
        self,
        sources: Sequence[Source],
        resolved: ResolvedOptions,
        notes: Sequence[Callable[[int], ResumeNotes]],
        checks: Checks | None,
        priority: int,
        most_seconds: float | None,
    ) -> list[tuple[list[ChannelSubmission], SpeakerListener | None]]:
        """The channels of each source on their way to text, and who listens to them."""
        checks = checks or Checks()
        opening = [channel_openers(source, resolved.tracks, most_seconds) for source in sources]
        heard_by = self._listeners(resolved.speakers, len(sources))
        if resolved.options.condition_on_previous_text:
            submissions: Iterator[ChannelSubmission] = (
                LongForm(self.engine, open_, resolved.language, resolved.options, checks, self._detector, listener)
                for channels, listener in zip(opening, heard_by, strict=True)
                for open_ in channels
            )
        else:
            notes = notes or [lambda channel: NoNotes()] * len(sources)
            recordings = [
                Recording(
                    open=open_,
                    opens_at_once=opens_at_once(source),
                    language=resolved.language,
                    notes=noted(channel),
                    listener=listener,
                )
                for source, channels, noted, listener in zip(sources, opening, notes, heard_by, strict=True)
                for channel, open_ in enumerate(channels)
            ]
            states = self._scheduler.submit(recordings, resolved.options, checks=checks, priority=priority)
            submissions = iter([Scheduled(self._scheduler, state) for state in states])
        return [
            (list(itertools.islice(submissions, len(channels))), listener)
            for channels, listener in zip(opening, heard_by, strict=True)
        ]

    def _listeners(self, speakers: SpeakerOptions | None, count: int) -> list[SpeakerListener | None]:
        """Who listens to each of so many recordings, None unless speakers are told apart."""
        if speakers is None:
            return [None] * count
        return [*listeners(self._diarizer(), speakers, count)]

    def enrolled(self, speakers: SpeakerOptions) -> SpeakerOptions:
        """The options with voices in place of a folder with recordings of them, to be heard once for many calls.

        Raises `InputError` for recordings that are of no use, `ModelError` if the weights cannot be had.
        """
        is_known = speakers.voices is None or isinstance(speakers.voices, KnownVoices)
        return speakers if is_known else enrolled(speakers, self._diarizer())

    def detect_language(
        self,
        source: Source,
        languages: Sequence[str] | None = None,
        *,
        audio_stream: int = 0,
        most_seconds: float | None = None,
    ) -> list[LanguageGuess]:
        """The languages of the model (or of these alone) with their probabilities, the most probable first.

        The first speech decides, up to where the language is clear; if nobody speaks, the first 30 s. `audio_stream`
        chooses one of several audio tracks, counted from 0. Empty for a recording without audio.

        Raises `InputError` if the recording cannot be read, `RecordingTooLongError` if it is longer than `most_seconds`
        and that shows before the language does, `UsageError` for an English-only model or an unknown language.
        """
        self._require_own_process()
        tracks = Tracks(audio_stream=audio_stream)
        if not self.engine.tokenizer.is_multilingual:
            raise UsageError("this model is English-only and cannot detect languages; use a multilingual model")
        options = with_language_codes(self.engine.tokenizer, merge_options(DecodingOptions(), {"languages": languages}))
        head, most = [np.zeros(0, np.float32)], full_window(self.engine)
        (open_,) = openers(source, tracks, most_seconds)
        with contextlib.closing(open_()) as audio:
            blocks: Iterator[Float32Array] = iter(audio)
            while sum(map(len, head)) < most and (block := next(blocks, None)) is not None:
                head.append(block)
            found = cut_windows(
                itertools.chain(head, blocks),
                detector=self._detector(),
                threshold=options.vad_threshold,
                stopwatch=self._stopwatch,
                longest=longest_for(options, self.engine.limits.audio_seconds),
                audio_seconds=self.engine.limits.audio_seconds,
            )
            windows = list(itertools.islice(found, MOST_WINDOWS)) or [Window(0, np.concatenate(head)[:most], ())]
        if not len(windows[0].samples):
            return []
        decoder = WindowDecoder(self.engine, options, self._stopwatch)
        return decoder.judge_language([decoder.input(each) for each in windows])

    def single_windows(
        self, options: DecodingOptions, *, priority: int = 0, retries: tuple[Retry, ...] | None = None
    ) -> SingleWindows:
        """Decodes windows that the caller cuts, in turn with those of recordings; for live sessions.

        Raises `UsageError` for languages that the model lacks.
        """
        self._require_own_process()
        options = with_language_codes(self.engine.tokenizer, options)
        return self._scheduler.single_windows(options, priority=priority, retries=retries)

    def language_of(self, options: DecodingOptions) -> str | None:
        """The code of the language that the options give, None if it is to be detected. Raises `UsageError`."""
        return language_given(self.engine.tokenizer, options)

    def listener(self, speakers: SpeakerOptions) -> SpeakerListener:
        """Tells the speakers of one source of sound apart; for live sessions. Raises as `enrolled`."""
        return listeners(self._diarizer(), speakers, 1)[0]

    def new_detector(self) -> SpeechDetector:
        """A voice activity detector for one source of sound."""
        return self._detector()

    def close(self) -> None:
        """Cancel what is being transcribed, and end the threads, after the batches under way. No call may follow.

        Memory is given back with the last reference to the model, and to the system by `system.return_freed_memory`.
        """
        self._scheduler.stop()

    def _require_own_process(self) -> None:
        """Raise `ModelError` in a forked process."""
        if os.getpid() != self._process:
            raise loaded_before_fork()


def _require_windows(options: DecodingOptions) -> None:
    """Raise `UsageError` if windows cannot be cut before they are decoded."""
    if options.condition_on_previous_text:
        raise UsageError("with condition_on_previous_text, only whole recordings can be decoded")

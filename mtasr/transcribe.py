"""From a recording to a transcript: what the command line and the Python API both call."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Protocol, Self, get_args

import numpy as np
import numpy.typing as npt

from mtasr import system
from mtasr.audio.read import SAMPLE_RATE, AudioStream, check_input, check_reopenable, count_channels, open_audio
from mtasr.audio.tracks import Tracks
from mtasr.decoding.channels import in_order_of_time, spoken_by, together
from mtasr.decoding.clips import Clips
from mtasr.decoding.coverage import coverage
from mtasr.decoding.language import MOST_WINDOWS, among
from mtasr.decoding.longform import LongForm, WindowResult, encode_window, full_window
from mtasr.decoding.notes import Memory, Oblivious
from mtasr.decoding.sample_buffer import SampleBuffer
from mtasr.decoding.scheduler import Audio, Pipeline, Recording
from mtasr.decoding.window_decoder import WindowDecoder
from mtasr.decoding.windows import LEAST_SECONDS, Window, cut_windows, longest_for
from mtasr.engines.engine import Encoded, Engine, Float32Array, LanguageGuess
from mtasr.errors import InputError, ModelError, UsageError
from mtasr.extras import extras
from mtasr.models import DEFAULT_MODEL, Progress, resolve
from mtasr.models.fingerprint import fingerprint
from mtasr.options import DecodingOptions
from mtasr.stopwatch import Stopwatch
from mtasr.tokenizer import Tokenizer, to_code
from mtasr.transcript import Alternatives, Coverage, Segment, Transcript
from mtasr.vad.silero import SpeechTrack

#: A file, "-" for standard input, an open binary file, or samples: 16 kHz, mono, float, shape (n,).
Source = str | os.PathLike[str] | BinaryIO | npt.NDArray[np.floating[Any]]

#: What runs the network: CTranslate2, or the torch reference, which is slower and needs the extra `train`.
EngineName = Literal["ctranslate2", "torch"]

_BLOCK = 10 * SAMPLE_RATE

#: The keywords that say what of a recording is transcribed, not how.
_TRACKS = frozenset(Tracks.__dataclass_fields__)


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
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Model:
    """Load a model by name ("base", "large-v3", ...), hub name ("owner/name") or folder; "base" without a name.

    A named model that is not on this machine yet is downloaded; `progress(file, bytes_done, bytes_total)` then
    follows. `device` is auto, cpu, cuda or cuda:N; `compute_type` auto takes int8 on the CPU and int8_float16 on CUDA;
    `threads` is the CPU threads in all, `workers` how many batches are decoded at a time and `batch_size` how many
    windows are in one; 0 chooses. They change speed and memory, not the result. The torch engine, which goes without
    the last two, also takes checkpoints of other formats (an OpenAI .pt file, a Hugging Face folder), and computes in
    float32, float16 or bfloat16.

    Raises `ModelError` (see `mtasr.errors`) when the model cannot be had or cannot run here.
    """
    if engine not in get_args(EngineName):
        raise UsageError(f"engine is {' or '.join(get_args(EngineName))}, not {engine!r}")
    for name_, value in (("threads", threads), ("workers", workers), ("batch_size", batch_size)):
        if value < 0:
            raise UsageError(f"{name_} is at least 0, not {value}")
    settings: dict[str, Any] = {
        "device": device, "device_index": device_index, "compute_type": compute_type, "threads": threads,
    }  # fmt: skip
    if engine == "torch":
        return Model(*_torch_engine(DEFAULT_MODEL if name is None else name, settings, progress))
    folder = resolve(DEFAULT_MODEL if name is None else name, progress=progress)
    from mtasr.checkpoints.ctranslate2.info import checked_folder
    from mtasr.engines.ctranslate2 import CTranslate2Engine
    from mtasr.models import int8_copy

    dims, _, tokens, generation = checked_folder(folder)
    loaded = CTranslate2Engine(
        folder,
        workers=workers,
        batch_size=batch_size,
        dims=dims,
        tokens=tokens,
        variable_length=generation.variable_length,
        int8_copy=partial(int8_copy.provide, folder),
        **settings,
    )
    if loaded.folder == folder and (loaded.device, loaded.compute_type) == ("cpu", "int8"):
        int8_copy.make_later(folder)
    computes = (loaded.device, loaded.compute_type, str(system.largest_weight()))
    return Model(loaded, partial(fingerprint, folder, *computes))


def _torch_engine(
    name: str | Path, settings: dict[str, Any], progress: Progress | None
) -> tuple[Engine, Callable[[], str]]:
    with extras():
        from mtasr.engines.torch import TorchEngine
    from mtasr.checkpoints.formats import load_checkpoint

    source = Path(name) if _is_checkpoint(Path(name)) else resolve(name, progress=progress)
    checkpoint = load_checkpoint(source)
    engine = TorchEngine(
        checkpoint.model,
        Tokenizer(checkpoint.tokens),
        suppress_ids=checkpoint.settings.suppress_ids,
        suppress_ids_begin=checkpoint.settings.suppress_ids_begin,
        alignment_heads=checkpoint.settings.alignment_heads,
        variable_length=checkpoint.settings.variable_length,
        **settings,
    )
    return engine, partial(fingerprint, source, "torch", str(engine.model.device), settings["compute_type"])


def _is_checkpoint(path: Path) -> bool:
    """Whether this is a checkpoint that CTranslate2 cannot load and `resolve` does not know."""
    return path.is_file() or (any(path.glob("*.safetensors")) and not (path / "model.bin").exists())


class Model:
    """A loaded model. Use it for as many recordings as you like, one call at a time."""

    def __init__(self, engine: Engine, fingerprint: Callable[[], str] = str) -> None:
        """`fingerprint` gives what tells this model, as it computes here, from others.

        Raises `ModelError` for an encoder that takes too little.
        """
        if engine.audio_seconds < LEAST_SECONDS:
            raise ModelError(
                f"the model's encoder takes {engine.audio_seconds:g} s of audio; at least {LEAST_SECONDS:g} are needed"
            )
        self.engine = engine
        self.fingerprint = fingerprint
        self._stopwatch = Stopwatch()

    @property
    def timings(self) -> dict[str, float]:
        """Seconds spent so far by stage (decode, features, encode, generate, ...), summed over threads."""
        return self._stopwatch.seconds

    def transcribe(self, source: Source, options: DecodingOptions | None = None, **changes: Any) -> Transcript:
        """Transcribe a recording (or translate it, with `task="translate"`) and return the whole result.

        Options are the fields of `DecodingOptions`, given as one object, as keywords, or both (keywords win). The
        fields of `Tracks` are keywords too: which audio track, and whether its channels are split.
        Raises `InputError` when the recording cannot be read and `UsageError` for options that make no sense.
        """
        with self.stream(source, options, **changes) as transcription:
            return transcription.transcript()

    def stream(self, source: Source, options: DecodingOptions | None = None, **changes: Any) -> Transcription:
        """The same, as an iterator over segments that yields each as soon as it is known.

        Use it in a `with` block, so that leaving early closes the recording.
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
        memories: Sequence[Callable[[int], Memory]] = (),
        **changes: Any,
    ) -> Transcriptions:
        """Several recordings, to be iterated in their order: one is decoded while the next is read.

        Windows of different recordings are decoded together, which is much faster for short ones. What is wrong with a
        recording is raised by its own `Transcription` alone. Use it in a `with` block.

        With `channels="split"` each channel is a recording of its own, and so is its language. The segments, which then
        name their speaker, come in order of time as soon as the last channel is being decoded.

        `memories`, one for each source, give what is known of its channels: what they know is not decoded again. That
        is of no use with `condition_on_previous_text`.
        """
        tracks = replace(tracks or Tracks(), **{key: changes[key] for key in _TRACKS & set(changes)})
        changes = {key: value for key, value in changes.items() if key not in _TRACKS}
        merged = _resolved(self.engine.tokenizer, _merged(options, changes))
        if merged.prefix and tracks.channels == "split":
            raise UsageError("a prefix is what one speaker begins with: it does not go with channels split")
        language = _language(self.engine.tokenizer, merged)
        openers = [_openers(source, tracks) for source in sources]
        if merged.condition_on_previous_text:
            sequential = ([_Sequential(self.engine, each, language, merged) for each in group] for group in openers)
            return Transcriptions(_transcription(works, tracks, merged) for works in sequential)
        recordings = [
            [
                Recording(each, quick=_opens_at_once(source), language=language, memory=memory(channel))
                for channel, each in enumerate(channels)
            ]
            for source, channels, memory in zip(
                sources, openers, memories or [_nothing_known] * len(sources), strict=True
            )
        ]
        pipeline = Pipeline(self.engine, merged, list(itertools.chain(*recordings)), self._stopwatch)
        parallel = ([_Parallel(pipeline, each) for each in channels] for channels in recordings)
        return Transcriptions((_transcription(works, tracks, merged) for works in parallel), pipeline.close)

    def detect_language(
        self, source: Source, languages: Sequence[str] | None = None, *, audio_stream: int = 0
    ) -> list[LanguageGuess]:
        """The languages of the model (or of these alone) with their probabilities, the most probable first.

        Judged by the first speech, as much of it as makes the language clear; where nobody speaks, by the first 30 s.
        Of several audio tracks, `audio_stream` chooses one, counted from 0.
        """
        tracks = Tracks(audio_stream=audio_stream)
        if not self.engine.tokenizer.is_multilingual:
            raise UsageError("this model is English-only and cannot detect languages; use a multilingual model")
        options = _resolved(self.engine.tokenizer, _merged(None, {"languages": languages}))
        head, most = [np.zeros(0, np.float32)], full_window(self.engine)
        with contextlib.closing(_open(source, tracks.audio_stream)) as audio:
            blocks = iter(audio)
            while sum(map(len, head)) < most and (block := next(blocks, None)) is not None:
                head.append(block)
            found = cut_windows(
                itertools.chain(head, blocks),
                threshold=options.vad_threshold,
                stopwatch=self._stopwatch,
                longest=longest_for(options, self.engine.audio_seconds),
                audio_seconds=self.engine.audio_seconds,
            )
            windows = list(itertools.islice(found, MOST_WINDOWS)) or [Window(0, np.concatenate(head)[:most], ())]
        if not len(windows[0].samples):
            return []
        decoder = WindowDecoder(self.engine, options, self._stopwatch)
        return decoder.judge_language([decoder.task(each, lambda: "en") for each in windows])


def _nothing_known(channel: int) -> Memory:
    return Oblivious()


def _merged(options: DecodingOptions | None, changes: dict[str, Any]) -> DecodingOptions:
    try:
        return replace(options or DecodingOptions(), **changes)
    except TypeError as exc:
        unknown = sorted(set(changes) - set(DecodingOptions.__dataclass_fields__))
        raise UsageError(f"unknown option {', '.join(unknown)}" if unknown else str(exc)) from exc


def _resolved(tokenizer: Tokenizer, options: DecodingOptions) -> DecodingOptions:
    """With languages as codes. Fails for one that the model lacks."""
    if options.languages is None:
        return options
    codes = tuple(dict.fromkeys(map(to_code, options.languages)))
    for code in codes:
        tokenizer.sot_sequence(code, options.task)
    return replace(options, languages=codes)


def _language(tokenizer: Tokenizer, options: DecodingOptions) -> str | None:
    """The code of the language asked for, None to detect it. Fails for one that the model lacks."""
    language = to_code(options.language) if options.language is not None else None
    if language is None and not tokenizer.is_multilingual:
        language = "en"
    if language is not None:
        tokenizer.sot_sequence(language, options.task)
    return language


class _Work(Protocol):
    """How a recording is transcribed."""

    @property
    def audio(self) -> Audio | None:
        """The open recording, None before it is open."""

    @property
    def samples(self) -> int:
        """How many have been read."""

    def coverage(self, segments: Sequence[Segment]) -> Coverage:
        """What voice activity says of the text of all of them."""

    def open(self) -> None:
        """Open the recording now rather than when it is needed. Raises what is wrong with it."""

    def guesses(self) -> list[LanguageGuess] | None:
        """The languages it may be in, None when that was not asked; waits until it is known."""

    def language(self) -> str:
        """The language asked for or detected; waits until it is known."""

    def results(self) -> Iterator[WindowResult]: ...

    def close(self) -> None: ...


class _Parallel:
    """Its windows side by side."""

    def __init__(self, pipeline: Pipeline, recording: Recording) -> None:
        self._pipeline, self._recording = pipeline, recording

    @property
    def audio(self) -> Audio | None:
        return self._recording.audio

    @property
    def samples(self) -> int:
        return self._recording.samples

    def coverage(self, segments: Sequence[Segment]) -> Coverage:
        return coverage(self._recording.speech, segments)

    def open(self) -> None:
        self._recording.open()
        if self._recording.error is not None:
            raise self._recording.error
        self._pipeline.start()

    def guesses(self) -> list[LanguageGuess] | None:
        if self._recording.language is not None:
            return None
        self._pipeline.start()
        return self._recording.guesses.result()

    def language(self) -> str:
        self._pipeline.start()
        return self._recording.spoken()

    def results(self) -> Iterator[WindowResult]:
        return self._pipeline.results(self._recording)

    def close(self) -> None:
        self._recording.abandon()


class _Sequential:
    """Its windows one after the other, each told the text before it."""

    def __init__(
        self, engine: Engine, opens: Callable[[], Audio], language: str | None, options: DecodingOptions
    ) -> None:
        self._engine, self._opens, self._options = engine, opens, options
        self._language = language
        self._guesses: list[LanguageGuess] | None = None
        self._first: Encoded | None = None
        self._track = SpeechTrack(options.vad_threshold)
        self._buffer = SampleBuffer(self._track.follow(self._blocks()))
        self.audio: Audio | None = None
        self.samples = 0

    def open(self) -> None:
        if self.audio is None:
            self.audio = self._opens()

    def _blocks(self) -> Iterator[Float32Array]:
        self.open()
        clips = Clips(self._options.clip_timestamps)
        for block in self.audio or ():
            masked = clips.mask(block, self.samples)
            self.samples += len(block)
            yield masked

    def guesses(self) -> list[LanguageGuess] | None:
        if self._language is None and self._guesses is None:
            samples = self._buffer.window(0, full_window(self._engine))
            self._guesses = []
            if len(samples):
                self._first = encode_window(self._engine, samples)
                self._guesses = among(self._engine.detect_language(self._first), self._options.languages)
        return self._guesses

    def language(self) -> str:
        guesses = self.guesses()
        return self._language or (guesses[0].code if guesses else "en")

    def results(self) -> Iterator[WindowResult]:
        language, engine = self.language(), self._engine.sampler(self._options.seed)
        yield from LongForm(engine, self._buffer, language, self._options, self._first, self._track).windows()

    def coverage(self, segments: Sequence[Segment]) -> Coverage:
        return coverage(self._track.stretches(), segments)

    def close(self) -> None:
        if self.audio is not None:
            self.audio.close()


class _Channels:
    """Its channels, each a recording of its own and a speaker."""

    def __init__(self, works: Sequence[_Work], tracks: Tracks) -> None:
        self._works = {tracks.speaker(channel): work for channel, work in enumerate(works)}

    @property
    def audio(self) -> Audio | None:
        """The channel that was opened last: one file, they agree on its duration and on what is wrong with it."""
        return next((work.audio for work in reversed(self._works.values()) if work.audio is not None), None)

    @property
    def samples(self) -> int:
        return max(work.samples for work in self._works.values())

    def coverage(self, segments: Sequence[Segment]) -> Coverage:
        return together(
            [
                work.coverage([segment for segment in segments if segment.speaker == speaker])
                for speaker, work in self._works.items()
            ]
        )

    def open(self) -> None:
        next(iter(self._works.values())).open()

    def _first_heard(self) -> _Work:
        """The first channel on which somebody speaks. To ask the next one is safe where a channel has no window."""
        *before, last = self._works.values()
        return next((work for work in before if work.guesses() != []), last)

    def guesses(self) -> list[LanguageGuess] | None:
        return self._first_heard().guesses()

    def language(self) -> str:
        return self._first_heard().language()

    def results(self) -> Iterator[WindowResult]:
        return in_order_of_time(
            [map(partial(spoken_by, speaker), work.results()) for speaker, work in self._works.items()]
        )

    def close(self) -> None:
        for work in self._works.values():
            work.close()


def _transcription(works: Sequence[_Work], tracks: Tracks, options: DecodingOptions) -> Transcription:
    """What is made of a recording, of that on its channels."""
    if tracks.channels == "mix":
        return Transcription(works[0], options)
    idle = ", ".join(map(repr, filter(None, tracks.speakers[len(works) :])))
    notes = [f"no channel for {idle}: there are {len(works)}"] if idle else []
    return Transcription(_Channels(works, tracks), options, notes)


class Transcription:
    """A recording that is being transcribed: iterate for its segments.

    `position` is how far the file is decoded, in seconds.
    """

    def __init__(self, work: _Work, options: DecodingOptions, notes: Sequence[str] = ()) -> None:
        self.position = 0.0
        self._notes = tuple(notes)
        self._work, self._options = work, options
        self._segments: list[Segment] = []
        self._translation: list[Segment] = []
        self._alternatives: list[Alternatives] = []
        self._pending = self._decode()
        self._closed = False
        self._failure: BaseException | None = None
        self._on_close: Callable[[], None] | None = None

    def open(self) -> None:
        """Open the recording now rather than when it is needed. Raises `InputError` when that cannot be done."""
        self._work.open()

    @property
    def language(self) -> str:
        """Code of the language, given or detected; "en" where nobody speaks.

        Waits until it is known. Of several recordings, ask the first before the next: the reader stays only so far
        ahead of what is asked for.
        """
        return self._work.language()

    @property
    def guesses(self) -> list[LanguageGuess]:
        """All languages with their probabilities, if they were detected and somebody speaks."""
        return self._work.guesses() or []

    @property
    def language_probability(self) -> float:
        """1 for a language that was given, 0 where nobody speaks."""
        guesses = self._work.guesses()
        return 1.0 if guesses is None else guesses[0].probability if guesses else 0.0

    @property
    def total(self) -> float | None:
        """The duration in seconds that the file states, if it states one and is open."""
        return self._work.audio.duration if self._work.audio is not None else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Once the end is reached: what was wrong with a recording, or is not in it though it was asked for."""
        of_audio = self._work.audio.warnings if self._work.audio is not None else ()
        end = self._work.samples / SAMPLE_RATE
        beyond = [start for start in self._options.clip_timestamps[::2] if start >= end]
        clips = [f"clips from {beyond[0]:g} s on begin after the end at {end:.1f} s"] if beyond else []
        return (*of_audio, *clips, *self._notes)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Segment:
        if self._failure is not None:  # What is incomplete does not become complete by asking once more.
            raise self._failure
        try:
            return next(self._pending)
        except StopIteration:
            raise
        except BaseException as exc:
            self._failure = exc
            raise

    def _decode(self) -> Iterator[Segment]:
        for result in self._work.results():
            self.position = result.position
            self._alternatives.extend(result.alternatives)
            for kept, new in ((self._translation, result.translation), (self._segments, result.segments)):
                kept.extend(replace(segment, id=number) for number, segment in enumerate(new, start=len(kept)))
            yield from self._segments[len(self._segments) - len(result.segments) :]
            self._require_open()
        self._require_open()
        end = self._work.samples / SAMPLE_RATE
        if self._options.clip_timestamps and min(self._options.clip_timestamps[::2]) >= end:
            raise UsageError(f"no clip begins before the end of the recording, at {end:.1f} s")

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError("the recording was closed before its end")

    def transcript(self) -> Transcript:
        """Decode what is left and return the whole. Raises `ValueError` if it was closed before the end."""
        for _ in self:
            pass
        whole = self._transcript_of(self._segments, self._options.task)
        if self._options.n_best > 1:
            whole = replace(whole, alternatives=tuple(self._alternatives))
        if self._options.also_translate:
            whole = replace(whole, translation=self._transcript_of(self._translation, "translate"))
        return whole

    def _transcript_of(self, segments: Sequence[Segment], task: str) -> Transcript:
        written = {"en" if task == "translate" else segment.language or self.language for segment in segments}
        return Transcript(
            language=self.language,
            language_probability=self.language_probability,
            duration=round(self._work.samples / SAMPLE_RATE, 3),
            segments=tuple(segments),
            coverage=self._work.coverage(segments),
            text_language=written.pop() if len(written) == 1 else None,
        )

    def close(self) -> None:
        """Stop reading the recording. Nothing happens the second time."""
        if not self._closed:
            self._closed = True
            self._work.close()
            # It leads back here, and a circle stays until Python looks for circles.
            on_close, self._on_close = self._on_close, None
            if on_close is not None:
                on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Transcriptions(Sequence[Transcription]):
    """Several recordings that are being transcribed. Closes what they share when all of them are closed."""

    def __init__(self, items: Iterable[Transcription], release: Callable[[], None] | None = None) -> None:
        self._items = list(items)
        self._release = release
        self._open = len(self._items)
        for item in self._items:
            item._on_close = self._one_closed

    def _one_closed(self) -> None:
        self._open -= 1
        if not self._open and self._release is not None:
            self._release()

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def drain(self) -> Iterator[Transcription]:
        """Each in turn, to be closed by whoever takes it, and let go of: thousands would take much memory together."""
        while self._items:
            yield self._items.pop(0)

    def close(self) -> None:
        for item in self._items:
            item.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Samples:
    """Samples in memory, behind the face of an `AudioStream`."""

    warnings: tuple[str, ...] = ()

    def __init__(self, samples: npt.NDArray[np.floating[Any]]) -> None:
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
            raise InputError(
                f"samples are a float array of shape (n,) at 16 kHz, not {samples.dtype} of shape {samples.shape}"
            )
        self._samples = samples
        self.duration: float | None = len(samples) / SAMPLE_RATE

    def __iter__(self) -> Iterator[Float32Array]:
        for start in range(0, len(self._samples), _BLOCK):
            yield np.nan_to_num(self._samples[start : start + _BLOCK].astype(np.float32), posinf=0.0, neginf=0.0)

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


def _opens_at_once(source: Source) -> bool:
    """Whether opening it waits for nothing, as a named pipe or a program behind a file object would make it do."""
    with contextlib.suppress(OSError):  # a name longer than names can be, a folder that may not be entered
        return isinstance(source, str | os.PathLike) and source != "-" and Path(source).is_file()
    return False


def _openers(source: Source, tracks: Tracks) -> list[Callable[[], Audio]]:
    """What opens a recording, or each of its channels. What is wrong with it shows when it is opened."""
    if tracks.channels == "mix" or isinstance(source, np.ndarray):
        return [partial(_open, source, tracks.audio_stream)]
    count = 0
    with contextlib.suppress(InputError):
        count = count_channels(source, track=tracks.audio_stream)
    return [partial(_open, source, tracks.audio_stream, channel) for channel in range(max(count, 1))]


def _open(source: Source, track: int, channel: int | None = None) -> AudioStream | _Samples:
    if isinstance(source, np.ndarray):
        return _Samples(source)
    if not isinstance(source, str | os.PathLike) and not hasattr(source, "read"):
        raise InputError(f"a recording is a path, '-', a binary file or an array, not {type(source).__name__}")
    if channel is not None:
        check_input(source)
        check_reopenable(source)
    return open_audio(source, track=track, channel=channel)

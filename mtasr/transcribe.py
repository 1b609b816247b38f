"""From a recording to a transcript: what the command line and the Python API both call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from mtasr.audio import SAMPLE_RATE, AudioStream, open_audio
from mtasr.decoding.buffer import SampleBuffer
from mtasr.decoding.engine import Encoded, Engine, Float32Array, LanguageGuess
from mtasr.decoding.longform import WINDOW, LongForm, encode_window
from mtasr.decoding.options import DecodingOptions
from mtasr.errors import InputError, ModelError, UsageError
from mtasr.models import DEFAULT_MODEL, Progress, resolve
from mtasr.tokenizer import Tokenizer, to_code
from mtasr.transcript import Segment, Transcript

#: A file, "-" for standard input, an open binary file, or samples: 16 kHz, mono, float, shape (n,).
Source = str | os.PathLike[str] | BinaryIO | npt.NDArray[np.floating[Any]]

#: What runs the network: CTranslate2, or the torch reference, which is slower and needs the extra `train`.
EngineName = Literal["ctranslate2", "torch"]

_BLOCK = 10 * SAMPLE_RATE


def load_model(
    name: str | Path | None = None,
    *,
    device: str = "auto",
    device_index: int = 0,
    compute_type: str = "auto",
    threads: int = 0,
    engine: EngineName = "ctranslate2",
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Model:
    """Load a model by name ("base", "large-v3", ...), hub name ("owner/name") or folder; "base" without a name.

    A named model that is not on this machine yet is downloaded; `progress(file, bytes_done, bytes_total)` then
    follows. `device` is auto, cpu, cuda or cuda:N; `compute_type` auto takes int8 on the CPU and int8_float16 on CUDA;
    `threads` is the CPU threads of a window, 0 for the machine's cores. The torch engine also takes checkpoints of
    other formats (an OpenAI .pt file, a Hugging Face folder), and computes in float32, float16 or bfloat16.

    Raises `ModelError` (see `mtasr.errors`) when the model cannot be had or cannot run here.
    """
    if engine not in get_args(EngineName):
        raise UsageError(f"engine is {' or '.join(get_args(EngineName))}, not {engine!r}")
    if threads < 0:
        raise UsageError(f"threads is at least 0, not {threads}")
    settings: dict[str, Any] = {
        "device": device, "device_index": device_index, "compute_type": compute_type, "threads": threads,
    }  # fmt: skip
    if engine == "torch":
        return Model(_torch_engine(DEFAULT_MODEL if name is None else name, settings, progress))
    folder = resolve(DEFAULT_MODEL if name is None else name, progress=progress)
    from mtasr.decoding.ctranslate2_engine import CTranslate2Engine
    from mtasr.models import int8_copy
    from mtasr.models.ctranslate2_info import loadable_vocabulary

    tokens = loadable_vocabulary(folder)
    loaded = CTranslate2Engine(folder, tokens=tokens, int8_copy=int8_copy.find(folder), **settings)
    if loaded.folder == folder and (loaded.device, loaded.compute_type) == ("cpu", "int8"):
        int8_copy.make_later(folder)
    return Model(loaded)


def _torch_engine(name: str | Path, settings: dict[str, Any], progress: Progress | None) -> Engine:
    try:
        from mtasr.decoding.torch_engine import TorchEngine
    except ModuleNotFoundError as exc:
        if exc.name != "torch":
            raise
        raise ModelError("the torch engine needs PyTorch: `pip install 'mtasr[train]'` brings it") from exc
    from mtasr.models.checkpoints import load_checkpoint

    checkpoint = load_checkpoint(Path(name) if _is_checkpoint(Path(name)) else resolve(name, progress=progress))
    return TorchEngine(
        checkpoint.model,
        Tokenizer(checkpoint.tokens),
        suppress_ids=checkpoint.settings.suppress_ids,
        suppress_ids_begin=checkpoint.settings.suppress_ids_begin,
        alignment_heads=checkpoint.settings.alignment_heads,
        **settings,
    )


def _is_checkpoint(path: Path) -> bool:
    """Whether this is a checkpoint that CTranslate2 cannot load and `resolve` does not know."""
    return path.is_file() or (any(path.glob("*.safetensors")) and not (path / "model.bin").exists())


class Model:
    """A loaded model. Use it for as many recordings as you like, one at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def transcribe(self, source: Source, options: DecodingOptions | None = None, **changes: Any) -> Transcript:
        """Transcribe a recording (or translate it, with `task="translate"`) and return the whole result.

        Options are the fields of `DecodingOptions`, given as one object, as keywords, or both (keywords win).
        Raises `InputError` when the recording cannot be read and `UsageError` for options that make no sense.
        """
        with self.stream(source, options, **changes) as transcription:
            return transcription.transcript()

    def stream(self, source: Source, options: DecodingOptions | None = None, **changes: Any) -> Transcription:
        """The same, as an iterator over segments that yields each as soon as it is known.

        Use it in a `with` block, so that leaving early closes the recording.
        """
        return Transcription(self.engine, source, _merged(options, changes))

    def detect_language(self, source: Source) -> list[LanguageGuess]:
        """All languages of the model with their probabilities for the first 30 s, the most probable first."""
        if not self.engine.tokenizer.is_multilingual:
            raise UsageError("this model is English-only and cannot detect languages; use a multilingual model")
        with Transcription(self.engine, source, DecodingOptions()) as transcription:
            return transcription.guesses


def _merged(options: DecodingOptions | None, changes: dict[str, Any]) -> DecodingOptions:
    try:
        return replace(options or DecodingOptions(), **changes)
    except TypeError as exc:
        unknown = sorted(set(changes) - set(DecodingOptions.__dataclass_fields__))
        raise UsageError(f"unknown option {', '.join(unknown)}" if unknown else str(exc)) from exc


class Transcription:
    """A recording that is being transcribed: iterate for its segments.

    The language is known as soon as the object exists. `total` is the duration that the file states, in seconds, if it
    states one; `position` is how far the file is decoded; `warnings` tells, once the end is reached, what was wrong
    with a recording that could be read only in part.
    """

    def __init__(self, engine: Engine, source: Source, options: DecodingOptions) -> None:
        self.position = 0.0
        self.guesses: list[LanguageGuess] = []
        self._segments: list[Segment] = []
        self._pending = self._decode()
        self._closed = False
        language = to_code(options.language) if options.language is not None else None
        if language is None and not engine.tokenizer.is_multilingual:
            language = "en"
        if language is not None:  # Fails for a language that the model lacks before the recording is opened.
            engine.tokenizer.sot_sequence(language, options.task)
        self._audio: AudioStream | _Samples = _open(source)
        try:
            self._buffer = SampleBuffer(iter(self._audio))
            samples = self._buffer.window(0, WINDOW)
            first = None
            if language is None:
                first = self._detect(engine, samples)
            self.language = language or (self.guesses[0].code if self.guesses else "en")
            self.language_probability = 1.0 if language else self.guesses[0].probability if self.guesses else 0.0
            self._windows = LongForm(engine, self._buffer, self.language, options, first).windows()
        except BaseException:
            self._audio.close()
            raise

    def _detect(self, engine: Engine, samples: Float32Array) -> Encoded | None:
        if not len(samples):
            return None
        encoded = encode_window(engine, samples)
        self.guesses = engine.detect_language(encoded)
        return encoded

    @property
    def total(self) -> float | None:
        return self._audio.duration

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._audio.warnings

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Segment:
        return next(self._pending)

    def _decode(self) -> Iterator[Segment]:
        for result in self._windows:
            self._segments += result.segments
            self.position = result.position
            yield from result.segments
            if self._closed:
                raise ValueError("the recording was closed before its end")

    def transcript(self) -> Transcript:
        """Decode what is left and return the whole. Raises `ValueError` if it was closed before the end."""
        for _ in self:
            pass
        return Transcript(
            language=self.language,
            language_probability=self.language_probability,
            duration=round((self._buffer.total or 0) / SAMPLE_RATE, 3),
            segments=tuple(self._segments),
        )

    def close(self) -> None:
        """Stop reading the recording. Nothing happens the second time."""
        self._closed = True
        self._audio.close()

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

    def close(self) -> None:
        pass


def _open(source: Source) -> AudioStream | _Samples:
    if isinstance(source, np.ndarray):
        return _Samples(source)
    if not isinstance(source, str | os.PathLike) and not hasattr(source, "read"):
        raise InputError(f"a recording is a path, '-', a binary file or an array, not {type(source).__name__}")
    return open_audio(source)

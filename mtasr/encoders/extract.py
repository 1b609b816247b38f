"""The states of a recording of any length, window by window, with times.

A window ends at a pause where there is one, after 27 s at the latest, or before that if the encoder cannot hear as
much. The encoder hears it together with a second of the recording on either side, whose states are dropped. So memory
does not grow with the recording, no frame is missing or doubled, and nothing is padded. A recording of up to 27 s is
one window: its states are those of `encoder.states` on all of its samples.

All windows begin on the grid of the encoder's frames. So frame i of a recording is centred at
`offset_seconds + i * frame_seconds`, whatever the windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mtasr.arrays import Float32Array, FloatArray
from mtasr.audio.ffmpeg import printable
from mtasr.audio.read import open_audio
from mtasr.decoding.windows import LEAST_SECONDS, Cut, Cutter
from mtasr.encoders.loading import check_layer
from mtasr.errors import InputError, UsageError
from mtasr.networks.speech_encoder import SpeechEncoder, device_of, longest_seconds
from mtasr.remote.urls import name_of
from mtasr.spans import SAMPLE_RATE, Span
from mtasr.vad import FRAME, SileroDetector, SpeechDetector

#: Seconds that an encoder hears at most: attention over more would take much memory, and Whisper hears no more.
_LONGEST = 30.0
#: Samples that it hears before and after a window.
_CONTEXT = SAMPLE_RATE
#: Samples that every encoder needs for a frame: the field of wav2vec's convolutions and of Whisper's spectrum.
LEAST_SAMPLES = 400
#: Speech probability from which a frame of the detector counts as speech.
SPEECH = 0.5

#: Called with the seconds heard, and those of the recording, None if its file does not state them.
Progress = Callable[[float, float | None], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateBlock:
    """The states of one window of a recording.

    `states` (L', S, D) are those of the layers asked for, in that order. `first` is the place of its first frame among
    those of the recording, `times` (S,) are the centres of the frames in seconds, and `speech` (S,) says of which
    frames the centre lies in speech.
    """

    first: int
    states: Float32Array
    times: FloatArray
    speech: npt.NDArray[np.bool_]


def default_layer(encoder: SpeechEncoder, *, words: bool = False) -> int:
    """The layer to take if nobody says: two thirds up, where states tell sounds apart, or for words five sixths.

    Of the six layers of Whisper `base`, these are the fourth and the fifth (`benchmarks/unit_layers.py`,
    `benchmarks/finding.py`).
    """
    return round(encoder.layers * (5 / 6 if words else 2 / 3))


def chosen_layers(encoder: SpeechEncoder, layer: int | None) -> tuple[int, ...]:
    """The layers to extract: all of them for None. Layer 0 is the input of the first block, `layers` the final output.

    A negative number counts from the end. Raises `UsageError` if there is no such layer.
    """
    if layer is None:
        return tuple(range(encoder.layers + 1))
    check_layer(encoder.name, encoder.layers, layer)
    return (layer % (encoder.layers + 1),)


def extract(
    encoder: SpeechEncoder,
    source: str,
    layers: Sequence[int],
    *,
    audio_stream: int = 0,
    progress: Progress | None = None,
) -> Iterator[StateBlock]:
    """The states of the recording `source` (a path, a URL, or "-") in these layers.

    Raises what `open_audio` raises, and `InputError` for a recording that is too short for a single frame.
    """
    with open_audio(source, track=audio_stream) as stream:

        def told() -> Iterator[Float32Array]:
            for block in stream:
                yield block
                if progress is not None:
                    progress(stream.samples_read / SAMPLE_RATE, stream.duration)

        yield from extract_blocks(encoder, told(), layers)
        if stream.samples_read < LEAST_SAMPLES:
            raise InputError(f"{printable(name_of(source))}: has {stream.samples_read} samples, too few for a frame")


def extract_blocks(
    encoder: SpeechEncoder,
    blocks: Iterable[Float32Array],
    layers: Sequence[int],
    *,
    detector: SpeechDetector | None = None,
) -> Iterator[StateBlock]:
    """As `extract`, from blocks of samples (mono, 16 kHz, float32) that follow each other. None if there are too few.

    `detector` finds the pauses; it has heard nothing yet.
    """
    step = round(encoder.frame_seconds * SAMPLE_RATE)
    for window in _windows(blocks, step, _seconds(encoder), detector or SileroDetector()):
        states = _states(encoder, window.samples, layers)
        kept = slice(window.begin - window.lead, None if window.end is None else window.end - window.lead)
        states = states[:, kept]
        times = encoder.offset_seconds + encoder.frame_seconds * (window.begin + np.arange(states.shape[1]))
        yield StateBlock(first=window.begin, states=states, times=times, speech=_inside(times, window.speech))


def whole_states(encoder: SpeechEncoder, samples: Float32Array, layers: Sequence[int]) -> Float32Array:
    """States (L', S, D) of samples that the encoder hears at once; S is 0 for fewer than `LEAST_SAMPLES`."""
    return _states(encoder, samples, layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """What an encoder hears at once; `lead`, `begin` and `end` are frames of the recording.

    Samples begin with the frame `lead`. Frames from `begin` to `end` are wanted, all from `begin` on if that is None.
    """

    samples: Float32Array
    lead: int
    begin: int
    end: int | None
    speech: tuple[Span, ...]


def _seconds(encoder: SpeechEncoder) -> float:
    """What the encoder hears at most, in seconds. Raises `UsageError` if that is too little for windows."""
    seconds = min(_LONGEST, longest_seconds(encoder))
    least = LEAST_SECONDS + _CONTEXT / SAMPLE_RATE
    if seconds < least:
        raise UsageError(f"{encoder.name} hears {seconds:.1f} s at once; windows need {least:.0f} s")
    return seconds


def _windows(blocks: Iterable[Float32Array], step: int, seconds: float, detector: SpeechDetector) -> Iterator[_Window]:
    """Windows of the recording with what is heard beside them, `seconds` at most; holds little more than one."""
    # The cutter keeps two seconds in reserve; a third lets windows begin on the grid.
    cutter = Cutter(SPEECH, skip_silence=False, audio_seconds=seconds - _CONTEXT / SAMPLE_RATE)
    held, first, begin = np.zeros(0, np.float32), 0, 0  # samples, and the places of the first one and of the window
    waiting: list[Float32Array] = []  # to be joined to `held` once per window: blocks may be short
    cuts: list[Cut] = []

    def window(cut: Cut, *, last: bool) -> _Window | None:
        nonlocal held, first, begin
        held = np.concatenate([held, *waiting])
        waiting.clear()
        end = first + len(held) if last else cut.end * FRAME // step * step
        lead = max(0, begin - _CONTEXT) // step * step
        samples = held[lead - first : end + _CONTEXT - first]
        heard = _Window(
            samples=samples.copy(),
            lead=lead // step,
            begin=begin // step,
            end=None if last else end // step,
            speech=tuple(Span(span.start * FRAME, span.end * FRAME) for span in cut.speech),
        )
        begin = end
        dropped = max(0, begin - _CONTEXT) // step * step - first
        if dropped > 0:
            held, first = held[dropped:].copy(), first + dropped
        return heard if len(samples) >= LEAST_SAMPLES else None

    received = 0
    for block in blocks:
        waiting.append(block)
        received += len(block)
        cuts += cutter.add(detector.probabilities(block))
        while cuts and received >= cuts[0].end * FRAME + _CONTEXT:
            heard = window(cuts.pop(0), last=False)
            if heard is not None:
                yield heard
    cuts += [*cutter.add(detector.probabilities(np.zeros(0, np.float32), last=True)), *cutter.finish()]
    for place, cut in enumerate(cuts):
        heard = window(cut, last=place == len(cuts) - 1)
        if heard is not None:
            yield heard


def _states(encoder: SpeechEncoder, samples: Float32Array, layers: Sequence[int]) -> Float32Array:
    if len(samples) < LEAST_SAMPLES:
        return np.zeros((len(layers), 0, encoder.width), np.float32)
    with torch.inference_mode():
        audio = torch.from_numpy(np.ascontiguousarray(samples))[None]
        states = encoder.states(audio.to(device_of(encoder)))
        found: Float32Array = torch.stack([states[layer][0] for layer in layers]).float().cpu().numpy()
    return found


def _inside(times: FloatArray, spans: Sequence[Span]) -> npt.NDArray[np.bool_]:
    """Which of the times, in seconds and in order, lie in one of the spans, in samples."""
    inside = np.zeros(len(times), np.bool_)
    for span in spans:
        first, end = np.searchsorted(times, (span.start / SAMPLE_RATE, span.end / SAMPLE_RATE))
        inside[first:end] = True
    return inside

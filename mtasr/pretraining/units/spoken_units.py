"""Recordings as sequences of units: k-means units of an encoder's states, with times.

Frames that follow each other and have the same unit are one `SpokenUnit`, or one each. Language models over units
(Lakhotia et al. 2021, "Generative Spoken Language Modeling from Raw Audio") read the joined ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mtasr.encoders.extract import Progress, StateBlock, chosen_layers, extract
from mtasr.errors import UsageError
from mtasr.networks.speech_encoder import SpeechEncoder
from mtasr.pretraining.units.kmeans import FrameSample, UnitCentres, fit_centres


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenUnit:
    """A unit, and the seconds of the recording that it lasts."""

    unit: int
    start: float
    end: float


def sampled(
    sample: FrameSample,
    encoder: SpeechEncoder,
    layer: int,
    source: str,
    audio_stream: int = 0,
    progress: Progress | None = None,
) -> None:
    """Add the frames of a recording to the sample that units are learnt from. Raises what `extract` raises."""
    for block in extract(encoder, source, (layer,), audio_stream=audio_stream, progress=progress):
        sample.add(block.states[0], block.speech)


def learnt(
    sample: FrameSample, encoder: SpeechEncoder, layer: int, units: int, *, seed: int = 0, identity: str = ""
) -> UnitCentres:
    """Centres of so many units. Raises `InputError` if the sample has too few frames, or no speech.

    `identity` is the digest of the encoder, so that `check_fit` knows it again.
    """
    centres = fit_centres(sample.frames(), units, seed=seed)
    return UnitCentres(centres=centres, encoder=encoder.name, layer=layer, identity=identity)


def check_fit(centres: UnitCentres, encoder: SpeechEncoder, layer: int | None = None, *, identity: str = "") -> int:
    """The layer to take: the one that the centres are for, or `layer`.

    `identity` is the digest of the encoder, empty if nothing is to be compared with it. Raises `UsageError` if the
    centres do not fit the encoder, or are for another layer or for other weights.
    """
    width = centres.centres.shape[1]
    if width != encoder.width:
        raise UsageError(f"the centres are for frames of {width} values, and {encoder.name} has {encoder.width}")
    if centres.identity and identity and centres.identity != identity:
        raise UsageError(f"the centres are for {centres.encoder}, and {encoder.name} has other weights")
    (own,) = chosen_layers(encoder, centres.layer)
    if not centres.encoder:  # made by another program, which does not say for which layer
        return own if layer is None else chosen_layers(encoder, layer)[0]
    if layer is not None and chosen_layers(encoder, layer) != (own,):
        raise UsageError(f"the centres are for layer {own}, not {layer}")
    return own


def spoken_units(
    encoder: SpeechEncoder,
    centres: UnitCentres,
    source: str,
    *,
    layer: int | None = None,
    joins: bool = True,
    audio_stream: int = 0,
    progress: Progress | None = None,
) -> Iterator[SpokenUnit]:
    """The units of a recording in order, of all of it, silence too. Raises what `extract` and `check_fit` raise."""
    layers = (check_fit(centres, encoder, layer),)
    blocks = extract(encoder, source, layers, audio_stream=audio_stream, progress=progress)
    return timed(labelled(blocks, centres), encoder, joins=joins)


def labelled(blocks: Iterable[StateBlock], centres: UnitCentres) -> Iterator[int]:
    """The unit of each frame."""
    for block in blocks:
        yield from centres.assign(block.states[0]).tolist()


def timed(units: Iterable[int], encoder: SpeechEncoder, *, joins: bool) -> Iterator[SpokenUnit]:
    """Units with times: a frame lasts from the middle between it and the one before to that between it and the next."""
    step = encoder.frame_seconds
    origin = encoder.offset_seconds - step / 2
    current, begin, place = -1, 0, -1

    def ended(end: int) -> SpokenUnit:
        return SpokenUnit(unit=current, start=max(0.0, origin + begin * step), end=origin + end * step)

    for place, unit in enumerate(units):
        if place and (unit != current or not joins):
            yield ended(place)
            begin = place
        current = unit
    if place >= 0:
        yield ended(place + 1)

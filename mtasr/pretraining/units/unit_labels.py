"""What HuBERT predicts: a unit for each frame of each recording, from another encoder's states or from cepstra.

Units are learned from a part of the training data (`mtasr.pretraining.units.kmeans`). Then the units of every recording
are computed once, and kept in a folder:

    labels/note.json     whose units they are, and whether all are there
    labels/centres.npz   the centres, as `mtasr units` reads them
    labels/*.npy         the units (F,) of a recording as 16-bit numbers

Whoever is killed meanwhile goes on where it was. Each file appears whole. Letters in shapes: F frames of the teacher,
B crops, S frames of the pupil.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mtasr.arrays import FloatArray, IntArray
from mtasr.audio.read import open_audio
from mtasr.data.records import Record, written_whole
from mtasr.data.samples import identity_of
from mtasr.data.shards.archive import open_recording
from mtasr.encoders import load_encoder
from mtasr.encoders.extract import StateBlock, chosen_layers, extract_blocks
from mtasr.errors import AudioDecodeError, DecodingStoppedError, InputError, OutputError, UsageError
from mtasr.networks.speech_encoder import SpeechEncoder
from mtasr.pretraining.audio.crop_reader import LeftOut
from mtasr.pretraining.audio.crops import AudioPiece
from mtasr.pretraining.units.kmeans import FrameSample, UnitCentres, fit_centres, read_centres
from mtasr.spans import SAMPLE_RATE

_LOG = logging.getLogger(__name__)

#: Seconds between two lines about the progress.
_TOLD_EVERY = 30.0
#: The names of files that have the units of a recording.
_NAME = re.compile(r"[0-9a-f]{32}\.npy")
#: Largest share of silence among the frames that units are learned from.
_SILENCE = 0.2
#: Largest share of the hours to learn units from that one recording gives, so that they are not those of one voice,
#: and seconds that it may give in any case.
_MOST_OF_ONE, _ALLOWED = 0.1, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """Whose units are predicted, and how they are learned."""

    #: An encoder, as `load_encoder` takes it.
    name: str
    #: Which of its states; negative numbers count from the end.
    layer: int
    units: int
    #: Hours of the training data from which units are learned, a tenth at most from the beginning of one recording.
    hours: float
    seed: int


class UnitLabels:
    """The units of recordings, in a folder that several processes may share."""

    def __init__(self, folder: Path, teacher: Teacher, left_out: LeftOut | None = None) -> None:
        """`left_out` is told of recordings that cannot be decoded; by default, there is a list in the folder."""
        self.folder, self.teacher = folder, teacher
        self._left_out = left_out if left_out is not None else LeftOut(folder / "left-out.tsv")
        #: Samples from one unit to the next, and from the beginning to the middle of the first one's frame.
        self._step, self._offset = 0.0, 0.0

    def prepare(
        self,
        records: Callable[[], Iterable[Record]],
        taught: Callable[[], Iterable[Record]],
        device: str,
        *,
        data: str,
        resumes: bool,
    ) -> None:
        """Compute what is missing of the units of `records`; they are learned from `taught`, as many as are needed.

        One process computes, and the others wait. Units of another teacher or from other `data` (a digest) are
        replaced. But a run that `resumes` keeps those that it began with, and needs the teacher no more. A recording
        that cannot be decoded has no units. Raises `UsageError` if the run began with another teacher, and for a layer
        that the teacher has not; what reading recordings and loading encoders raises; and `OutputError`.
        """
        from filelock import FileLock  # here because it imports asyncio

        with _disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / "lock"):
                note = _read_note(self.folder)
                if not (resumes and note.get("complete")):
                    note = self._computed(records, taught, device, note, data)
                elif note["teacher"] != asdict(self.teacher):
                    raise UsageError(f"{self.folder}: the run began with the units of another teacher; go on with it")
        self._step, self._offset = note["step"], note["offset"]

    def _computed(
        self,
        records: Callable[[], Iterable[Record]],
        taught: Callable[[], Iterable[Record]],
        device: str,
        before: dict[str, Any],
        data: str,
    ) -> dict[str, Any]:
        """The note of the finished labels."""
        encoder = load_encoder(self.teacher.name, device)
        (layer,) = chosen_layers(encoder, self.teacher.layer)
        note = {
            "teacher": asdict(self.teacher),
            "weights": _identity(encoder),
            "data": data,
            "step": encoder.frame_seconds * SAMPLE_RATE,
            "offset": encoder.offset_seconds * SAMPLE_RATE,
        }
        if before | {"complete": True} != note | {"complete": True}:
            for path in self.folder.iterdir():
                if _NAME.fullmatch(path.name) or path.name == "centres.npz":
                    path.unlink()
        if before != note | {"complete": True}:
            _write_note(self.folder, note)
        if not (self.folder / "centres.npz").exists():
            self._learn(taught(), encoder, layer, device)
        centres = read_centres(self.folder / "centres.npz")
        recordings = dict.fromkeys(record.audio for record in records())
        for audio in _told("units of recordings", [each for each in recordings if not self._path(each).exists()]):
            units = [centres.assign(block.states[0], device) for block in self._decoded(encoder, layer, audio)]
            with written_whole(self._path(audio)) as staging, staging.open("wb") as stream:
                np.save(stream, np.concatenate([np.zeros(0, np.int64), *units]).astype(np.uint16))
        note["complete"] = True
        _write_note(self.folder, note)
        return note

    def _learn(self, taught: Iterable[Record], encoder: SpeechEncoder, layer: int, device: str) -> None:
        sample = FrameSample(silence=_SILENCE, seed=self.teacher.seed)
        most = max(_ALLOWED, _MOST_OF_ONE * 3600 * self.teacher.hours)
        recordings = list(_first_hours(taught, self.teacher.hours, most))
        for audio in _told("recordings to learn units from", recordings):
            room = math.ceil(most / encoder.frame_seconds)
            for block in self._decoded(encoder, layer, audio):
                sample.add(block.states[0][:room], block.speech[:room])
                room -= len(block.speech)
                if room <= 0:
                    break
        centres = fit_centres(sample.frames(), self.teacher.units, seed=self.teacher.seed, device=device)
        UnitCentres(centres=centres, encoder=self.teacher.name, layer=layer).save(self.folder / "centres.npz")

    def _decoded(self, encoder: SpeechEncoder, layer: int, audio: str) -> Iterator[StateBlock]:
        """The states of a recording, none of one that cannot be decoded."""
        try:
            yield from _blocks(encoder, layer, audio)
        except DecodingStoppedError:
            raise
        except AudioDecodeError as exc:
            self._left_out.add(audio, f"{exc}; it is left out")

    def units_at(self, crops: Sequence[AudioPiece], middles: FloatArray) -> IntArray:
        """The units (B, S) of frames of crops, whose middles (S,) are so many samples after the beginning of the crop.

        Of the units of a recording, each frame takes the one whose middle is nearest, or the last one. With cepstra and
        the convolutions of wav2vec 2.0, frame t of a whole recording takes unit 2 t. Raises `InputError` if there are
        none, because the recording has changed.
        """
        rows = []
        for crop in crops:
            units = self._units(crop.audio)
            places = np.floor((crop.first + middles - self._offset) / self._step + 0.5).astype(np.int64)
            rows.append(units[np.clip(places, 0, len(units) - 1)])
        return np.stack(rows)

    def _units(self, audio: str) -> IntArray:
        try:
            units: npt.NDArray[np.uint16] = np.load(self._path(audio), allow_pickle=False)
        except (OSError, ValueError, EOFError) as exc:
            raise InputError(f"{audio}: its units are missing or damaged; has the recording changed?") from exc
        if units.dtype != np.uint16 or units.ndim != 1 or not len(units) or units.max() >= self.teacher.units:
            raise InputError(f"{audio}: is too short for units, or they are damaged")
        return units.astype(np.int64)

    def _path(self, audio: str) -> Path:
        return self.folder / f"{identity_of(audio)}.npy"


def _blocks(encoder: SpeechEncoder, layer: int, audio: str) -> Iterator[StateBlock]:
    with open_recording(audio) as source, open_audio(source) as stream:
        yield from extract_blocks(encoder, stream, (layer,))


def _first_hours(records: Iterable[Record], hours: float, most: float) -> Iterator[str]:
    """The recordings of as many of the records as last so long, each once; of each, `most` seconds count."""
    seconds, met = 0.0, set[str]()
    for record in records:
        if seconds >= 3600 * hours:
            return
        if record.audio not in met:
            met.add(record.audio)
            yield record.audio
            seconds += min(record.duration, most)


def _told(what: str, recordings: Sequence[str]) -> Iterator[str]:
    """The recordings, with a line in the log now and then."""
    told = time.monotonic()
    for number, audio in enumerate(recordings):
        if time.monotonic() - told > _TOLD_EVERY:
            told = time.monotonic()
            _LOG.info("%s: %d of %d", what, number, len(recordings))
        yield audio


def _identity(encoder: SpeechEncoder) -> str:
    """A digest of the weights of an encoder and of what else its states depend on."""
    digest = hashlib.sha256(type(encoder).__name__.encode())
    for name in ("config", "dims"):
        digest.update(repr(getattr(encoder, name, None)).encode())
    if isinstance(encoder, nn.Module):
        for name, tensor in encoder.state_dict().items():
            digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_note(folder: Path) -> dict[str, Any]:
    """Empty if there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError, LookupError, TypeError):
        note = json.loads((folder / "note.json").read_text(encoding="utf-8"))
        numbers = all(type(note[name]) is float for name in ("step", "offset"))
        if numbers and note["step"] > 0 and isinstance(note["teacher"], dict):
            found: dict[str, Any] = note
            return found
    return {}


def _write_note(folder: Path, note: dict[str, Any]) -> None:
    with written_whole(folder / "note.json") as staging:
        staging.write_text(json.dumps(note, indent=1), encoding="utf-8")


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise OutputError(f"cannot write {folder}: {exc.strerror or exc}") from exc

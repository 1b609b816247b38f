"""The audio of crops, without recordings that cannot be decoded or that end before they should.

Durations come from containers, before anything is decoded. A file that was cut off states more than it holds: what is
missing would be silence, from which nothing can be learned. Whether a crop is there depends on the bytes of its file
alone, so a run that resumes leaves out what it would have left out.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.data.samples import SampleStore
from mtasr.errors import AudioDecodeError, DecodingStoppedError, OutputError
from mtasr.pretraining.audio.crops import AudioPiece
from mtasr.spans import SAMPLE_RATE

_LOG = logging.getLogger(__name__)

#: Samples that may be missing at the end of a crop, which silence replaces: containers round durations, and some count
#: the padding of their codec.
_ROUNDING = SAMPLE_RATE // 10
#: What would end a field or a line -> a space.
_BREAKS = dict.fromkeys(map(ord, "\t\n\r"), " ")


class LeftOut:
    """Recordings that are left out, wholly or from some place on, with the reasons, in a file of the run.

    Each of its lines has a recording, a tab and the reason. There is no file as long as nothing is left out. Several
    threads and processes may add recordings.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._known: set[str] | None = None

    def add(self, audio: str, reason: str) -> None:
        """Warn of a recording, unless it is in the file. Raises `OutputError`."""
        name = audio.translate(_BREAKS)
        with self._lock:
            if self._known is None:
                self._known = self._listed()
            if name in self._known:
                return
            self._known.add(name)
            _LOG.warning("%s", reason)
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8", errors="surrogateescape") as stream:
                    stream.write(f"{name}\t{reason.translate(_BREAKS)}\n")
            except OSError as exc:
                raise OutputError(f"cannot write {self.path}: {exc.strerror or exc}") from exc

    def forget(self) -> None:
        """Begin anew, as a run does that has no checkpoint. Raises `OutputError`."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as exc:
            raise OutputError(f"cannot write {self.path}: {exc.strerror or exc}") from exc

    def __len__(self) -> int:
        """How many recordings all processes have left out since the run began."""
        return len(self._listed())

    def _listed(self) -> set[str]:
        try:
            text = self.path.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return set()
        return {line.partition("\t")[0] for line in text.split("\n") if line}


class CropReader:
    """Reads crops from a store of decoded audio."""

    def __init__(self, store: SampleStore, left_out: LeftOut) -> None:
        self._store, self._left_out = store, left_out
        #: Of this process, so that it does not try to decode them again.
        self._undecodable: set[str] = set()

    def read(self, crops: Sequence[AudioPiece]) -> tuple[list[AudioPiece], list[Float32Array]]:
        """The crops that are there, and the samples (N,) of each.

        Others are left out with a warning. Raises `InputError` for a recording that is gone, or that another time may
        be decoded.
        """
        kept, audio = [], []
        for crop in crops:
            samples = self._samples(crop)
            if samples is not None:
                kept.append(crop)
                audio.append(samples)
        return kept, audio

    def _samples(self, crop: AudioPiece) -> Float32Array | None:
        if crop.audio in self._undecodable:
            return None
        end = crop.first + crop.samples
        try:
            found = self._store.samples(crop.audio, crop.first, end)
        except DecodingStoppedError:
            raise
        except AudioDecodeError as exc:
            self._undecodable.add(crop.audio)
            self._left_out.add(crop.audio, f"{exc}; it is left out")
            return None
        missing = crop.samples - len(found)
        if missing > _ROUNDING:
            told = f"ends before {end / SAMPLE_RATE:.1f} s, although it should last longer; what is missing is left out"
            self._left_out.add(crop.audio, f"{crop.audio}: {told}")
            return None
        return np.pad(found, (0, missing))

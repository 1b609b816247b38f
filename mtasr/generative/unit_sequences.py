"""Sequences of units that a language model learns from: files of them, or recordings and centres.

A file (`.txt` or `.tsv`) has one sequence per line, units from 0 on with blanks between them; what stands before a tab
is a name. `mtasr units --format sequence` writes it, and fairseq's tools for GSLM read the same without the names.

    units/DIGEST/*.npy   the units of a recording, joined, as 16-bit numbers; DIGEST is of the centres and the encoder
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mtasr.arrays import IntArray
from mtasr.audio.read import open_audio
from mtasr.data.records import written_whole
from mtasr.data.samples import identity_of as recording_identity
from mtasr.data.shards.archive import open_recording
from mtasr.encoders import load_encoder
from mtasr.encoders.extract import extract_blocks
from mtasr.errors import AudioDecodeError, DecodingStoppedError, InputError, UsageError
from mtasr.networks.speech_encoder import SpeechEncoder
from mtasr.pretraining.audio.crop_reader import LeftOut
from mtasr.pretraining.units.kmeans import UnitCentres
from mtasr.pretraining.units.runs import joined
from mtasr.pretraining.units.spoken_units import check_fit, labelled
from mtasr.probing.states import identity_of
from mtasr.text_files import read_text

_LOG = logging.getLogger(__name__)

#: Endings of files of units.
_ENDINGS = {".txt", ".tsv"}
#: Bytes of such a file at most.
_MOST_BYTES = 4 << 30
#: Seconds between two lines about the progress.
_TOLD_EVERY = 30.0


def is_unit_file(path: Path) -> bool:
    return path.suffix.lower() in _ENDINGS


def read_unit_file(path: Path, units: int) -> list[IntArray]:
    """The sequences of a file, without empty ones, each with its runs joined.

    Raises `InputError` for what is no unit from 0 to `units` - 1, naming its line, and for a file without any.
    """
    found = []
    for number, line in enumerate(read_text(path, most=_MOST_BYTES).splitlines(), start=1):
        words = line.rpartition("\t")[2].split()
        for word in words:
            if not (word.isascii() and word.isdigit()) or len(word) > 9 or int(word) >= units:
                raise InputError(f"{path}, line {number}: {word[:20]!r} is no unit from 0 to {units - 1}")
        if words:
            found.append(joined(np.array([int(word) for word in words], np.int64))[0])
    if not found:
        raise InputError(f"{path}: holds no units")
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordingUnits:
    """The units of recordings, each computed once and kept in the folder of a run."""

    centres: UnitCentres
    folder: Path
    device: str
    left_out: LeftOut

    @cached_property
    def encoder(self) -> SpeechEncoder:
        """The one that the centres are for. Raises `UsageError` if they do not say which, or do not fit it."""
        if not self.centres.encoder:
            raise UsageError("objective_options.centres: the file does not say which encoder its centres are for")
        encoder = load_encoder(self.centres.encoder, self.device)
        check_fit(self.centres, encoder, identity=identity_of(encoder))
        return encoder

    def sequences(self, recordings: Sequence[str]) -> Iterator[IntArray]:
        """The joined units of each recording, without those that cannot be decoded, which are noted."""
        told = time.monotonic()
        for number, audio in enumerate(recordings):
            if time.monotonic() - told > _TOLD_EVERY:
                told = time.monotonic()
                _LOG.info("units of recordings: %d of %d", number, len(recordings))
            units = self._units(audio)
            if len(units):
                yield units

    @cached_property
    def _place(self) -> Path:
        digest = hashlib.sha256(self.centres.centres.tobytes())
        digest.update(f"{self.centres.layer} {identity_of(self.encoder)}".encode())
        return self.folder / digest.hexdigest()[:16]

    def _units(self, audio: str) -> IntArray:
        path = self._place / f"{recording_identity(audio)}.npy"
        if not path.exists():
            units = self._computed(audio).astype(np.uint16)
            with written_whole(path) as staging, staging.open("wb") as stream:
                np.save(stream, units)
        try:
            kept = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as exc:
            raise InputError(f"{path}: is damaged; remove it, and it is computed again") from exc
        if kept.dtype != np.uint16 or kept.ndim != 1 or (len(kept) and kept.max() >= self.centres.units):
            raise InputError(f"{path}: is damaged; remove it, and it is computed again")
        units_found: IntArray = kept.astype(np.int64)
        return units_found

    def _computed(self, audio: str) -> IntArray:
        layer = check_fit(self.centres, self.encoder)
        try:
            with open_recording(audio) as source, open_audio(source) as stream:
                frames = list(labelled(extract_blocks(self.encoder, stream, (layer,)), self.centres))
        except DecodingStoppedError:
            raise
        except AudioDecodeError as exc:
            self.left_out.add(audio, f"{exc}; it is left out")
            frames = []
        return joined(np.array(frames, np.int64))[0]

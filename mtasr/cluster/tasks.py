"""What a driver asks of workers, and what they answer: values that can be pickled and hold paths, never audio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mtasr.audio.tracks import Tracks
from mtasr.data.label import Trust
from mtasr.data.records import Record
from mtasr.decoding.submission import PlacedResult
from mtasr.decoding.survey import Survey
from mtasr.decoding.windows import WindowOutline
from mtasr.models.folder import FileRecord
from mtasr.options import DecodingOptions
from mtasr.recordings.decoded import DecodedRecording
from mtasr.speakers.options import SpeakerOptions

#: Seconds from which a recording is decoded in chunks, by several workers.
LONG_SECONDS = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """The files of a model on the driver's machine."""

    folder: str
    #: The fast hash of the folder (`mtasr.models.fingerprint`).
    fingerprint: str
    #: Where the cache keeps a copy.
    name: str
    repo: str
    revision: str
    #: Size and SHA-256 of each file.
    records: dict[str, FileRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTask:
    """Load a model."""

    #: None if tasks need none.
    model: ModelFiles | None
    #: None unless speakers are told apart by voice.
    speaker_model: ModelFiles | None
    #: What the speaker model is called; the driver's choice counts, not that of a node's environment.
    speaker_model_name: str = ""
    device: str
    compute_type: str
    threads: int
    workers: int
    batch_size: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """A worker has loaded its model. Workers for which all of this is the same give the same results."""

    #: How it computes (`mtasr.engine_loading.way_of_computing`); a batch goes on only where this is the same.
    computes: tuple[str, ...]
    #: The kind of its processor (`mtasr.system.processor_kind`), on which the last digits of sums depend.
    processor: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lacking:
    """A worker's machine has no copy of these models."""

    models: tuple[ModelFiles, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How all recordings of a batch are decoded, and what of them."""

    options: DecodingOptions
    tracks: Tracks
    speakers: SpeakerOptions | None = None
    most_seconds: float | None = None
    #: Whether recordings can be decoded in chunks.
    divisible: bool = True


@dataclass(frozen=True, slots=True)
class WholeTask:
    """Decode recordings. The answer has an `Outcome` for each: of a long one its survey, if it is `divisible`."""

    sources: tuple[str, ...]
    manner: Manner


Outcome = DecodedRecording | Survey | Exception
"""What a recording became; an `Exception` for one that could not be opened."""


@dataclass(frozen=True, slots=True)
class SurveyTask:
    """Read a recording without decoding it. The answer is a `Survey`."""

    source: str
    manner: Manner


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """Decode these windows of a recording. The answer is a `ChunkResults`."""

    #: What the driver calls the chunk.
    number: int
    source: str
    manner: Manner
    channel: int
    #: Code of the language of the channel.
    language: str
    outlines: tuple[WindowOutline, ...]
    #: `Survey.version` of the recording.
    version: str | None = None
    #: Whether windows that need random samples are decoded too.
    draws: bool = False


@dataclass(frozen=True, slots=True)
class ChunkResults:
    """What windows became, in file order, and the error that ended them early."""

    results: tuple[PlacedResult, ...]
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class LabelTask:
    """Transcribe records (`mtasr.data.label`). The answer has a `Record` or an `Exception` for each."""

    records: tuple[Record, ...]
    language: str | None
    trust: Trust


@dataclass(frozen=True, slots=True)
class JudgeTask:
    """Judge records by their speech or with a model. The answer has the reason to drop each, or None.

    It has an `InputNotFoundError` for a record whose file the worker does not see.
    """

    records: tuple[Record, ...]
    speech: bool
    model: bool


RecordsTask = LabelTask | JudgeTask
Task = WholeTask | SurveyTask | ChunkTask | RecordsTask


@dataclass(frozen=True, slots=True)
class SignsOfLife:
    """What a worker answers when it is asked how it is."""

    #: Grows while anything is read or decoded.
    figure: float
    #: Samples of the windows that are decoded of chunks under way, by the number of the chunk.
    decoded: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What a driver asks of a node before it gives work."""

    mtasr: str
    python: str
    ray: str
    ctranslate2: str
    #: Bytes of each of the paths that were asked for, None for one that the node does not see.
    sizes: tuple[int | None, ...]

"""What runs on each node: a worker with one model, whose tasks share batches."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

from mtasr import __version__, system
from mtasr.audio.read import check_input
from mtasr.audio.sources import stated_seconds
from mtasr.batch.identity import size_of
from mtasr.cluster import weights
from mtasr.cluster.nodes import Shared, package_version
from mtasr.cluster.paths import bytes_of, is_here
from mtasr.cluster.tasks import (
    LONG_SECONDS,
    ChunkResults,
    ChunkTask,
    JudgeTask,
    LabelTask,
    Lacking,
    Loaded,
    LoadTask,
    ModelFiles,
    NodeFacts,
    Outcome,
    SignsOfLife,
    SurveyTask,
    Task,
    WholeTask,
)
from mtasr.data.filtering import UNREADABLE, reasons
from mtasr.data.filters import Filter
from mtasr.data.label import labelled
from mtasr.data.listening import ModelHears
from mtasr.data.records import Record
from mtasr.data.speech_found import CaptionsBesideSpeech, speech_in
from mtasr.decoding.submission import PlacedResult
from mtasr.decoding.survey import Survey
from mtasr.engine_loading import way_of_computing
from mtasr.engines.ctranslate2 import CTranslate2Engine
from mtasr.errors import InputError, InputNotFoundError
from mtasr.spans import Interval
from mtasr.speakers.diarize import diarizer_in, load_diarizer
from mtasr.transcribe import Model, load_model

#: Bytes of the smallest file that can be long: speech of 8 kbit/s.
_LEAST_BYTES = int(LONG_SECONDS * 1000)

#: Records that are transcribed at a time, so that their windows share batches.
_TOGETHER = 8


@dataclass(eq=False, slots=True)
class _Chunk:
    """A chunk under way."""

    number: int
    #: Samples of its windows.
    decoded: int = 0


class NodeWorker:
    """Does the tasks of one driver. Its methods may be called from several threads."""

    def __init__(self) -> None:
        self._model: Model | None = None
        #: What was done to records without `Model`.
        self._steps = 0
        self._chunks: list[_Chunk] = []

    def facts(self, paths: Sequence[str]) -> NodeFacts:
        """What the driver compares with itself before it gives work."""
        return NodeFacts(
            mtasr=__version__,
            python=platform.python_version(),
            ray=package_version("ray"),
            ctranslate2=package_version("ctranslate2"),
            sizes=tuple(map(bytes_of, paths)),
        )

    def load(self, task: LoadTask) -> Loaded | Lacking:
        """Load the model, unless this machine lacks a copy of it or of the speaker model. Raises `ModelError`."""
        if task.model is None:
            return Loaded(("without a model",))
        wanted = [each for each in (task.model, task.speaker_model) if each is not None]
        folders = [weights.find(files) for files in wanted]
        if None in folders:
            return Lacking(tuple(files for files, folder in zip(wanted, folders, strict=True) if folder is None))
        folder, *of_speakers = [each for each in folders if each is not None]
        diarizer = diarizer_in(of_speakers[0], task.speaker_model_name) if of_speakers else None
        system.share_freed_memory()
        self._model = load_model(
            folder,
            device=task.device,
            compute_type=task.compute_type,
            threads=task.threads,
            workers=task.workers,
            batch_size=task.batch_size,
            diarizer=load_diarizer if diarizer is None else lambda: diarizer,
        )
        engine = cast(CTranslate2Engine, self._model.engine)
        return Loaded(way_of_computing(engine), system.processor_kind())

    def install(self, files: ModelFiles, content: Mapping[str, Sequence[Shared]]) -> None:
        """Write a model into the cache of this machine. Raises `ModelError`."""
        weights.install(files, content)

    def signs_of_life(self) -> SignsOfLife:
        """How far the work is."""
        figure = self._steps + (0.0 if self._model is None else sum(self._model.timings.values()))
        return SignsOfLife(figure, {each.number: each.decoded for each in self._chunks.copy()})

    def _step(self) -> None:
        self._steps += 1

    def work(self, task: Task) -> object:
        """Do a task; its class says what is returned."""
        match task:
            case WholeTask():
                return self._whole(task)
            case SurveyTask():
                return self._survey(task)
            case ChunkTask():
                return self._chunk(task)
            case LabelTask():
                return self._label(task)
            case JudgeTask():
                return self._judge(task)

    @property
    def model(self) -> Model:
        if self._model is None:
            raise RuntimeError("no model is loaded")
        return self._model

    def _whole(self, task: WholeTask) -> tuple[Outcome, ...]:
        outcomes: list[Outcome | None] = [self._not_decoded(source, task) for source in task.sources]
        manner = task.manner
        decoded = self.model.decode_all(
            [source for source, outcome in zip(task.sources, outcomes, strict=True) if outcome is None],
            manner.options,
            tracks=manner.tracks,
            most_seconds=manner.most_seconds,
            diarize=manner.speakers or False,
        )
        return tuple(next(decoded) if outcome is None else outcome for outcome in outcomes)

    def _not_decoded(self, source: str, task: WholeTask) -> Outcome | None:
        """What becomes of a recording that this task does not decode, None for the others."""
        try:
            check_input(source)
            if not task.manner.divisible or size_of(source) < _LEAST_BYTES:
                return None
            seconds = stated_seconds(source, task.manner.tracks)
        except Exception as error:
            return error
        if seconds is None or seconds < LONG_SECONDS:
            return None
        return self._survey(SurveyTask(source, task.manner))

    def _survey(self, task: SurveyTask) -> Survey:
        manner = task.manner
        return self.model.survey(
            task.source,
            manner.options,
            tracks=manner.tracks,
            most_seconds=manner.most_seconds,
            diarize=manner.speakers or False,
        )

    def _chunk(self, task: ChunkTask) -> ChunkResults:
        results: list[PlacedResult] = []
        manner = task.manner
        chunk = _Chunk(task.number)
        self._chunks.append(chunk)
        try:
            for each in self.model.decode_windows(
                task.source,
                task.outlines,
                manner.options,
                language=task.language,
                tracks=manner.tracks,
                channel=task.channel,
                version=task.version,
                draws=task.draws,
            ):
                results.append(each)
                if each.place is not None and each.result is not None:
                    chunk.decoded += each.place.samples
        except Exception as error:
            return ChunkResults(tuple(results), error)
        finally:
            self._chunks.remove(chunk)
        return ChunkResults(tuple(results))

    def _label(self, task: LabelTask) -> tuple[Record | Exception, ...]:
        def label(record: Record) -> Record | Exception:
            try:
                return labelled(record, self.model, task.language, task.trust)
            except InputError as error:
                return error

        with ThreadPoolExecutor(_TOGETHER) as pool:
            return tuple(pool.map(label, task.records))

    def _judge(self, task: JudgeTask) -> tuple[str | Exception | None, ...]:
        def speech(audio: str) -> list[Interval]:
            self._step()
            return speech_in(audio)

        filters: list[Filter] = [CaptionsBesideSpeech(speech=speech)] if task.speech else []
        if task.model:
            filters.append(ModelHears(self.model.engine, progress=self._step))
        return tuple(
            InputNotFoundError(f"{record.audio}: no such file")
            if reason == UNREADABLE and not is_here(record.audio)
            else reason
            for record, reason in zip(task.records, reasons(task.records, filters), strict=True)
        )

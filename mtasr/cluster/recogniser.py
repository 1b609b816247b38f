"""A model whose work many machines do: it stands in for a `Model` in a batch."""

from __future__ import annotations

import contextlib
import operator
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mtasr.audio.tracks import Tracks
from mtasr.closing import Closing
from mtasr.cluster import weights
from mtasr.cluster.dispatcher import Dispatcher
from mtasr.cluster.nodes import Nodes
from mtasr.cluster.tasks import LoadTask, Manner
from mtasr.cluster.team import NodeState, Team
from mtasr.decoding.submission import ResumeNotes
from mtasr.decoding.survey import is_divisible
from mtasr.decoding.transcription import Transcription, Transcriptions
from mtasr.models import speakers as speaker_models
from mtasr.models.fingerprint import fingerprint
from mtasr.options import DecodingOptions
from mtasr.recordings.elsewhere import received
from mtasr.resolved_options import resolve_options
from mtasr.speakers.options import SpeakerOptions
from mtasr.speakers.voices import KnownVoices, enrolled
from mtasr.tokenizer import Tokenizer


class ClusterModel(Closing):
    """A model on the workers of a cluster.

    Results are those of one machine that computes in the same way, to the byte; the workers get paths and give back
    text. Raises `ClusterError` if no node can work.
    """

    def __init__(
        self,
        nodes: Nodes,
        folder: Path,
        sources: Sequence[str] = (),
        *,
        device: str = "auto",
        compute_type: str = "auto",
        threads: int = 0,
        workers: int = 0,
        batch_size: int = 0,
        diarize: bool = False,
        tell: Callable[[str], object] = lambda line: None,
        look: Callable[[], object] = lambda: None,
    ) -> None:
        """`folder` has the model on this machine, and `sources` are recordings, at least some of which a node must see.

        The other arguments are those of `load_model`, for each worker; `threads` 0 means the cores that the node gives.
        With `diarize`, workers have the speaker model too. `tell` takes lines about nodes, and `look` is called
        whenever `states` may have changed; both in the thread that asks for results.
        """
        from mtasr.checkpoints.ctranslate2.info import checked_folder

        self._folder, self._nodes = folder, nodes
        self._lines: deque[str] = deque()
        self._tell, self._look = tell, look
        with contextlib.ExitStack() as on_error:
            on_error.callback(nodes.close)
            _, _, tokens, _ = checked_folder(folder)
            self._tokenizer = Tokenizer(tokens)
            speaker_model = speaker_models.find(None).name if diarize else ""
            task = LoadTask(
                model=weights.describe(folder),
                speaker_model=weights.describe(speaker_models.resolve(speaker_model)) if diarize else None,
                speaker_model_name=speaker_model,
                device=device,
                compute_type=compute_type,
                threads=threads,
                workers=workers,
                batch_size=batch_size,
            )
            self._team = Team(nodes, task, sources, self._lines.append)
            on_error.callback(self._team.close)
            self._team.assemble(self._tell_all)
            on_error.pop_all()
        self._tell_all()

    def _tell_all(self) -> None:
        while self._lines:
            self._tell(self._lines.popleft())
        self._look()

    @property
    def states(self) -> list[NodeState]:
        """The nodes, and what they have done so far."""
        return list(self._team.states.values())

    @property
    def fingerprint(self) -> Callable[[], str]:
        """As that of `Model`, so that a batch begun on one machine can be resumed on many."""
        return lambda: fingerprint(self._folder, *(self._team.chosen.computes if self._team.chosen else ()))

    def enrolled(self, speakers: SpeakerOptions) -> SpeakerOptions:
        """As `Model.enrolled`, on this machine."""
        from mtasr.speakers.diarize import load_diarizer

        is_known = speakers.voices is None or isinstance(speakers.voices, KnownVoices)
        return speakers if is_known else enrolled(speakers, load_diarizer())

    def stream_all(
        self,
        sources: Sequence[str],
        options: DecodingOptions | None = None,
        *,
        tracks: Tracks | None = None,
        notes: Sequence[Callable[[int], ResumeNotes]] = (),
        priority: int = 0,
        most_seconds: float | None = None,
        diarize: bool | SpeakerOptions = False,
    ) -> Transcriptions:
        """As `Model.stream_all`; `priority` has no effect."""
        resolved = resolve_options(self._tokenizer, options, tracks=tracks, diarize=diarize)
        manner = Manner(
            options=resolved.options,
            tracks=resolved.tracks,
            speakers=resolved.speakers,
            most_seconds=most_seconds,
            divisible=is_divisible(resolved.options),
        )
        dispatcher = Dispatcher(self._nodes, self._team, manner, sources, notes, self._tell_all)
        dispatcher.start()
        return _Sent(dispatcher, len(sources), resolved.tracks, resolved.options)

    def close(self) -> None:
        """End the workers, and leave the cluster."""
        self._team.close()
        self._nodes.close()


class _Sent(Transcriptions):
    """Recordings that are sent to workers. Each is made when its turn comes, since there may be thousands.

    They can be asked for in their order only; what came before the last one asked for is a `ValueError`.
    """

    def __init__(self, dispatcher: Dispatcher, count: int, tracks: Tracks, options: DecodingOptions) -> None:
        super().__init__(())
        self._dispatcher, self._count, self._tracks, self._options = dispatcher, count, tracks, options

    def __getitem__(self, index: Any) -> Any:
        return received(
            self._dispatcher.recording(range(self._count)[operator.index(index)]), self._tracks, self._options
        )

    def __len__(self) -> int:
        return self._count

    def drain(self) -> Iterator[Transcription]:
        for index in range(self._count):
            yield self[index]
        self._dispatcher.finish()

    def close(self) -> None:
        self._dispatcher.close()

"""Which worker does which task of a batch, and what happens when workers die.

Short recordings go out in groups, so that workers fill their batches. A long one comes back as a survey and goes out
again in chunks of consecutive windows; windows that need random samples come last, in file order. Recordings are sent
in the order of the plan, a bounded number ahead of the one whose results are asked for: memory does not grow with the
batch.

If a worker dies, what it had under way is sent again, each recording or chunk by itself and with nothing beside it. So
the second death shows which one kills workers, and that recording counts as failed.
"""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from mtasr.cluster.distributed import Distributed
from mtasr.cluster.errands import Errand, OpenChannel, chunks_of, wav_bytes
from mtasr.cluster.nodes import Nodes
from mtasr.cluster.paths import absolute, is_here
from mtasr.cluster.resuming import Resuming
from mtasr.cluster.tasks import ChunkResults, ChunkTask, Manner, Outcome, SurveyTask, WholeTask
from mtasr.cluster.team import Member, Team
from mtasr.cluster.under_way import AT_ONCE, DEATHS, Reply, UnderWay
from mtasr.decoding.submission import NoNotes, ResumeNotes
from mtasr.decoding.survey import Survey
from mtasr.errors import InputNotFoundError, WorkerDiedError
from mtasr.recordings.decoded import DecodedRecording
from mtasr.remote.urls import name_of
from mtasr.spans import SAMPLE_RATE
from mtasr.threads import start_thread

#: Recordings of a group at most, and their bytes: half an hour of WAV with 16 kHz.
_GROUP, _GROUP_BYTES = 16, 64_000_000

#: Chunks of a long recording at most, while others wait to be sent and after that: each reads it from its start.
_CHUNKS_BESIDE, _CHUNKS_ALONE = 4, 16

#: Recordings sent ahead of the one whose results are asked for, in all and for each worker.
_AHEAD, _AHEAD_EACH = 64, 64

#: Seconds of audio whose results may wait for their turn before nothing more is sent, in all and for each worker.
_HELD, _HELD_EACH = 180_000.0, 7200.0

#: What chunks are called: on a worker, one may outlive its batch.
_numbers = itertools.count()


class Dispatcher:
    """Has the recordings of one batch decoded, in a thread of its own."""

    def __init__(
        self,
        nodes: Nodes,
        team: Team,
        manner: Manner,
        sources: Sequence[str],
        notes: Sequence[Callable[[int], ResumeNotes]] = (),
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """`notes` has one function for each source; `meanwhile` is called in the thread that waits for results."""
        self._team, self._manner = team, manner
        self._sources, self._notes, self._meanwhile = sources, notes, meanwhile
        #: Guards what the thread that asks shares with that of the dispatcher.
        self._changed = threading.Condition()
        self._recordings: dict[int, Distributed] = {}
        self._front = 0
        self._closed = False
        self.broken: Exception | None = None
        # The rest belongs to the thread of the dispatcher.
        self._unsent = 0
        #: Seconds of audio of what has come back, by place in the batch.
        self._held: dict[int, float] = {}
        self._counter = itertools.count()
        #: In the order of the batch.
        self._waiting: list[tuple[int, int, Errand]] = []
        self._under_way: UnderWay[Errand] = UnderWay(nodes, team)
        self._resuming = Resuming()
        self._channels: dict[tuple[int, int], OpenChannel] = {}
        self._thread: threading.Thread | None = None

    # --- for the thread that asks -----------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread = start_thread(self._run)

    def recording(self, index: int) -> Distributed:
        """One of the recordings; those before it are not asked for any more.

        Raises `ClusterError` without workers, and `ValueError` for a recording before the last one asked for.
        """
        self._meanwhile()
        with self._changed:
            if self.broken is not None:
                raise self.broken
            if index < self._front:
                raise ValueError("recordings of a cluster can be asked for in their order only")
            self._front = index
            for each in [each for each in self._recordings if each < index]:
                del self._recordings[each]
            return self._recording(index)

    def finish(self) -> None:
        """Raise what broke the batch off, if that is why a recording of the last ones asked for has failed."""
        with self._changed:
            if any(each.raised is self.broken for each in self._recordings.values()) and self.broken is not None:
                raise self.broken

    def close(self) -> None:
        """Send nothing more. What is under way ends unheard."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._resuming.close()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        self._meanwhile()

    def _recording(self, index: int) -> Distributed:
        """Call it with the lock."""
        if index not in self._recordings:
            notes = self._notes[index] if self._notes else _nothing_noted
            self._recordings[index] = Distributed(self._sources[index], notes, self._changed, self._meanwhile)
        return self._recordings[index]

    def _wanted(self, index: int) -> Distributed | None:
        """The recording, None if nobody asks for it any more or it has failed."""
        with self._changed:
            found = self._recordings.get(index)
        return None if found is None or found.is_over else found

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closed:
                self._round()
        except Exception as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        with self._changed:
            self.broken = error
            recordings = list(self._recordings.values())
        for each in recordings:
            each.fail(error)

    def _round(self) -> None:
        self._resume()
        self._send()
        answers, lost = self._under_way.receive()
        for answer in answers:
            self._take(answer)
        for errand in lost:
            self._send_again(errand)
        if self._waiting or self._unsent < len(self._sources):
            self._under_way.require_workers()
        self._give_up_unseen()
        self._look_into_chunks()
        self._channels = {key: opened for key, opened in self._channels.items() if self._wanted(key[0])}

    # --- sending ----------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Give work to workers that have room, the least busy first."""
        alone = sum(errand.alone for _, _, errand in self._waiting)
        by_load = sorted(self._team.ready, key=self._load)
        reserved = set(map(id, by_load[:alone]))  # they become idle for errands that go alone
        has_room = [member for member in by_load if self._has_room(member)]
        while has_room:
            member = min(has_room, key=self._load)
            is_idle = self._load(member) == 0
            errand = None if id(member) in reserved and not is_idle else self._next(member, is_idle=is_idle)
            if errand is None:
                has_room.remove(member)
                continue
            self._under_way.send(member, errand.task, errand)
            if not self._has_room(member):
                has_room.remove(member)

    def _load(self, member: Member) -> int:
        return len(self._under_way.on(member))

    def _has_room(self, member: Member) -> bool:
        errands = self._under_way.on(member)
        return len(errands) < AT_ONCE and not any(errand.alone for errand in errands)

    def _next(self, member: Member, *, is_idle: bool) -> Errand | None:
        """What comes first in the order of the batch, of what this worker can do."""
        self._waiting = [each for each in self._waiting if any(map(self._wanted, each[2].recordings))]
        for entry in self._waiting:
            errand = entry[2]
            if member.node.id not in errand.unseen_by and (is_idle or not errand.alone):
                self._waiting.remove(entry)
                return errand
        return self._group()

    def _wait_for_worker(self, errand: Errand) -> None:
        bisect.insort(self._waiting, (errand.recordings[0], next(self._counter), errand))

    def _group(self) -> Errand | None:
        """The next recordings of the batch: fewer near its end, so that all workers end at about the same time."""
        if self._holds_much():
            return None
        with self._changed:
            end = min(len(self._sources), self._front + _AHEAD + _AHEAD_EACH * len(self._team.members))
        fair = -(-(len(self._sources) - self._unsent) // (2 * AT_ONCE * max(len(self._team.ready), 1)))
        most = min(_GROUP, max(fair, 1), end - self._unsent)
        group: list[int] = []
        size = 0
        while len(group) < most and self._unsent < end:
            index = self._unsent
            size += wav_bytes(self._sources[index])
            if group and size > _GROUP_BYTES:
                break
            self._unsent += 1
            with self._changed:
                recording = self._recording(index)
            if recording.notes(0).may_have_results:
                self._resuming.ask(index, partial(_has_results, recording))
            else:
                group.append(index)
        return Errand(self._whole_task(group), tuple(group)) if group else None

    def _holds_much(self) -> bool:
        """Whether enough waits for its turn, after a recording that was sent and is slow."""
        with self._changed:
            front = self._front
        self._held = {index: seconds for index, seconds in self._held.items() if index >= front}
        most = _HELD + _HELD_EACH * len(self._team.members)
        return self._unsent > front and sum(self._held.values()) > most

    def _resume(self) -> None:
        """Send the recordings of which it is known by now whether an earlier run has begun them."""
        for index, has_results in self._resuming.answers():
            is_begun = has_results and self._manner.divisible
            task = self._survey_task(index) if is_begun else self._whole_task([index])
            self._wait_for_worker(Errand(task, (index,)))

    def _whole_task(self, indices: Sequence[int]) -> WholeTask:
        return WholeTask(tuple(self._path(index) for index in indices), self._manner)

    def _survey_task(self, index: int) -> SurveyTask:
        return SurveyTask(self._path(index), self._manner)

    def _path(self, index: int) -> str:
        return absolute(self._sources[index])

    # --- taking answers ---------------------------------------------------------------------------------------------

    def _take(self, answer: Reply[Errand]) -> None:
        member, errand = answer.member, answer.sent
        state = self._team.states[member.node.id]
        match errand.task, answer.content:
            case _, Exception() as error:
                self._failed(errand, error, member)
            case WholeTask(), tuple() as outcomes:
                for index, outcome in zip(errand.recordings, outcomes, strict=True):
                    state.seconds += self._came(index, outcome, member, errand)
                    state.recordings += 1
            case SurveyTask(), Survey() as survey:
                self._came(errand.recordings[0], survey, member, errand)
            case ChunkTask() as task, ChunkResults() as results:
                state.seconds += self._chunk_came(errand, task, results, member)

    def _fail(self, errand: Errand, error: Exception) -> None:
        for index in errand.recordings:
            if (recording := self._wanted(index)) is not None:
                recording.fail(self._named(error, index))

    def _failed(self, errand: Errand, error: Exception, member: Member) -> None:
        """Try again what another node may see, or one recording of a group may have been to blame for."""
        if len(errand.recordings) > 1:
            for index in errand.recordings:
                self._wait_for_worker(self._alone(errand, index))
        elif isinstance(error, InputNotFoundError) and is_here(self._path(errand.recordings[0])):
            self._wait_for_worker(replace(errand, unseen_by=errand.unseen_by | {member.node.id}))
        else:
            self._fail(errand, error)

    def _alone(self, errand: Errand, index: int) -> Errand:
        """The errand for one of its recordings."""
        if len(errand.recordings) == 1:
            return errand
        return replace(errand, task=self._whole_task([index]), recordings=(index,))

    def _give_up_unseen(self) -> None:
        """Fail the recordings that this machine sees, and no node does."""
        nodes = {member.node.id for member in self._team.members}
        for _, _, errand in self._waiting if nodes else ():
            if errand.unseen_by >= nodes:
                names = ", ".join(sorted(self._team.states[node].name for node in errand.unseen_by))
                name = name_of(self._sources[errand.recordings[0]])
                self._fail(errand, InputNotFoundError(f"{name}: is here, but not on the cluster ({names})"))

    def _came(self, index: int, outcome: Outcome, member: Member, errand: Errand) -> float:
        """Take what a recording became; returns the seconds decoded."""
        recording = self._wanted(index)
        if recording is None:
            return 0.0
        match outcome:
            case Exception():
                self._failed(self._alone(errand, index), outcome, member)
            case Survey():
                self._held[index] = _seconds_of(outcome)
                self._surveyed(index, recording, self._named_survey(outcome, index))
            case DecodedRecording(survey=survey):
                recording.add_whole(replace(outcome, survey=self._named_survey(survey, index)))
                self._held[index] = _seconds_of(survey)
                return self._held[index]
        return 0.0

    def _named(self, error: Exception, index: int) -> Exception:
        """The error, with the recording called as its user calls it."""
        path, name = self._path(index), self._sources[index]
        error.args = tuple(each.replace(path, name) if isinstance(each, str) else each for each in error.args)
        return error

    def _named_survey(self, survey: Survey, index: int) -> Survey:
        return replace(
            survey,
            channels=tuple(
                each if each.error is None else replace(each, error=self._named(each.error, index))
                for each in survey.channels
            ),
        )

    # --- long recordings --------------------------------------------------------------------------------------------

    def _surveyed(self, index: int, recording: Distributed, survey: Survey) -> None:
        most = _CHUNKS_BESIDE if self._unsent < len(self._sources) else _CHUNKS_ALONE
        for channel, outlines in recording.add_survey(survey).items():
            chunks = list(chunks_of(outlines, most))
            if not chunks:
                continue
            language = survey.channels[channel].spoken
            by_place = {each.place: each for each in outlines}
            self._channels[index, channel] = OpenChannel(len(chunks), by_place, language)
            for chunk in chunks:
                number, path = next(_numbers), self._path(index)
                task = ChunkTask(number, path, self._manner, channel, language, tuple(chunk), survey.version)
                self._wait_for_worker(Errand(task, (index,)))

    def _chunk_came(self, errand: Errand, task: ChunkTask, answer: ChunkResults, member: Member) -> float:
        index = errand.recordings[0]
        recording = self._wanted(index)
        opened = self._channels.get((index, task.channel))
        if recording is None or opened is None:
            return 0.0
        opened.to_draw += recording.add_windows(task.channel, answer.results, task.number)
        seconds = sum(each.place.samples for each in answer.results if each.place and each.result) / SAMPLE_RATE
        if answer.error is not None:
            came = {each.place for each in answer.results}
            left = tuple(each for each in task.outlines if each.place not in came)
            self._failed(replace(errand, task=replace(task, outlines=left)), answer.error, member)
            return seconds
        opened.chunks -= 1
        if opened.chunks == 0 and not opened.to_draw:
            del self._channels[index, task.channel]
        elif opened.chunks == 0:
            opened.chunks, drawn, opened.to_draw = 1, sorted(opened.to_draw), []
            outlines = tuple(opened.outlines[place] for place in drawn)
            drawing = replace(task, number=next(_numbers), outlines=outlines, draws=True)
            self._wait_for_worker(Errand(drawing, (index,)))
        return seconds

    def _look_into_chunks(self) -> None:
        """Tell recordings how far their chunks under way are."""
        decoded = self._under_way.decoded
        for errand in self._under_way.sent if decoded else ():
            match errand.task:
                case ChunkTask(number=number) if number in decoded:
                    if (recording := self._wanted(errand.recordings[0])) is not None:
                        recording.advance(number, decoded[number])

    # --- deaths -----------------------------------------------------------------------------------------------------

    def _send_again(self, errand: Errand) -> None:
        """A worker has died that had this under way."""
        deaths = errand.deaths + 1
        if deaths >= DEATHS:
            for index in errand.recordings:
                reason = f"{DEATHS} workers died, or stood still, while they decoded it"
                self._fail(errand, WorkerDiedError(f"{name_of(self._sources[index])}: {reason}"))
        elif isinstance(errand.task, WholeTask):
            for index in errand.recordings:
                self._wait_for_worker(Errand(self._whole_task([index]), (index,), deaths, errand.unseen_by))
        else:
            if isinstance(errand.task, ChunkTask) and (recording := self._wanted(errand.recordings[0])) is not None:
                recording.advance(errand.task.number, 0)
            self._wait_for_worker(replace(errand, deaths=deaths))


def _has_results(recording: Distributed) -> bool:
    return recording.notes(0).has_results


def _nothing_noted(channel: int) -> ResumeNotes:
    return NoNotes()


def _seconds_of(survey: Survey) -> float:
    return sum(each.samples for each in survey.channels) / SAMPLE_RATE

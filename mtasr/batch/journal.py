"""The journal of a batch, with which an interrupted one goes on (`--resume`): a folder with an entry per recording.

    <output folder>/.mtasr-journal/
        3f0c5a1d2b7e4c96.jsonl      one recording, named after a hash of its files' names, model and options
            {"state": [96044, 1760000000000000000, ...]}            the recording's file when the batch began
            {"content": "..."}                                      its hash, which is known some time later
            {"channel": 0, "guesses": [["en", 0.98], ...]}          its language
            {"channel": 0, "start": 0, "samples": 96000, "result": {...}}     a decoded window, in any order
        and once its files are written, instead of all that:
            {"content": "...", "files": {"a.srt": "..."}}           hashes of the recording and of the files
        or, with --turns, after them: an RTTM may be corrected, and the files written again from the same windows

Each recording has a file of its own, so several programs can write to the same folder at once. Each line is one write;
a torn one, which can only be the last, is skipped. An entry is not used for a recording with another hash; nor, where
it ends before the hash, for one whose file has changed since. What cannot be written is decoded again, and no more.

Of recordings and results in a store, the store's size and tag stand for both state and hash. The journal of a batch
that writes to a store stays on this machine, in the cache folder: `journals/`, and a hash of the output folder's URL.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mtasr import __version__
from mtasr.atomic import remove_torn, write_text
from mtasr.batch.identity import can_be_read_again, content_of, state_of
from mtasr.batch.outputs import Destination, Job
from mtasr.decoding.submission import DecodedWindow, NoNotes, ResumeNotes
from mtasr.decoding.windows import Place
from mtasr.engines.engine import LanguageGuess
from mtasr.errors import OutputError
from mtasr.models import cache
from mtasr.remote.folder import RemotePath
from mtasr.threads import start_thread
from mtasr.transcript import Alternatives, Reading, Segment, Word

FOLDER = ".mtasr-journal"


def folder_for(directory: Destination) -> Path:
    """Where the journal of an output folder is."""
    if isinstance(directory, RemotePath):
        digest = hashlib.sha256(directory.url.rstrip("/").encode("utf-8", "surrogateescape")).hexdigest()
        return cache.root() / "journals" / digest[:16]
    return directory / FOLDER


class Journal:
    """The entries of all recordings of a batch.

    `settings` are what results depend on besides the recordings. With `resume`, entries of earlier runs are used; with
    `keeps_done`, recordings that are done have entries too.
    """

    def __init__(
        self, directory: Destination, settings: Sequence[object], *, resume: bool = False, keeps_done: bool = True
    ) -> None:
        self._folder = folder_for(directory)
        self._output_folders: set[Destination] = {directory}
        if isinstance(directory, RemotePath):
            with contextlib.suppress(OSError):
                self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._settings = repr((__version__, *settings))
        self._resume, self._keeps_done = resume, keeps_done
        self._entries: list[Entry] = []
        #: How many entries of an earlier run were deleted unused.
        self.discarded = 0

    def entry(self, job: Job, made_with: object = None) -> Entry | None:
        """The entry of a recording; None for one that can be read only once.

        `made_with` is what its files depend on and its windows do not, if there is any: once that is another, files are
        made of the windows that an earlier run noted.
        """
        if not can_be_read_again(job.source):
            return None
        # Without the recording's path, since its folder may be mounted elsewhere next time; its hash identifies it.
        name = hashlib.sha256(repr((self._settings, *job.names)).encode()).hexdigest()[:16]
        path = self._folder / f"{name}.jsonl"
        self._output_folders |= {file.parent for file in job.files}
        if not self._resume:
            with contextlib.suppress(OSError):
                path.unlink()
                self.discarded += 1
        self._entries.append(Entry(path, job, made_with, keeps_done=self._keeps_done))
        return self._entries[-1]

    @property
    def exists(self) -> bool:
        """Whether any of its entries is on disk."""
        return any(entry.path.exists() for entry in self._entries)

    def close(self, *, keep: bool) -> None:
        """At the end of the batch, delete the entries that are of no use; without `keep`, all of them."""
        for entry in self._entries:
            entry.close()
        with contextlib.suppress(OSError):
            for folder in (*self._output_folders, self._folder):
                if isinstance(folder, Path):
                    remove_torn(folder)
            if not keep:
                for entry in self._entries:
                    entry.path.unlink(missing_ok=True)
            self._folder.rmdir()  # which fails while any batch has entries in it


class Entry:
    """What the journal knows of one recording. A batch holds thousands, most of them not begun yet or closed."""

    __slots__ = (
        "_closed", "_content", "_has_results", "_has_written", "_hashing", "_identified", "_job", "_keeps_done",
        "_known", "_lock", "_made_with", "_path", "_reading", "_state",
    )  # fmt: skip

    def __init__(self, path: Path, job: Job, made_with: object = None, *, keeps_done: bool = True) -> None:
        self._path, self._job, self._keeps_done = os.fspath(path), job, keeps_done
        self._made_with = None if made_with is None else hashlib.sha256(repr(made_with).encode()).hexdigest()[:16]
        self._lock = threading.Lock()
        #: Held while the file is read, and the recording hashed; `_lock` never is for so long.
        self._reading = threading.Lock()
        self._closed = self._has_written = False
        #: Whether the file identifies the recording, and holds results of it: only with both is it of use.
        self._identified = self._has_results = False
        self._known: dict[Any, Any] | None = None
        self._hashing: threading.Thread | None = None
        #: Taken now, since the recording may be opened long before `known` is called.
        self._state = state_of(job.source, job.state)
        self._content: str | None = None

    @property
    def path(self) -> Path:
        return Path(self._path)

    def is_done(self) -> bool:
        """Whether all files of the recording are written already, as they would be now."""
        done: dict[str, Any] = {}
        for record in self._records():
            done = record if "files" in record else done
        content, is_made_so = done.get("content"), done.get("made_with") == self._made_with
        is_known = content is not None and is_made_so
        return is_known and content == self._content_now() and done["files"] == self._hashes()

    def notes(self, channel: int) -> ResumeNotes:
        """What is known of a channel of the recording, and where to add to it."""
        return _Channel(self, channel)

    def done(self) -> None:
        """Record that the recording's files are written."""
        if self._hashing is not None:
            self._hashing.join()
        if self._keeps_done and self._made_with is not None:
            self._has_results = True
            self.add({"content": self._content or self._hash(), "files": self._hashes(), "made_with": self._made_with})
            self.close()
            return
        self.close()
        if not self._keeps_done:
            with contextlib.suppress(OSError):
                self.path.unlink()
            return
        content = self._content or self._hash()  # not hashed yet where decoding asks for no notes
        line = json.dumps({"content": content, "files": self._hashes()}) + "\n"
        with contextlib.suppress(OutputError, OSError, MemoryError):
            self.path.parent.mkdir(exist_ok=True)
            write_text(self.path, lambda stream: stream.write(line))

    def _hashes(self) -> dict[str, str | None]:
        return {name: content_of(file) for name, file in self._job.names.items()}

    def close(self) -> None:
        """Free what is known and ignore what comes later. Calling it again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed, self._known, self._hashing = True, {}, None
            if self._has_written and not (self._identified and self._has_results):
                with contextlib.suppress(OSError):
                    self.path.unlink()

    def known(self) -> dict[Any, Any]:
        """Results by channel and place, languages by channel. First called when the recording is read."""
        with self._reading:
            if self._known is None:
                self._known = self._read()
                if not self._known:
                    self.add({"state": self._state})
                if self._content is None:
                    # In a thread of its own: hashing a long video takes seconds.
                    with contextlib.suppress(MemoryError):
                        self._hashing = start_thread(self._add_content)
            return self._known

    def _read(self) -> dict[Any, Any]:
        known: dict[Any, Any] = {}
        content = state = None
        for record in self._records():
            content, state = record.get("content", content), record.get("state", state)
            with contextlib.suppress(AttributeError, KeyError, TypeError):  # a line that no mtasr has written
                if "guesses" in record:
                    known[record["channel"]] = [LanguageGuess(*guess) for guess in record["guesses"]]
                elif "result" in record:
                    known[record["channel"], record["start"], record["samples"]] = _result(record["result"])
        if known and self._is_of_this(content, state):
            self._content, self._identified, self._has_results = content, True, True
            return known
        with contextlib.suppress(OSError):
            self.path.unlink()
        return {}

    def _is_of_this(self, content: object, state: object) -> bool:
        """Whether an entry with this hash and state, None if it has none, is of the recording as it is now."""
        if content is not None:
            return content == self._content_now()
        return self._state is not None and state == list(self._state)

    def _records(self) -> Iterator[dict[str, Any]]:
        with contextlib.suppress(OSError), self.path.open("rb") as stream:
            for line in stream:
                record = None
                with contextlib.suppress(ValueError, RecursionError):
                    record = json.loads(line)
                if isinstance(record, dict):
                    yield record

    def add(self, record: dict[str, Any]) -> None:
        """Write a line."""
        with self._lock, contextlib.suppress(OSError, MemoryError):
            if self._closed:
                return
            line = json.dumps(record).encode() + b"\n"
            self.path.parent.mkdir(exist_ok=True)
            with self.path.open("ab", buffering=0) as stream:
                stream.write(line if self._has_written else b"\n" + line)  # the last line of an earlier run may be torn
            self._has_written = True
            self._identified |= "content" in record or record.get("state") is not None
            self._has_results |= "result" in record

    def _add_content(self) -> None:
        self._content = self._hash()
        if self._content is not None:
            self.add({"content": self._content})

    def _hash(self) -> str | None:
        """The hash of the recording, None if its file has changed and the hash may not be that of what was decoded."""
        content = self._content_now()
        return content if self._state is not None and self._state == state_of(self._job.source) else None

    def _content_now(self) -> str | None:
        return content_of(self._job.source, self._job.state)


class _Channel:
    """The notes on one channel."""

    def __init__(self, entry: Entry, channel: int) -> None:
        self._entry, self._channel = entry, channel

    @property
    def may_have_results(self) -> bool:
        return self._entry.path.exists()

    @property
    def has_results(self) -> bool:
        # The file first, since what is known begins with hashing the recording.
        return self.may_have_results and any(
            isinstance(key, tuple) and key[0] == self._channel for key in self._entry.known()
        )

    def guesses(self) -> list[LanguageGuess] | None:
        found: list[LanguageGuess] | None = self._entry.known().get(self._channel)
        return found

    def result(self, place: Place) -> DecodedWindow | None:
        found: DecodedWindow | None = self._entry.known().get((self._channel, *place))
        return found

    def note_guesses(self, guesses: Sequence[LanguageGuess]) -> None:
        pairs = [[guess.code, guess.probability] for guess in guesses]
        self._entry.add({"channel": self._channel, "guesses": pairs})

    def note_result(self, place: Place, result: DecodedWindow) -> None:
        self._entry.add({"channel": self._channel, **place._asdict(), "result": asdict(result)})


def notes_of(entry: Entry | None) -> Callable[[int], ResumeNotes]:
    """The notes on each channel of a recording, as `Model.stream_all` takes it."""
    return entry.notes if entry is not None else lambda _: NoNotes()


def _result(record: dict[str, Any]) -> DecodedWindow:
    return DecodedWindow(
        segments=_segments(record["segments"]),
        position=record["position"],
        alternatives=tuple(
            Alternatives(**each | {"readings": tuple(Reading(**reading) for reading in each["readings"])})
            for each in record["alternatives"]
        ),
        translation=_segments(record["translation"]),
    )


def _segments(records: Sequence[dict[str, Any]]) -> tuple[Segment, ...]:
    return tuple(
        Segment(
            **each
            | {
                "tokens": tuple(each["tokens"]),
                "words": None if each["words"] is None else tuple(Word(**word) for word in each["words"]),
                "heard": None if each.get("heard") is None else (each["heard"][0], each["heard"][1]),
                "token_logprobs": tuple((token, logprob) for token, logprob in each.get("token_logprobs", ())),
            }
        )
        for each in records
    )

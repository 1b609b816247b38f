"""Apply filters to records and report what they drop."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from mtasr.data.filters import Filter, without_descriptions
from mtasr.data.records import Record, counted
from mtasr.errors import FfmpegNotFoundError, InputError

#: The reason to drop a record whose recording a filter cannot listen to.
UNREADABLE = "cannot be read"
#: The same on a cluster: no node has its file, or workers died of it.
UNSEEN, DEADLY = "is here, but not on the cluster", "workers died while they judged it"
#: Reasons that say nothing of the record.
FAILURES = frozenset({UNREADABLE, UNSEEN, DEADLY})
#: Examples in the report for each reason and source, and characters of each.
_EXAMPLES, _EXAMPLE_LENGTH = 3, 80
#: Records that are filtered together.
_TOGETHER = 64


@runtime_checkable
class Preparing(Protocol):
    """A filter that is faster if it sees several records before it is called for each of them.

    An `InputError` that concerns one record is raised when it is called for this record.
    """

    def prepare(self, records: Sequence[Record]) -> None: ...


@dataclass
class SourceCount:
    """The records of one source that were kept, or dropped for one reason."""

    records: int = 0
    seconds: float = 0.0
    examples: list[str] = field(default_factory=list)

    def add(self, record: Record) -> None:
        self.records += 1
        self.seconds += record.duration
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{record.id}: {record.text[:_EXAMPLE_LENGTH]}")


@dataclass
class Report:
    """What was kept, by source, and what was dropped, by reason and source."""

    kept: dict[str, SourceCount] = field(default_factory=dict)
    dropped: dict[tuple[str, str], SourceCount] = field(default_factory=dict)

    def add(self, record: Record, reason: str | None) -> None:
        if reason is None:
            self.kept.setdefault(record.source, SourceCount()).add(record)
        else:
            self.dropped.setdefault((reason, record.source), SourceCount()).add(record)

    def lines(self) -> Iterator[str]:
        """The report as text, the most frequent reason first."""
        for title, tallies in (("kept", self.kept.values()), ("dropped", self.dropped.values())):
            count, seconds = sum(each.records for each in tallies), sum(each.seconds for each in tallies)
            yield f"{title}: {counted(count)}, {seconds / 60:.1f} minutes"
        for (reason, source), tally in sorted(self.dropped.items(), key=lambda item: -item[1].records):
            where = f" ({source})" if source else ""
            yield f"  {reason}{where}: {counted(tally.records)}, {tally.seconds / 60:.1f} minutes"
            for example in tally.examples:
                yield f"    {example}"

    def to_json(self) -> dict[str, Any]:
        def entry(tally: SourceCount) -> dict[str, Any]:
            return {"records": tally.records, "seconds": round(tally.seconds, 3), "examples": tally.examples}

        return {
            "kept": [{"source": source, **entry(tally)} for source, tally in self.kept.items()],
            "dropped": [
                {"reason": reason, "source": source, **entry(tally)} for (reason, source), tally in self.dropped.items()
            ],
        }


#: A record, and the reason to drop it or None.
Verdict = tuple[Record, str | None]


def judged(records: Iterable[Record], filters: Sequence[Filter]) -> Iterator[Verdict]:
    """Each record in order with the first reason that a filter has to drop it, or None.

    If no filter remembers what it has seen, records can be judged anywhere and in any groups, with the same verdicts.
    """
    remaining = iter(records)
    while some := list(itertools.islice(remaining, _TOGETHER)):
        yield from zip(some, reasons(some, filters), strict=True)


def kept(verdicts: Iterable[Verdict], report: Report, last: Sequence[Filter] = ()) -> Iterator[Record]:
    """The records without a reason against them, and without descriptions of sounds; `report` counts all of them.

    The filters in `last`, such as `NearDuplicates`, see in order the records that all others keep.
    """
    for record, reason in verdicts:
        reason = reason or next((found for each in last if (found := each(record)) is not None), None)  # noqa: PLW2901
        cleaned = without_descriptions(record)
        if reason is None and not cleaned.text:
            reason = "nothing but descriptions"  # noqa: PLW2901
        report.add(record, reason)
        if reason is None:
            yield cleaned


def reasons(records: Sequence[Record], filters: Sequence[Filter]) -> list[str | None]:
    """The first reason to drop each record, or None. Each filter looks at all records before the next one does.

    A record whose recording cannot be read is dropped for that reason. Raises `FfmpegNotFoundError`.
    """
    found: list[str | None] = [None] * len(records)
    for each in filters:
        places = [place for place, reason in enumerate(found) if reason is None]
        if isinstance(each, Preparing):
            each.prepare([records[place] for place in places])
        for place in places:
            try:
                found[place] = each(records[place])
            except FfmpegNotFoundError:
                raise  # no recording could be read
            except InputError:
                found[place] = UNREADABLE
    return found

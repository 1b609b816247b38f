"""What tells whether an object has changed, without reading it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mtasr.remote.patience import TransferAttempt


@dataclass(frozen=True, slots=True)
class RemoteState:
    """What a store or a server says of an object."""

    #: In bytes; None if it does not say.
    size: int | None
    #: Changes with the object: its ETag, or the time it was modified. None if it has neither.
    tag: str | None = None

    @property
    def identity(self) -> str | None:
        """Says that two objects are the same; None if nothing does."""
        return None if self.tag is None else f"{self.size} {self.tag}"


class ByteRange(NamedTuple):
    """Bytes that one attempt brought, at least one."""

    data: bytes
    #: Whether the line was cut before all came that the store was sending.
    is_cut: bool = False


class RemoteObject(Protocol):
    """One object that is read in ranges of bytes.

    One thread at a time waits for an attempt, but others that nobody waits for may still be under way.
    """

    def examine(self, attempt: TransferAttempt) -> tuple[RemoteState, bool]:
        """Its state, and whether `read` works and its size is known; else it can only be read whole.

        Raises `TransferError` for what may pass, `InputError` for what does not.
        """

    def read(self, start: int, count: int, expected: RemoteState, attempt: TransferAttempt) -> ByteRange:
        """Bytes from `start` on, at most `count`.

        Raises what `examine` does, and `OSError` or `InputError` unless the object is as expected.
        """

    def whole(self, attempt: TransferAttempt) -> Iterator[bytes]:
        """All of it in pieces. Raises what `read` does."""

    def close(self) -> None:
        """Release what is kept for the next attempt."""

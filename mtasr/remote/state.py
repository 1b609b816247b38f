"""What tells whether an object has changed, without reading it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


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


class RemoteObject(Protocol):
    """One object that is read in ranges of bytes. Used by one thread at a time."""

    @property
    def state(self) -> RemoteState: ...

    @property
    def has_ranges(self) -> bool:
        """Whether `read` works, and its size is known; else it can only be read whole."""

    def read(self, start: int, count: int) -> bytes:
        """Bytes from `start` on, at least one, at most `count`: one attempt.

        Raises `TransferError` for what may pass, `OSError` for what does not.
        """

    def whole(self) -> Iterator[bytes]:
        """All of it in pieces. Raises what `read` does."""

    def cancel(self) -> None:
        """End the connection from which another thread may be reading, and nobody waits for it any more."""

    def close(self) -> None: ...

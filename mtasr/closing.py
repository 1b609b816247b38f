"""What is closed at the end of a `with` block."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class Closing(ABC):
    """A context manager that closes itself."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ClosingIterator(Closing, Iterator[T]):
    """Items of a generator with what must be closed after them; a generator that was not started closes nothing.

    It closes itself at the end and when an error ends it. Any thread may close it.
    """

    def __init__(self, items: Generator[T], close: Callable[[], None]) -> None:
        self._items, self._close = items, close

    def __next__(self) -> T:
        try:
            return next(self._items)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._close()
        with contextlib.suppress(ValueError):  # another thread waits for an item, which will not come
            self._items.close()

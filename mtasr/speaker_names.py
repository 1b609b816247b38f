"""Names of speakers: one rule, whether each has a channel or they are told apart by voice."""

from __future__ import annotations

from collections.abc import Sequence

from mtasr.errors import UsageError

#: Unnamed speakers whose names are compared with the given ones.
_MOST_UNNAMED = 64


def speaker_name(given: Sequence[str], place: int) -> str:
    """The name of the speaker at a place, counted from 0: of a channel, or in the order in which voices appear.

    It is the given one, or "Speaker 1" and so on where that is empty or missing.
    """
    return (given[place] if place < len(given) else "") or f"Speaker {place + 1}"


def checked_names(given: Sequence[str]) -> tuple[str, ...]:
    """The names without space around them. Raises `UsageError` if they are not names, or not all different.

    A name may be what a speaker without one is called: that is no name for another.
    """
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise UsageError(f"speakers must be a list of names, not {given!r}")
    names = tuple(name.strip() for name in given)
    called = [speaker_name(names, place) for place in range(len(names) + _MOST_UNNAMED)] if names else []
    for name in called:
        if called.count(name) > 1:
            raise UsageError(f"two speakers are called {name!r}")
    return names


def renamed(known: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """What speakers with these names, in the order in which they first talk, are called by the given ones.

    A speaker for whom that is empty or missing keeps the name. Raises `UsageError` if two would have the same.
    """
    called = [(given[place] if place < len(given) else "") or name for place, name in enumerate(known)]
    for name in called:
        if called.count(name) > 1:
            raise UsageError(f"two speakers are called {name!r}")
    return dict(zip(known, called, strict=True))


def numbered(known: Sequence[str | None]) -> list[str]:
    """The names of speakers of whom some are known: the others have the number of their place, or a free one."""
    names = []
    for place, name in enumerate(known):
        number = place
        while name is None and speaker_name((), number) in known:
            number += len(known)
        names.append(name or speaker_name((), number))
    return names

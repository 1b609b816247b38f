"""Signs of life of workers."""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mtasr.cluster.nodes import Call
from mtasr.cluster.tasks import SignsOfLife
from mtasr.cluster.team import Member

#: Seconds between questions whether a worker is alive, and without progress after which it counts as dead.
_PULSE, PATIENCE = 2.0, 600.0


@dataclass(slots=True)
class _Pulse:
    """The last sign of life of a worker."""

    call: Call | None = None
    asked: float = 0.0
    signs: SignsOfLife = field(default_factory=lambda: SignsOfLife(-1.0, {}))
    changed: float = field(default_factory=time.monotonic)


class Pulses:
    """Asks busy workers for signs of life, and finds those that stand still."""

    def __init__(self) -> None:
        self._pulses: dict[Member, _Pulse] = {}
        self._felt = time.monotonic()

    @property
    def calls(self) -> list[Call]:
        """The questions under way."""
        return [each.call for each in self._pulses.values() if each.call is not None]

    @property
    def decoded(self) -> Mapping[int, int]:
        """The last that was heard of chunks under way: samples that are decoded, by the number of the chunk."""
        return ChainMap(*(dict(each.signs.decoded) for each in self._pulses.values()))

    def touch(self, member: Member) -> None:
        """The worker got a task, or answered one."""
        self._pulses.setdefault(member, _Pulse()).changed = time.monotonic()

    def forget(self, member: Member) -> None:
        self._pulses.pop(member, None)

    def feel(self, answered: Sequence[Call], is_busy: Callable[[Member], object]) -> list[Member]:
        """Take answers, and ask again. Returns the workers that have stood still for too long."""
        now = time.monotonic()
        pause, self._felt = now - self._felt, now
        if pause > PATIENCE / 4:  # nobody asked meanwhile, so it is no evidence
            for pulse in self._pulses.values():
                pulse.changed += pause
        stalled = []
        for member, pulse in self._pulses.items():
            if pulse.call is not None and pulse.call in answered:
                self._take(pulse, pulse.call, now)
            if not is_busy(member):
                pulse.changed = now
            elif now - pulse.changed > PATIENCE:
                stalled.append(member)
            elif pulse.call is None and now - pulse.asked > _PULSE:
                pulse.call, pulse.asked = member.worker.call("signs_of_life"), now
        return stalled

    def _take(self, pulse: _Pulse, call: Call, now: float) -> None:
        pulse.call = None
        try:
            signs: SignsOfLife = call.result()
        except Exception:  # its tasks tell what is wrong
            return
        if signs.figure != pulse.signs.figure:
            pulse.changed = now
        pulse.signs = signs

"""`mtasr` with a stand-in for the network, which writes words wherever there is speech.

Run as a program it is the command line, for tests that need a process of their own. HEARING_PAUSE is how many seconds
each step takes then, and HEARING_UNTIL a file that each step waits for, both after the first HEARING_QUICK steps, which
take no time; HEARING_FAILS is what becomes of recordings that are too loud: "memory", or the text of an error.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from fakes import DEFAULT_CHECKS, Heard, HearingEngine

from mtasr.arrays import Float32Array
from mtasr.engines.engine import EngineLimits
from mtasr.transcribe import Model

#: How loud features are of speech that is clipped; else it comes to 1.2.
SHOUT = 1.4


@dataclass
class Suffering(HearingEngine):
    """Takes its time, and cannot stand shouting."""

    fails_with: str = ""
    #: How many steps take no time.
    quick: int = 0
    #: A file that the other steps wait for.
    until: Path | None = None

    def encode(self, features: Sequence[Float32Array]) -> list[Heard]:
        if self.fails_with and max(float(each.max()) for each in features) > SHOUT:
            if self.fails_with == "memory":
                raise MemoryError
            raise RuntimeError(self.fails_with)
        return super().encode(features)

    def _wait(self) -> None:
        self.quick -= 1
        if self.quick < 0:
            time.sleep(self.pause)
            while self.until is not None and not self.until.exists():
                time.sleep(0.01)


def hearing_model(*_: object, **__: object) -> Model:
    """Replaces `mtasr.transcribe.load_model`."""
    pause, fails_with = float(os.environ.get("HEARING_PAUSE", "0")), os.environ.get("HEARING_FAILS", "")
    limits = EngineLimits(workers=2, batch_size=2)
    quick = int(os.environ.get("HEARING_QUICK", "0"))
    until = Path(os.environ["HEARING_UNTIL"]) if "HEARING_UNTIL" in os.environ else None
    engine = Suffering(limits=limits, pause=pause, fails_with=fails_with, quick=quick, until=until)
    return Model(engine, lambda: "hearing")


if __name__ == "__main__":
    import mtasr.transcribe
    from mtasr.cli import main

    DEFAULT_CHECKS["thin"] = 0.0  # the stand-in writes a few words for any time

    mtasr.transcribe.load_model = hearing_model  # type: ignore[assignment]
    main()

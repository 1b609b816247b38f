"""Live captions: words while somebody speaks, and at the end the transcript of the file.

with LiveSession(load_model("base"), language="en") as session:
    threading.Thread(target=record, args=(session,)).start()  # session.add(samples) ..., session.end()
    for event in session.events():
        match event:
            case Committed(): show(event.text)
            case Draft(): dim(event.text)
    print(session.transcript().text)
"""

from __future__ import annotations

from mtasr.live.events import (
    Committed,
    Draft,
    Event,
    Final,
    Lag,
    LanguageFound,
    Repeated,
    Skipped,
    SpeakersChanged,
    SpeechStarted,
    SpeechStopped,
)
from mtasr.live.policy import LivePolicy
from mtasr.live.session import LiveSession

__all__ = [
    "Committed",
    "Draft",
    "Event",
    "Final",
    "Lag",
    "LanguageFound",
    "LivePolicy",
    "LiveSession",
    "Repeated",
    "Skipped",
    "SpeakersChanged",
    "SpeechStarted",
    "SpeechStopped",
]

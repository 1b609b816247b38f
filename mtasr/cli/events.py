"""Progress for programs: on stderr a JSON object a line (`--progress json`).

    {"event": "batch", "files": 20}                       these are decoded now; skipped ones are not counted
    {"event": "file", "file": "a.wav", "place": 1}        the first of them is begun
    {"event": "progress", "file": "a.wav", "position": 12.4, "duration": 60.0, "start": 8.1, "end": 12.4,
     "text": "...", "speed": 21.0, "left": 140.2}         a segment is recognised
    {"event": "end", "file": "a.wav", "result": "done", "reason": "", "seconds": 60.0, "language": "en",
     "files": ["a.srt"]}                                  also of what is skipped or fails
    {"event": "finish", "done": 18, "in_doubt": 1, "failed": 1, "skipped": 0, "seconds": 1180.5, "took": 55.1}
    {"event": "note", "text": "..."}                      what a person would read

All times are in seconds. `position` and `duration` are of the recording, the latter null where its file does not tell.
`speed` is seconds of audio in a second and `left` the seconds until the end of the batch, null where they are not
known yet. `result` is done, in_doubt, failed or skipped. A line that is no JSON tells why the command as a whole was
refused or stopped.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def write(event: str, **fields: Any) -> None:
    """One event, at once."""
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in fields.items()}
    # In ASCII, so that no encoding of stderr is in the way.
    sys.stderr.write(f"{json.dumps({'event': event} | rounded)}\n")
    sys.stderr.flush()

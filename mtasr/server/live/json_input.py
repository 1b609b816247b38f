"""JSON from clients, which is sent back and kept: what would fail then is refused when it comes."""

from __future__ import annotations

import json
import math
from typing import Any

from mtasr.server.problems import Problem


def read_json(content: str | bytes, what: str) -> Any:
    """The value in a text of JSON, or in its UTF-8. `what` it is begins the messages.

    Raises `Problem` 400 for what is no JSON, as NaN; for numbers that no float holds; and for texts that UTF-8 cannot
    hold, as half a surrogate pair.
    """

    def number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise Problem(400, f"{what} has {text[:20]}, which is no number here", code="invalid_json")
        return value

    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        value = json.loads(text, parse_float=number, parse_constant=number)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        message = f"{what} has half a surrogate pair, which is no character"
        raise Problem(400, message, code="invalid_json") from None
    except (ValueError, RecursionError):
        raise Problem(400, f"{what} is no JSON", code="invalid_json") from None
    return value

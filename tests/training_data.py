"""Records for tests of training."""

from __future__ import annotations

from mtasr.data.records import Caption, Record


def record(
    *texts: str, language: str | None = "en", seconds: float = 3.0, gap: float = 0.5, **fields: object
) -> Record:
    """Captions of `seconds` each, one after the other with gaps between them."""
    captions = tuple(
        Caption(start=gap + index * (seconds + gap), end=(index + 1) * (seconds + gap), text=text)
        for index, text in enumerate(texts)
    )
    settings = {
        "id": "talk", "audio": "/data/talk.wav", "duration": len(texts) * (seconds + gap) + gap, "source": "radio",
    }  # fmt: skip
    return Record(language=language, captions=captions, **(settings | fields))  # type: ignore[arg-type]

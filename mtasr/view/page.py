"""The page itself. The text is in the HTML, so that people can read and search it even where scripts do not run.

A transcript comes from anywhere, so all of it is escaped, and the page's own policy allows no other script than ours
and no access to a network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import unicodedata
from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import NamedTuple, TextIO
from urllib.parse import quote

from mtasr.tokenizer.languages import LANGUAGES
from mtasr.transcript import Segment, Transcript
from mtasr.view.waveform import PEAKS, Waveform

#: Below the first of these probabilities a word is unsure and marked; each of them has a colour: class c2, c1, c0.
LEVELS = (0.9, 0.7, 0.5)

#: Bytes encoded at once: a multiple of 3, so that the parts in base64 can be joined.
_CHUNK = 3 << 18


class Sound(NamedTuple):
    """An MP3 file, and whether it goes into the page or stays beside it."""

    path: Path
    embedded: bool


def write_page(transcript: Transcript, waveform: Waveform, sound: Sound, title: str, stream: TextIO) -> None:
    """Write the page. It looks for a sound that is not embedded by its name, in the folder of the page."""
    style = asset("viewer.css") + asset("page.css")
    script = asset("speakers.js") + asset("viewer.js") + asset("page.js")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; media-src blob: file: 'self'"
    )
    name = _shown(title)
    stream.write(
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<header>\n<div class="bar"><h1>{name}</h1><p>{" · ".join(_facts(transcript, waveform))}</p>'
        f'<button type="button" id="theme">Dark</button></div>\n'
    )
    source = "" if sound.embedded else f' src="{escape(quote(sound.path.name))}"'
    stream.write(f'<audio id="audio" preload="auto"{source}></audio>\n')
    stream.write(asset("controls.html") + asset("legend.html"))
    stream.write(
        '</header>\n<main>\n<div id="people" class="people" role="group" aria-label="Speakers" hidden></div>\n'
    )
    # A segment without words is a word of its own.
    places = {
        name: place for place, name in enumerate(dict.fromkeys(each.speaker for each in transcript if each.speaker))
    }
    for number, segment in enumerate(transcript):
        stream.writelines(_segment(number, segment, places))
    if not transcript.segments:
        stream.write("<p>No speech was found.</p>\n")
    stream.write("</main>\n")
    _write_data(transcript, waveform, stream)
    if sound.embedded:
        stream.write('<script type="text/plain" id="sound">')
        with sound.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                stream.write(base64.b64encode(chunk).decode())
        stream.write("</script>\n")
    stream.write(f'<script type="module">{script}</script>\n</body>\n</html>\n')


def asset(name: str) -> str:
    """A file of the viewer, which the server's page uses too: `viewer.js`, `viewer.css` or `controls.html`."""
    return resources.files("mtasr.view").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _facts(transcript: Transcript, waveform: Waveform) -> Iterator[str]:
    yield _clock(waveform.duration)
    if transcript.language:
        yield _shown(LANGUAGES.get(transcript.language, transcript.language).title())
    words = [word for segment in transcript for word in segment.words or ()]
    if words:
        yield f"{len(words)} words"
        yield f"{sum(word.probability < LEVELS[0] for word in words)} unsure"
    if transcript.coverage is not None and not transcript.coverage.complete:
        yield "text and speech disagree in places"


def _segment(number: int, segment: Segment, places: Mapping[str, int]) -> Iterator[str]:
    """The segment as HTML; `places` counts the speakers from 0, for `speakers.js` to colour."""
    language = f' lang="{escape(_clean(segment.language))}"' if segment.language else ""
    speaker = f' data-speaker="{_shown(segment.speaker)}"' if segment.speaker else ""
    if segment.speaker_confidence is not None:
        speaker += f' data-sure="{segment.speaker_confidence:.2f}"'
    yield (
        f'<section id="s{number}" data-s="{segment.start:.3f}" data-e="{segment.end:.3f}"{language}{speaker}>'
        f'<button type="button" class="time">{_clock(segment.start)}</button><p dir="auto">'
    )
    if segment.speaker:
        yield f'<b class="speaker" data-n="{places[segment.speaker] + 1}">{_shown(segment.speaker)}</b> '
    if segment.words:
        for word in segment.words:
            # The highlight of a word does not include the space before it.
            bare = word.word.lstrip()
            yield " " * (len(bare) < len(word.word)) + _word(bare, word.start, word.end, word.probability)
    else:
        yield _word(segment.text.strip(), segment.start, segment.end, math.exp(min(segment.avg_logprob, 0.0)))
    yield "</p></section>\n"


def _word(text: str, start: float, end: float, probability: float) -> str:
    level = sum(probability < limit for limit in LEVELS)
    # NaN, an unknown probability, is below no limit.
    kind = f' class="c{len(LEVELS) - level}"' if level else ""
    known = "" if math.isnan(probability) else f' data-p="{probability:.2f}"'
    return f'<span data-s="{start:.3f}" data-e="{end:.3f}"{known}{kind}>{_shown(text)}</span>'


def _write_data(transcript: Transcript, waveform: Waveform, stream: TextIO) -> None:
    coverage = transcript.coverage
    data = {
        "duration": waveform.duration,
        "rate": PEAKS,
        "peaks": base64.b64encode(waveform.peaks).decode(),
        "speech": [[round(start, 3), round(end, 3)] for start, end in waveform.speech],
        "speechWithoutText": coverage.speech_without_text if coverage else [],
        "textWithoutSpeech": coverage.text_without_speech if coverage else [],
        "turns": None
        if transcript.turns is None
        else [
            {"start": turn.start, "end": turn.end, "speaker": _clean(turn.speaker), "confidence": turn.confidence}
            for turn in transcript.turns
        ],
    }
    stream.write(f'<script type="application/json" id="data">{_harmless(json.dumps(data))}</script>\n')


def _harmless(document: str) -> str:
    """JSON that cannot end the element that it is in."""
    return document.replace("<", "\\u003c")


def _shown(text: str) -> str:
    return escape(_clean(text))


def _clean(text: str) -> str:
    """`text` without what no page can hold: control characters and halves of characters."""
    return "".join(
        "\ufffd" if unicodedata.category(char) in {"Cc", "Cs"} and char not in "\n\t" else char for char in text
    )


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"

"""What a second decoding of windows could give: word errors of other ways to decode them, by how doubtful they are.

    OPENBLAS_NUM_THREADS=1 python benchmarks/second_look.py --clips MANIFEST [--clips ...] [--model base]

Each window that passes at once is decoded again in several ways: at the full length, without timestamp tokens, with the
text before it as a prompt, and combinations of them. A rule then chooses for each window: always the other text, or
the more probable one where the first is less probable than a limit. The rows give the word errors of each rule, and how
many windows it would decode again. A manifest is that of `windows.py`. Windows of files and lines of the table do not
depend on the machine; one process and thread.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from parity import edits, words

from mtasr.decoding import scheduler, window_decoder
from mtasr.decoding.checks import attempt_of
from mtasr.decoding.retries import Decoding
from mtasr.decoding.submission import DecodedWindow
from mtasr.decoding.window_decoder import WindowDecoder
from mtasr.decoding.window_input import WindowInput
from mtasr.options import DecodingOptions
from mtasr.transcribe import Model, load_model

#: Tokens of previous text in the prompt.
PROMPT = 96
#: Mean log-probabilities below which a window is looked at again.
LIMITS = (-0.5, -0.4, -0.3)
#: Ways to decode a window: whether at the full length, with timestamp tokens, and with the text before it.
WAYS = {
    "full length": (True, True, False),
    "no timestamps": (False, False, False),
    "full length, no timestamps": (True, False, False),
    "context": (False, True, True),
    "full length, context": (True, True, True),
    "no timestamps, context": (False, False, True),
    "full length, no timestamps, context": (True, False, True),
}


@dataclass(frozen=True)
class Text:
    """A text and its mean log-probability."""

    text: str
    avg_logprob: float


@dataclass(frozen=True)
class Seen:
    """What a window became, and what other ways made of it; none if it did not pass at once."""

    taken: Text
    others: dict[str, Text]


#: Chooses a text of a window, and says whether that takes a second decoding.
Rule = Callable[[Seen], tuple[str, bool]]


class Noting(WindowDecoder):
    """Keeps each decoding that is finished."""

    finished: list[tuple[WindowDecoder, Decoding]] = []  # noqa: RUF012 - one for all

    def finish(self, decoding: Decoding, sampler: Callable[[], window_decoder.Engine]) -> DecodedWindow:
        decoding = self._drawn(decoding, sampler)
        Noting.finished.append((self, decoding))
        return super().finish(decoding, sampler)


def seen(model: Model, path: Path, language: str) -> Iterator[Seen]:
    """The windows of a recording in their order."""
    Noting.finished = []
    model.transcribe(path, language=language)
    found = sorted(Noting.finished, key=lambda each: each[1].input.window.start)
    tokenizer = model.engine.tokenizer
    before: list[int] = []
    for decoder, decoding in found:
        taken = decoding.taken
        silent = taken is not None and decoder.checks.is_silence(taken)
        tokens = [] if silent else [token for token in decoding.tokens() if token < tokenizer.eot]
        text = Text(tokenizer.decode(tokens), taken.hypothesis.avg_logprob if taken is not None else 0.0)
        plain = taken is not None and not decoding.parts and taken.temperature == 0
        ways = {name: way for name, way in WAYS.items() if before or not way[2]} if plain else {}
        others = {name: again(decoder, decoding.input, before, *way) for name, way in ways.items()}
        yield Seen(text, {name: other for name, other in others.items() if other is not None})
        before.extend(tokens)


def again(
    decoder: WindowDecoder, shown: WindowInput, before: Sequence[int], full: bool, timestamps: bool, context: bool
) -> Text | None:
    """The text of a window in another way; None if it loops."""
    engine = decoder._engine
    seconds = decoder.audio_seconds if full else shown.context
    (encoded,) = decoder.encoded([replace(shown, context=seconds, encoded=None)])
    start = engine.tokenizer.sot_sequence(shown.language, "transcribe", timestamps=timestamps)
    prompt = (*(decoder.prompts.before(before[-PROMPT:]) if context else ()), *start)
    options = DecodingOptions(without_timestamps=not timestamps)
    (hypothesis,) = engine.generate([encoded.encoded], [prompt], options, 0.0)
    if decoder.checks.loops(attempt_of(hypothesis, 0.0, engine.tokenizer), shown.window.seconds):
        return None
    return Text(engine.tokenizer.decode(hypothesis.tokens), hypothesis.avg_logprob)


def rules() -> Iterator[tuple[str, Rule]]:
    yield "as it is", lambda window: (window.taken.text, False)
    for name in WAYS:
        yield f"{name}: always", lambda window, name=name: chosen(window, name, always=True)  # type: ignore[misc]
        for limit in LIMITS:
            yield (
                f"{name}: below {limit}, the more probable",
                lambda window, name=name, limit=limit: chosen(window, name, below=limit),  # type: ignore[misc]
            )
    yield "the most probable of all", most_probable


def chosen(window: Seen, name: str, *, always: bool = False, below: float = 0.0) -> tuple[str, bool]:
    other = window.others.get(name)
    if other is None or not (always or window.taken.avg_logprob < below):
        return window.taken.text, False
    better = always or other.avg_logprob >= window.taken.avg_logprob
    return (other if better else window.taken).text, True


def most_probable(window: Seen) -> tuple[str, bool]:
    every = [window.taken, *window.others.values()]
    return max(every, key=lambda text: text.avg_logprob).text, bool(window.others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, action="append")
    parser.add_argument("--model", default="base")
    args = parser.parse_args()
    scheduler.WindowDecoder = Noting  # type: ignore[misc]
    model = load_model(args.model, threads=1, workers=1)
    recordings: list[tuple[list[str], list[Seen]]] = []
    for manifest in args.clips:
        for row in json.loads(manifest.read_text(encoding="utf-8")):
            reference = words(row.get("text") or " ".join(segment["text"] for segment in row["segments"]))
            recordings.append((reference, list(seen(model, manifest.parent / row["audio"], row["language"]))))
    total = sum(len(reference) for reference, _ in recordings)
    print(f"{total} words, {sum(len(windows) for _, windows in recordings)} windows")
    for name, rule in rules():
        errors = again = 0
        for reference, windows in recordings:
            made = [rule(window) for window in windows]
            errors += edits(reference, words(" ".join(text for text, _ in made)))
            again += sum(second for _, second in made)
        print(f"{name}: {100 * errors / total:.2f} %, {again} windows again", flush=True)


if __name__ == "__main__":
    main()

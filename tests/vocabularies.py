"""Whisper-style vocabularies for tests, laid out as the published ones, with our own merges."""

from __future__ import annotations

from mtasr.tokenizer.languages import LANGUAGES
from mtasr.tokenizer.vocabulary import byte_of_character

#: Text tokens of the published vocabularies, before <|endoftext|>.
FULL_TEXT = {"multilingual": 50257, "english": 50256, "large-v3": 50257}

_WORDS = """
the and of to in is it you that he was for on are with as they be at one have this from or had by hot word but what
some we can out other were all there when up use your how said an each she which do their time if will way about many
then them write would like so these her long make thing see him two has look more day could go come did number sound
no most people my over know water than call first who may down side been now find any new work part take get
""".split()  # noqa: SIM905
_DIGRAMS = [a + b for a in map(chr, range(97, 123)) for b in ["", *map(chr, range(97, 123))]]


def text_tokens(count: int, *, multilingual: bool) -> list[str]:
    """`count` text tokens: 256 bytes, merges that spell common words, then unused fillers; last, the empty token."""
    tokens = list(byte_of_character())
    seen = set(tokens)
    for word in _WORDS:
        for spelled in (f"Ġ{word}", word):
            for end in range(2, len(spelled) + 1):
                if spelled[:end] not in seen:
                    seen.add(spelled[:end])
                    tokens.append(spelled[:end])
    room = count - (1 if multilingual else 0)
    tokens = tokens[:room]
    fillers = (
        f"Ġ{a}{b}{c}{d}" for a in "zxqjkv" for b in "zxqjkvw" for c in map(chr, range(97, 123)) for d in _DIGRAMS
    )
    while len(tokens) < room:
        filler = next(fillers)
        if filler not in seen:
            seen.add(filler)
            tokens.append(filler)
    return [*tokens, ""] if multilingual else tokens


def vocabulary(kind: str = "multilingual", text_size: int = 700) -> list[str]:
    """A whole vocabulary of one of the three published layouts; `text_size` text tokens."""
    codes = [code for code in LANGUAGES if code != "yue" or kind == "large-v3"]
    no_speech = "<|nospeech|>" if kind == "large-v3" else "<|nocaptions|>"
    return [
        *text_tokens(text_size, multilingual=kind != "english"),
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in codes),
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        no_speech,
        "<|notimestamps|>",
        *(f"<|{step * 0.02:.2f}|>" for step in range(1501)),
    ]

"""Reading the vocabulary of a model folder: its tokens by id, in GPT-2's printable spelling of bytes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from mtasr.errors import ModelIntegrityError

#: CTranslate2 writes one of these: the first for large-v3 and later, the second for the others.
VOCABULARY_FILES = ("vocabulary.json", "vocabulary.txt")


def read_vocabulary(folder: Path) -> list[str]:
    """Every token of the model, by id. Raises `ModelIntegrityError` if there is no vocabulary or it is damaged."""
    for name in VOCABULARY_FILES:
        path = folder / name
        if path.is_file():
            break
    else:
        raise ModelIntegrityError(f"{folder}: no vocabulary ({' or '.join(VOCABULARY_FILES)}) in the model folder")
    try:
        text = path.read_text(encoding="utf-8")
        tokens = json.loads(text) if path.suffix == ".json" else text.removesuffix("\n").split("\n")
    except (OSError, ValueError, RecursionError) as exc:
        raise ModelIntegrityError(f"{path}: cannot read the vocabulary: {exc}") from exc
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ModelIntegrityError(f"{path}: the vocabulary is not a list of tokens")
    return tokens


@cache
def byte_of_character() -> dict[str, int]:
    """GPT-2's spelling of the 256 bytes: printable Latin-1 as itself, the rest in order from U+0100 on."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    table = {chr(byte): byte for byte in plain}
    others = (byte for byte in range(256) if byte not in plain)
    table |= {chr(0x100 + position): byte for position, byte in enumerate(others)}
    return table


def token_bytes(token: str) -> bytes:
    """The bytes of a token of the vocabulary."""
    table = byte_of_character()
    try:
        return bytes(table[character] for character in token)
    except KeyError:
        # Fine-tuned models spell added tokens as plain text.
        return token.encode()

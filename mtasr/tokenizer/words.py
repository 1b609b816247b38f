"""Cutting tokens into words, for word timestamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtasr.tokenizer.languages import UNSPACED
from mtasr.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class WordTokens:
    """A word as in the text, with its leading space, and its tokens."""

    text: str
    tokens: tuple[int, ...]


def split_words(tokenizer: Tokenizer, tokens: Sequence[int], language: str) -> list[WordTokens]:
    """Cut text tokens into words at spaces, or into characters if the language writes no spaces.

    The texts together are the text of the tokens; the token groups together are the tokens.
    """
    pieces = _characters(tokenizer, tokens)
    return pieces if language in UNSPACED else _at_spaces(pieces)


def _characters(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[WordTokens]:
    """The shortest groups of tokens that end on a character's last byte."""
    texts = tokenizer.decode_groups([token] for token in tokens)
    pieces: list[WordTokens] = []
    held: list[int] = []
    for token, text in zip(tokens, texts, strict=True):
        held.append(token)
        if text:
            pieces.append(WordTokens(text, tuple(held)))
            held = []
    if held and pieces:  # Bytes that form no character stay with the last one.
        pieces[-1] = WordTokens(pieces[-1].text, (*pieces[-1].tokens, *held))
    return pieces


def _at_spaces(pieces: Sequence[WordTokens]) -> list[WordTokens]:
    words: list[WordTokens] = []
    for piece in pieces:
        if words and not (piece.text[0].isspace() and words[-1].text.strip()):
            words[-1] = WordTokens(words[-1].text + piece.text, words[-1].tokens + piece.tokens)
        else:
            words.append(piece)
    return words


def merge_punctuation(words: Sequence[WordTokens], prepended: str, appended: str) -> list[WordTokens]:
    """Join lone marks to a word: an opening quote to the word after it, a comma or French " ?" to the one before."""
    merged: list[WordTokens] = []
    opening: WordTokens | None = None
    for word in words:
        mark = word.text.strip()
        current = word if opening is None else WordTokens(opening.text + word.text, opening.tokens + word.tokens)
        opening = None
        # A mark after a space opens the next word; without a space it closes the previous one.
        if word.text.startswith(" ") and mark and mark in prepended:
            opening = current
        elif merged and current is word and mark and mark in appended:
            merged[-1] = WordTokens(merged[-1].text + word.text, merged[-1].tokens + word.tokens)
        else:
            merged.append(current)
    return merged if opening is None else [*merged, opening]

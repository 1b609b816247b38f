"""Places in a vocabulary for the tokens of a trained prompt: text tokens that nobody needs.

A token is free if it is made of symbols alone, no other token contains it, and either the model never writes it anyway
(its list of tokens to suppress) or it is a run of at least four symbols, such as a line of dashes. Text that has it
can be written in smaller tokens.

A token that is taken gets the name `<|prompt0|>`, `<|prompt1|>` and so on (`Tokenizer.prompt`). From then on it is no
text: the tokenizer never makes it of a text, and decoding suppresses it, since it is one of `Tokenizer.never_text`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

from mtasr.errors import UsageError
from mtasr.tokenizer.tokenizer import Tokenizer

#: Characters beside spaces from which on a run of symbols is no punctuation of a sentence.
_LONG_RUN = 4
#: Between tokens. These bytes are in no UTF-8 text.
_BORDER = b"\xff\xfe"


def free_tokens(tokenizer: Tokenizer, suppressed: Collection[int]) -> list[int]:
    """The tokens that can be taken, those that the model suppresses first, and of each kind the rarest first.

    The ids of text tokens are in the order of how often they were needed when the vocabulary was learnt.
    """
    pieces = [tokenizer.token_bytes(token) for token in range(tokenizer.eot)]
    everything = _BORDER.join(pieces)
    free = [
        token
        for token, piece in enumerate(pieces)
        if _is_symbols(piece, at_least=1 if token in suppressed else _LONG_RUN) and everything.count(piece) == 1
    ]
    return sorted(free, key=lambda token: (token not in suppressed, -token))


def _is_symbols(piece: bytes, at_least: int) -> bool:
    """Whether this is punctuation, symbols and spaces alone, at least so many of them visible; no single byte."""
    if len(piece) < 2:
        return False
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return False
    kinds = [unicodedata.category(character) for character in text]
    return all(kind[0] in "PS" or kind == "Zs" for kind in kinds) and sum(kind[0] in "PS" for kind in kinds) >= at_least


def with_prompt(tokens: Sequence[str], count: int, suppressed: Collection[int]) -> tuple[list[str], tuple[int, ...]]:
    """The vocabulary with a prompt of `count` tokens, and their ids in order.

    Raises `UsageError` if it has a prompt already, or too few free tokens.
    """
    tokenizer = Tokenizer(tokens)
    if tokenizer.prompt:
        raise UsageError("the model has a trained prompt already")
    free = free_tokens(tokenizer, suppressed)
    if len(free) < count:
        raise UsageError(f"the vocabulary has {len(free)} tokens that nobody needs; a prompt of {count} does not fit")
    taken = free[:count]
    return renamed(tokens, taken), tuple(taken)


def renamed(tokens: Sequence[str], prompt: Sequence[int]) -> list[str]:
    """The vocabulary with the names of a prompt at these ids, in this order."""
    names = {token: f"<|prompt{place}|>" for place, token in enumerate(prompt)}
    return [names.get(index, token) for index, token in enumerate(tokens)]

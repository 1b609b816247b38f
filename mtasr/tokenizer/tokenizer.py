"""Text to tokens and back, with Whisper's special tokens by name."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from mtasr.errors import ModelIntegrityError, UsageError
from mtasr.tokenizer.languages import LANGUAGES
from mtasr.tokenizer.vocabulary import read_vocabulary, token_bytes

if TYPE_CHECKING:
    import tiktoken

#: How GPT-2 and every Whisper vocabulary cut text before merging bytes (Radford et al. 2019).
GPT2_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

#: Seconds between one timestamp token and the next.
TIMESTAMP_STEP = 0.02

_TIMESTAMP = re.compile(r"<\|\d+\.\d\d\|>")
_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
_PROMPT = re.compile(r"<\|prompt(\d{1,4})\|>")


def prompt_tokens(tokens: Iterable[str]) -> list[str]:
    """Those of a vocabulary that are of a trained prompt, in its order."""
    matches = [_PROMPT.fullmatch(token) for token in tokens if token.startswith("<|prompt")]
    return [match[0] for match in sorted(filter(None, matches), key=lambda match: int(match[1]))]


class Tokenizer:
    """The vocabulary of one model.

    Ids are in the order that CTranslate2 expects: text, specials, timestamps in steps of 0.02 s. Multilingual
    vocabularies have an empty token in the text part; English-only ones do not.

    Raises `ModelIntegrityError` if a special token is missing.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        # Backwards, so that the first of equal tokens counts.
        ids = dict(zip(reversed(tokens), range(len(tokens) - 1, -1, -1), strict=True))
        missing = [name for name in ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>") if name not in ids]
        if missing:
            raise ModelIntegrityError(f"the vocabulary lacks {', '.join(missing)}: not a Whisper-style model")
        self.n_vocab = len(tokens)
        self.eot = ids["<|endoftext|>"]
        self.sot = ids["<|startoftranscript|>"]
        self.no_timestamps = ids["<|notimestamps|>"]
        self.timestamp_begin = self.no_timestamps + 1
        self.is_multilingual = "" in tokens[: self.eot]
        self._ids = ids
        self._tokens = tokens
        first_timestamp = tokens[self.timestamp_begin : self.timestamp_begin + 1]
        if first_timestamp and not _TIMESTAMP.fullmatch(first_timestamp[0]):
            raise ModelIntegrityError(f"token {self.timestamp_begin} is {first_timestamp[0]!r}, not a timestamp")

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:
        """The tokenizer of a CTranslate2 model folder."""
        return cls(read_vocabulary(folder))

    @cached_property
    def ranks(self) -> dict[bytes, int]:
        """Bytes of each text token -> its id, the first of equal ones. Pairs with the lowest id are merged first."""
        text = ((token, index) for index, token in enumerate(self._tokens[: self.eot]) if index not in self._of_prompt)
        pieces = [(token_bytes(token), index) for token, index in text]
        return {piece: index for piece, index in reversed(pieces) if piece}

    def merges(self, piece: bytes, is_passed_over: Callable[[], bool] = lambda: False) -> Iterator[list[bytes]]:
        """Byte-pair encoding, from single bytes on: the parts of `piece` after each merge.

        `is_passed_over` is asked about each possible next merge. Of equal merges the leftmost is taken.
        """
        parts = [bytes([byte]) for byte in piece]
        yield parts
        while True:
            possible = [
                (self.ranks[one + other], place)
                for place, (one, other) in enumerate(pairwise(parts))
                if one + other in self.ranks and not is_passed_over()
            ]
            if not possible:
                return
            _, place = min(possible)
            parts = [*parts[:place], parts[place] + parts[place + 1], *parts[place + 2 :]]
            yield parts

    @cached_property
    def encoding(self) -> tiktoken.Encoding:
        """The same vocabulary as a tiktoken encoding; a token's id is also the rank of its merge."""
        import tiktoken

        specials = {token: index for index, token in enumerate(self._tokens) if index >= self.eot and token}
        return tiktoken.Encoding("whisper", pat_str=GPT2_PATTERN, mergeable_ranks=self.ranks, special_tokens=specials)

    # Special tokens

    def special(self, name: str) -> int:
        """The id of a special token by its bare name, such as "translate". Raises `ModelIntegrityError`."""
        try:
            return self._ids[f"<|{name}|>"]
        except KeyError:
            raise ModelIntegrityError(f"the vocabulary has no token <|{name}|>") from None

    @cached_property
    def sot_prev(self) -> int:
        return self.special("startofprev")

    @cached_property
    def no_speech(self) -> int:
        """Published vocabularies spell this token in two ways."""
        return self._ids.get("<|nospeech|>", self._ids.get("<|nocaptions|>", -1))

    @cached_property
    def language_tokens(self) -> dict[str, int]:
        """Language code -> token id; only "en" for an English-only model."""
        if not self.is_multilingual:
            return {"en": self.sot}
        found = ((_LANGUAGE.fullmatch(token), self._ids[token]) for token in self._tokens[self.eot :])
        return {m[1]: index for m, index in found if m and m[1] in LANGUAGES}

    @cached_property
    def prompt(self) -> tuple[int, ...]:
        """Tokens whose vectors were trained to stand before every start of transcript; most models have none.

        They are named `<|prompt0|>` and so on, and have taken the places of text tokens that nobody needs
        (`mtasr.tokenizer.prompt_tokens`).
        """
        return tuple(self._ids[token] for token in prompt_tokens(self._tokens))

    @cached_property
    def never_text(self) -> tuple[int, ...]:
        """Specials that belong to prompts, which a model must never write."""
        names = ("<|startoftranscript|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>")
        named = {self._ids[name] for name in names if name in self._ids}
        return tuple(sorted(named | set(self.prompt) | {self.no_speech} - {-1}))

    def sot_sequence(self, language: str, task: str, *, timestamps: bool = True) -> tuple[int, ...]:
        """The prompt: start of transcript, language, task and, without timestamps, `<|notimestamps|>`.

        The trained prompt stands before all of these, if the model has one. Raises `UsageError` if the model does not
        know the language, or cannot translate.
        """
        if not self.is_multilingual:
            if task != "transcribe":
                raise UsageError("this model is English-only and cannot translate; use a multilingual model")
            if language != "en":
                raise UsageError(f"this model is English-only and does not know {language!r}; use a multilingual model")
            head: tuple[int, ...] = (*self.prompt, self.sot)
        else:
            if language not in self.language_tokens:
                name = LANGUAGES.get(language, language)
                raise UsageError(f"this model does not know the language {name!r}")
            head = (*self.prompt, self.sot, self.language_tokens[language], self.special(task))
        return head if timestamps else (*head, self.no_timestamps)

    def text_in(self, prompt: Sequence[int]) -> tuple[int, ...]:
        """The start of the text, if the prompt has it: the tokens after the special ones."""
        place = list(prompt).index(self.sot)
        while place < len(prompt) and self.sot <= prompt[place] <= self.no_timestamps:
            place += 1
        return tuple(prompt[place:])

    def check_ids(self, ids: Iterable[int]) -> None:
        """Raise `UsageError` for ids outside the vocabulary; -1 is allowed and means "the model's own list"."""
        for token in ids:
            if not -1 <= token < self.n_vocab:
                raise UsageError(f"this model has no token {token}; its ids go from 0 to {self.n_vocab - 1}")

    # Text

    def encode(self, text: str) -> list[int]:
        """Ids of plain text, in which the spelling of a special token is text too."""
        return self.encoding.encode_ordinary(text)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a text token; empty for specials and timestamps."""
        return token_bytes(self._tokens[token]) if token < self.eot and token not in self._of_prompt else b""

    @cached_property
    def _of_prompt(self) -> frozenset[int]:
        return frozenset(self.prompt)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of the tokens, without specials, timestamps and bytes that are not valid UTF-8."""
        return self.decode_groups([tokens])[0]

    def decode_groups(self, groups: Iterable[Iterable[int]]) -> list[str]:
        """The texts of consecutive groups of tokens.

        A character whose bytes are spread over two groups appears in the group that completes it. Replacement
        characters are never added.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        return [decoder.decode(b"".join(map(self.token_bytes, group))) for group in groups]

    def decode_with_timestamps(self, tokens: Iterable[int]) -> str:
        """The text with timestamps spelled as `<|1.20|>`."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        return "".join(
            f"<|{self.seconds(token):.2f}|>" if self.is_timestamp(token) else decoder.decode(self.token_bytes(token))
            for token in tokens
        )

    # Timestamps

    def is_timestamp(self, token: int) -> bool:
        return token >= self.timestamp_begin

    def seconds(self, token: int) -> float:
        """The time that a timestamp token stands for, in seconds from the start of the window."""
        return round((token - self.timestamp_begin) * TIMESTAMP_STEP, 2)

"""The tokens of a vocabulary that are needed to write some languages.

A token stays if the languages use it often enough. Word lists with frequencies tell how often: every word, in each of
its spellings, is cut into tokens, and each token collects the frequencies of its words. Because word lists say little
about them, some tokens always stay:

- the 256 bytes, so that any text can still be written, and the empty token;
- tokens without letters (figures, punctuation, spaces): they belong to all languages, and are few;
- for languages in other alphabets than the Latin one, every token in that alphabet and every piece of a character:
  of 50,257 tokens 40,446 are Latin, and of no other alphabet there are more than 2,976;
- tokens in the model's settings or in a text of the user.

Last come the tokens that these are merged from. With them, text whose tokens all stay is cut as before: at each step
the merge of the lowest rank still exists, and the merges that are gone would not have been chosen.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from mtasr.errors import UsageError
from mtasr.extras import extras
from mtasr.tokenizer import LANGUAGES, Tokenizer

#: A token stays if it occurs once in ten million words.
LEAST_FREQUENCY = 1e-7

#: Language code -> the code that wordfreq uses for it.
_LIST_NAMES = {"no": "nb", "tl": "fil", "hr": "sh", "bs": "sh", "yue": "zh"}

#: An alphabet belongs to a language if this part of its letters is in it.
_OWN_ALPHABET = 0.01

#: Languages that capitalise nouns.
_CAPITAL_NOUNS = frozenset({"de", "lb"})


def tokens_to_keep(
    tokenizer: Tokenizer,
    languages: Sequence[str],
    text: Sequence[str] = (),
    always: Iterable[int] = (),
    least: float = LEAST_FREQUENCY,
) -> list[int]:
    """The text tokens to keep, ascending; tokens from the end of text on are not among them.

    `text` are lines whose tokens stay too, and `always` are ids that stay. Raises `UsageError` for a language without
    a word list if there is no text, and `MissingExtraError` without the package of word lists.
    """
    lists = _word_lists(languages, required=not text)
    kept = {token for token in always if token < tokenizer.eot}
    alphabets: set[str] = set()
    for language, words in lists.items():
        frequencies = token_frequencies(tokenizer, words, least / 100, capitals=language in _CAPITAL_NOUNS)
        kept.update(token for token, frequency in frequencies.items() if frequency >= least)
        alphabets |= own_alphabets(words)
    for line in text:
        for spelled in (line, *(each for word in line.split() for each, _ in spellings(word))):
            kept.update(tokenizer.encode(spelled))
    for token in range(tokenizer.eot):
        piece = tokenizer.token_bytes(token)
        if len(piece) <= 1 or _belongs(piece, alphabets):
            kept.add(token)
    return with_ancestors(tokenizer, kept)


def with_ancestors(tokenizer: Tokenizer, tokens: Iterable[int]) -> list[int]:
    """The tokens and all intermediate tokens of their byte-pair encoding, ascending."""
    whole = set(tokens)
    for token in [*whole]:
        for parts in tokenizer.merges(tokenizer.token_bytes(token)):
            whole.update(tokenizer.ranks[part] for part in parts if part in tokenizer.ranks)
    return sorted(whole)


def token_frequencies(
    tokenizer: Tokenizer, words: dict[str, float], negligible: float = 0.0, *, capitals: bool = False
) -> dict[int, float]:
    """How often each token occurs per word of running text. Spellings rarer than `negligible` are left out."""
    found: dict[int, float] = defaultdict(float)
    for word, frequency in words.items():
        for text, share in spellings(word, capitals=capitals):
            if share * frequency >= negligible:
                for token in tokenizer.encode(text):
                    found[token] += share * frequency
    return dict(found)


def spellings(word: str, *, capitals: bool = False) -> list[tuple[str, float]]:
    """The spellings of a word in texts, with the rough share of each.

    With and without a space before it ("l'homme", "well-known"), at the start of a sentence, and in capitals. Only the
    order of magnitude matters. `capitals`: nouns are capitalised.
    """
    first = word[:1].upper() + word[1:]
    small, large = (0.5, 0.5) if capitals else (0.8, 0.1)
    return [(f" {word}", small), (word, 0.1), (f" {first}", large), (first, 0.05), (f" {word.upper()}", 0.01)]


def own_alphabets(words: dict[str, float]) -> set[str]:
    """The alphabets, other than the Latin one, that these words are written in."""
    letters: dict[str, float] = defaultdict(float)
    for word, frequency in words.items():
        for character in filter(_is_letter, word):
            letters[_alphabet(character)] += frequency
    least = _OWN_ALPHABET * sum(letters.values())
    return {name for name, count in letters.items() if count >= least} - {"LATIN"}


def _belongs(piece: bytes, alphabets: Collection[str]) -> bool:
    try:
        text = piece.decode()
    except UnicodeDecodeError:  # part of a character
        return bool(alphabets)
    return all(_alphabet(character) in alphabets for character in text if _is_letter(character))


def _is_letter(character: str) -> bool:
    """Letters, and the marks that write vowels in some alphabets."""
    return unicodedata.category(character)[0] in "LM"


def _alphabet(character: str) -> str:
    """The alphabet of a letter, as its Unicode name begins: "LATIN", "CYRILLIC", "CJK"."""
    return unicodedata.name(character, "?").partition(" ")[0].partition("-")[0]


def _word_lists(languages: Sequence[str], *, required: bool) -> dict[str, dict[str, float]]:
    with extras():
        import wordfreq
    large, small = (wordfreq.available_languages(size) for size in ("large", "small"))
    listed = {code for code in LANGUAGES if _LIST_NAMES.get(code, code) in small}
    if required and (missing := [LANGUAGES[code] for code in languages if code not in listed]):
        raise UsageError(
            f"there is no word list for {' and '.join(missing)}: give a text with --text, or languages out of "
            f"{', '.join(sorted(listed))}"
        )
    found = {}
    for language in languages:
        if language in listed:
            name = _LIST_NAMES.get(language, language)
            # Words in bins of equal frequency, which falls by a factor of 10 ** 0.01 from one bin to the next.
            bins = wordfreq.get_frequency_list(name, "large" if name in large else "small")
            found[language] = {word: 10 ** (-place / 100) for place, words in enumerate(bins) for word in words}
    return found

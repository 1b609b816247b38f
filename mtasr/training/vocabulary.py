"""A vocabulary learned from texts, for a model that is trained from scratch.

vocabulary.json       every token in order of its id, as in CTranslate2's format; `mtasr train` reads this file
tokenizer.json        the same for Hugging Face's `tokenizers`
vocabulary.tiktoken   the text tokens for tiktoken: one line each with its bytes in base64 and its rank
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mtasr.checkpoints.huggingface.files import tokenizer_json
from mtasr.data.records import Record, written_whole
from mtasr.data.texts import spaced
from mtasr.errors import UsageError
from mtasr.extras import extras
from mtasr.features import CHUNK_SECONDS
from mtasr.tokenizer import LANGUAGES, TIMESTAMP_STEP
from mtasr.tokenizer.tokenizer import GPT2_PATTERN
from mtasr.tokenizer.vocabulary import byte_of_character, token_bytes

#: Tokens for single bytes, which can spell any text.
BYTES = 256


def texts_of(records: Iterable[Record]) -> Iterator[str]:
    """The texts that a model learns from these records, spelled as in targets."""
    for record in records:
        for caption in record.captions:
            if caption.text.strip():
                yield spaced(caption.text, record.text_language)


def learn_vocabulary(texts: Iterable[str], size: int, languages: Sequence[str]) -> list[str]:
    """All tokens by id: at most `size` of text (bytes and merges), the empty token, special tokens, timestamps.

    Raises `UsageError` for impossible languages or sizes, `MissingExtraError` without `tokenizers`.
    """
    if not languages:
        raise UsageError("none of the records names its language, so a model could not learn which one to write")
    if unknown := [code for code in languages if code not in LANGUAGES]:
        raise UsageError(f"there is no language {unknown[0]!r}")
    if size <= BYTES:
        raise UsageError(f"a vocabulary must have more than {BYTES} text tokens, because each byte is one, not {size}")
    return [
        *byte_of_character(),
        *_merged(texts, size),
        "",  # by which CTranslate2 recognises a multilingual vocabulary
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in LANGUAGES if code in set(languages)),
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
        *(f"<|{step * TIMESTAMP_STEP:.2f}|>" for step in range(round(CHUNK_SECONDS / TIMESTAMP_STEP) + 1)),
    ]


def _merged(texts: Iterable[str], size: int) -> list[str]:
    """The tokens of several bytes, in the order of their merges."""
    with extras():
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(GPT2_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = list(byte_of_character())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=[], show_progress=False)
    learner.train_from_iterator(texts, trainer)
    ids = learner.get_vocab()
    return sorted(ids.keys() - set(alphabet), key=ids.__getitem__)


def write_vocabulary(tokens: Sequence[str], folder: Path) -> None:
    """Write the three files. Raises `OutputError`."""
    ranks = (token_bytes(token) for token in tokens[: tokens.index("")])
    for name, text in (
        ("vocabulary.json", json.dumps(tokens, indent=2, ensure_ascii=False) + "\n"),
        ("tokenizer.json", json.dumps(tokenizer_json(tokens), indent=2, ensure_ascii=False) + "\n"),
        (
            "vocabulary.tiktoken",
            "".join(f"{base64.b64encode(piece).decode()} {rank}\n" for rank, piece in enumerate(ranks)),
        ),
    ):
        with written_whole(folder / name) as staging:
            staging.write_text(text, encoding="utf-8")

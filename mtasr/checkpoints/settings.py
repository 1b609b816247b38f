"""The generation settings of a checkpoint, and reading JSON files of models."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mtasr.errors import ModelIntegrityError
from mtasr.networks.dimensions import ModelDimensions
from mtasr.tokenizer import LANGUAGES, Tokenizer

_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
_MOST_JSON_BYTES = 64 << 20

#: The key of our own entries in documents of other programs, which ignore it.
OURS = "mtasr"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """Under the names of CTranslate2's `config.json`."""

    #: Tokens never to write: symbols that are not spoken, and specials that belong to prompts.
    suppress_ids: tuple[int, ...] = ()
    #: Tokens not to begin with: a space, end of text.
    suppress_ids_begin: tuple[int, ...] = ()
    #: Tokens of the languages, ascending; none for an English-only model.
    lang_ids: tuple[int, ...] = ()
    #: Decoder layer and head of the cross-attention that follows the audio in time, for word timestamps.
    alignment_heads: tuple[tuple[int, int], ...] = ()
    #: Whether the model was trained on windows that end without silence, so that decoding need not add any.
    variable_length: bool = False

    def problems(self, n_vocab: int, layers: int, heads: int) -> list[str]:
        """Ids and heads that a model of this size does not have."""
        found = [
            f"{name} names token {token}"
            for name in ("suppress_ids", "suppress_ids_begin", "lang_ids")
            for token in getattr(self, name)
            if not 0 <= token < n_vocab
        ]
        for layer, head in self.alignment_heads:
            if not (0 <= layer < layers and 0 <= head < heads):
                found.append(f"alignment_heads names layer {layer}, head {head}")
        return found

    def without(self, tokens: Sequence[int]) -> GenerationSettings:
        """The settings with which these tokens are never written either."""
        return replace(self, suppress_ids=tuple(sorted({*self.suppress_ids, *tokens})) if tokens else self.suppress_ids)

    def has_reliable_alignment(self, dims: ModelDimensions) -> bool:
        """Whether alignment tells reliably when words are spoken.

        The heads of a decoder with fewer layers than the encoder, as distilled models and turbo have, follow the audio
        poorly. Without heads that were chosen for the model, nobody knows which of them follow it.
        """
        chosen = self.alignment_heads not in ((), default_alignment_heads(dims.n_text_layer, dims.n_text_head))
        return chosen and dims.n_text_layer >= dims.n_audio_layer


def default_alignment_heads(layers: int, heads: int) -> tuple[tuple[int, int], ...]:
    """All heads of the upper half of the decoder, as good as anything where the right ones are unknown."""
    return tuple((layer, head) for layer in range(layers // 2, layers) for head in range(heads))


def language_ids(tokens: Sequence[str]) -> tuple[int, ...]:
    """The language tokens of a vocabulary."""
    if "" not in tokens:  # English-only
        return ()
    found = ((_LANGUAGE.fullmatch(token), index) for index, token in enumerate(tokens))
    return tuple(index for match, index in found if match and match[1] in LANGUAGES)


def default_settings(tokens: Sequence[str], layers: int, heads: int) -> GenerationSettings:
    """Settings derived from the vocabulary and the size of the model."""
    tokenizer = Tokenizer(tokens)
    space = [index for index, token in enumerate(tokens[: tokenizer.eot]) if token == "Ġ"]  # noqa: S105
    return GenerationSettings(
        suppress_ids=tokenizer.never_text,
        suppress_ids_begin=(*space, tokenizer.eot),
        lang_ids=language_ids(tokens),
        alignment_heads=default_alignment_heads(layers, heads),
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model folder. Raises `ModelIntegrityError`."""
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise ModelIntegrityError(f"{path} is too large for a file of its kind")
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as exc:
        raise ModelIntegrityError(f"cannot read {path}: {getattr(exc, 'strerror', None) or exc}") from exc
    if not isinstance(document, dict):
        raise ModelIntegrityError(f"{path} is not a JSON object")
    return document


def token_ids(document: dict[str, Any], name: str, where: Path) -> tuple[int, ...]:
    """A list of ids from a JSON object; empty if it is missing or null."""
    value = document.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        raise ModelIntegrityError(f"{where}: {name} is not a list of token ids")
    return tuple(value)


def plain(settings: GenerationSettings) -> dict[str, Any]:
    """The settings as JSON values, under their own names."""
    document: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return document


def settings_in(
    document: dict[str, Any],
    where: Path,
    *,
    alignment_heads: tuple[tuple[int, int], ...] = (),
    variable_length: bool,
) -> GenerationSettings:
    """The settings from a JSON object that has them under their own names; `alignment_heads` if it has none."""
    return GenerationSettings(
        suppress_ids=token_ids(document, "suppress_ids", where),
        suppress_ids_begin=token_ids(document, "suppress_ids_begin", where),
        lang_ids=token_ids(document, "lang_ids", where),
        alignment_heads=head_pairs(document, where) or alignment_heads,
        variable_length=variable_length,
    )


def ours(document: Mapping[str, Any]) -> dict[str, Any]:
    """Our own entries in a JSON object."""
    found = document.get(OURS)
    return found if isinstance(found, dict) else {}


def head_pairs(document: dict[str, Any], where: Path) -> tuple[tuple[int, int], ...]:
    """The alignment heads from a JSON object; empty if they are missing or null."""
    value = document.get("alignment_heads")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(type(each) is int for each in pair) for pair in value
    ):
        raise ModelIntegrityError(f"{where}: alignment_heads is not a list of pairs")
    return tuple((layer, head) for layer, head in value)

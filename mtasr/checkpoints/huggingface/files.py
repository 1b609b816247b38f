"""The JSON files of a Hugging Face folder, to write and to read. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mtasr.checkpoints.settings import OURS, GenerationSettings, head_pairs, ours, read_json, token_ids
from mtasr.errors import ModelIntegrityError
from mtasr.features import HOP_LENGTH, N_FFT, N_FRAMES
from mtasr.networks.dimensions import ModelDimensions
from mtasr.spans import SAMPLE_RATE
from mtasr.tokenizer import Tokenizer

_TIMESTAMP = re.compile(r"<\|\d+\.\d\d\|>")

#: Our dimensions under the names of transformers' WhisperConfig.
_CONFIG = {
    "n_mels": "num_mel_bins",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
    "n_vocab": "vocab_size",
    "n_text_ctx": "max_target_positions",
    "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads",
    "n_text_layer": "decoder_layers",
}


def config(dims: ModelDimensions, tokenizer: Tokenizer, dtype: str) -> dict[str, Any]:
    """config.json"""
    sizes = {theirs: getattr(dims, ours) for ours, theirs in _CONFIG.items()}
    return sizes | {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "activation_function": "gelu",
        "encoder_ffn_dim": 4 * dims.n_audio_state,
        "decoder_ffn_dim": 4 * dims.n_text_state,
        "is_encoder_decoder": True,
        "num_hidden_layers": dims.n_audio_layer,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "torch_dtype": dtype,
        "use_cache": True,
        **_special_ids(tokenizer),
    }


def dimensions(folder: Path) -> ModelDimensions:
    """The dimensions in config.json. Raises `ModelIntegrityError`."""
    path = folder / "config.json"
    document = read_json(path)
    problems = [f"{name} is missing" for name in dict.fromkeys(_CONFIG.values()) if type(document.get(name)) is not int]
    for name, wanted in (("model_type", "whisper"), ("activation_function", "gelu"), ("scale_embedding", False)):
        if document.get(name, wanted) != wanted:
            problems.append(f"{name} is {document[name]!r} instead of {wanted!r}")
    for side in ("encoder", "decoder"):
        width = document.get("d_model")
        if isinstance(width, int) and document.get(f"{side}_ffn_dim", 4 * width) != 4 * width:
            problems.append(f"{side}_ffn_dim is not four times d_model")
    if problems:
        raise ModelIntegrityError(f"{path}: not a Whisper model: {'; '.join(problems)}")
    return ModelDimensions(**{ours: document[theirs] for ours, theirs in _CONFIG.items()})


def generation_config(dims: ModelDimensions, tokenizer: Tokenizer, settings: GenerationSettings) -> dict[str, Any]:
    """generation_config.json"""
    document: dict[str, Any] = {
        "alignment_heads": [list(pair) for pair in settings.alignment_heads],
        "begin_suppress_tokens": list(settings.suppress_ids_begin),
        "is_multilingual": tokenizer.is_multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": dims.n_text_ctx,
        "no_timestamps_token_id": tokenizer.no_timestamps,
        "prev_sot_token_id": tokenizer.sot_prev,
        "return_timestamps": False,
        "suppress_tokens": list(settings.suppress_ids),
        **_special_ids(tokenizer),
    }
    if tokenizer.is_multilingual:
        document["lang_to_id"] = {f"<|{code}|>": token for code, token in tokenizer.language_tokens.items()}
        document["task_to_id"] = {name: tokenizer.special(name) for name in ("transcribe", "translate")}
    if settings.variable_length:
        document[OURS] = {"variable_length": True}
    return document


def read_settings(folder: Path, fallback: GenerationSettings) -> GenerationSettings:
    """The settings in generation_config.json, or in config.json of older models; the rest from `fallback`."""
    path = folder / "generation_config.json"
    if not path.is_file():
        path = folder / "config.json"
    document = read_json(path)
    languages = document.get("lang_to_id") or {}
    if not isinstance(languages, dict) or not all(type(token) is int for token in languages.values()):
        raise ModelIntegrityError(f"{path}: lang_to_id does not map languages to token ids")
    return GenerationSettings(
        suppress_ids=token_ids(document, "suppress_tokens", path),
        suppress_ids_begin=token_ids(document, "begin_suppress_tokens", path),
        lang_ids=tuple(sorted(languages.values())) or fallback.lang_ids,
        alignment_heads=head_pairs(document, path) or fallback.alignment_heads,
        variable_length=ours(document).get("variable_length") is True,
    )


def _special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    end = tokenizer.eot
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end)
    return ids | {"decoder_start_token_id": tokenizer.sot}


def preprocessor_config(dims: ModelDimensions) -> dict[str, Any]:
    """preprocessor_config.json: how features are computed."""
    frames = 2 * dims.n_audio_ctx
    return {
        "chunk_length": frames * HOP_LENGTH // SAMPLE_RATE,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": dims.n_mels,
        "hop_length": HOP_LENGTH,
        "n_fft": N_FFT,
        "n_samples": frames * HOP_LENGTH,
        "nb_max_frames": frames,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "sampling_rate": SAMPLE_RATE,
    }


# The vocabulary


def merges(tokens: Sequence[str]) -> list[tuple[str, str]]:
    """The merges of a byte-level BPE vocabulary, in the order in which they were learnt.

    A token's id is the rank of the merge that made it. Its two parts are those that all earlier merges leave, as in
    byte-pair encoding itself (Sennrich et al. 2016). Tokens that no merge makes are left out.

    For the multilingual models this gives the merges of their published tokenizer.json and one more: the very first,
    of a space and "t", is missing there, although the token exists and OpenAI's own tokenizer makes it.
    """
    ranks = {token: index for index, token in enumerate(tokens) if token}
    pairs = (_parts(token, ranks) for token in tokens if len(token) > 1)
    return [pair for pair in pairs if pair]


def _parts(token: str, ranks: dict[str, int]) -> tuple[str, str] | None:
    parts, limit = list(token), ranks[token]
    while len(parts) > 2:
        best, position = min((ranks.get(a + b, limit), index) for index, (a, b) in enumerate(pairwise(parts)))
        if best >= limit:
            return None
        parts[position : position + 2] = [parts[position] + parts[position + 1]]
    first, second = parts
    return (first, second) if first in ranks and second in ranks else None


def vocab_json(tokens: Sequence[str]) -> dict[str, int]:
    """vocab.json: the text tokens and end of text."""
    return {token: index for index, token in enumerate(tokens[: Tokenizer(tokens).eot + 1])}


def added_tokens(tokens: Sequence[str]) -> list[dict[str, Any]]:
    """The special tokens and the timestamps as tokenizer.json lists them, where timestamps are not special."""
    first = Tokenizer(tokens).eot
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return [
        {"id": index, "content": token, **flags, "special": not _TIMESTAMP.fullmatch(token)}
        for index, token in enumerate(tokens)
        if index >= first
    ]


def tokenizer_json(tokens: Sequence[str]) -> dict[str, Any]:
    """tokenizer.json, the format of Hugging Face's `tokenizers`."""
    tokenizer = Tokenizer(tokens)
    before = [tokenizer.sot, tokenizer.no_timestamps]
    used = (*before, tokenizer.eot)
    ends = {token: {"id": tokens[token], "ids": [token], "tokens": [tokens[token]]} for token in used}

    def template(*sequences: str) -> list[dict[str, Any]]:
        last = len(sequences) - 1
        head = [{"SpecialToken": {"id": tokens[token], "type_id": 0}} for token in before]
        body = [{"Sequence": {"id": name, "type_id": kind}} for kind, name in enumerate(sequences)]
        return [*head, *body, {"SpecialToken": {"id": tokens[tokenizer.eot], "type_id": last}}]

    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(tokens),
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": template("A"),
            "pair": template("A", "B"),
            "special_tokens": {each["id"]: each for each in ends.values()},
        },
        "decoder": byte_level | {"add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": vocab_json(tokens),
            "merges": [" ".join(pair) for pair in merges(tokens[: tokenizer.eot])],
        },
    }


def tokenizer_config(tokens: Sequence[str]) -> dict[str, Any]:
    """tokenizer_config.json"""
    end = "<|endoftext|>"
    specials = [each["content"] for each in added_tokens(tokens) if each["special"]]
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "additional_special_tokens": specials,
        "bos_token": end,
        "eos_token": end,
        "errors": "replace",
        "model_max_length": 1024,
        "pad_token": end,
        "processor_class": "WhisperProcessor",
        "tokenizer_class": "WhisperTokenizer",
        "unk_token": end,
    }


def read_tokens(folder: Path, n_vocab: int | None = None) -> list[str]:
    """Every token by id, from tokenizer.json or else vocab.json with added_tokens.json.

    Older files lack the timestamps, which are added up to `n_vocab`. Raises `ModelIntegrityError`.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        document = read_json(path)
        try:
            ids = {**document["model"]["vocab"], **{each["content"]: each["id"] for each in document["added_tokens"]}}
        except (KeyError, TypeError) as exc:
            raise ModelIntegrityError(f"{path} is not a byte-level BPE vocabulary") from exc
    else:
        path = folder / "vocab.json"
        ids = read_json(path)
        added = folder / "added_tokens.json"
        ids |= read_json(added) if added.is_file() else {}
    by_id = {index: token for token, index in ids.items() if type(index) is int}
    if not ids or not all(isinstance(token, str) for token in ids) or sorted(by_id) != list(range(len(ids))):
        raise ModelIntegrityError(f"{path}: the ids of the vocabulary are not 0, 1, 2 and so on")
    tokens = [by_id[index] for index in range(len(ids))]
    if n_vocab and tokens[-1] == "<|notimestamps|>":
        tokens += [f"<|{step * 0.02:.2f}|>" for step in range(min(n_vocab - len(tokens), N_FRAMES // 2 + 1))]
    return tokens

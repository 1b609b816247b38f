"""An encoder with a head that spells what is said (CTC), as a folder that transformers reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from mtasr.checkpoints.encoders import wave_names, wave_settings
from mtasr.checkpoints.encoders.writing import write_folder
from mtasr.errors import ModelError
from mtasr.networks.wave import WaveEncoder

_CLASSES = {"wav2vec2": "Wav2Vec2ForCTC", "wavlm": "WavLMForCTC"}


def save_speller(encoder: WaveEncoder, head: nn.Linear, tokens: Sequence[str], folder: Path) -> None:
    """Write the encoder, its head (tokens, D) and the tokens by their numbers, all or nothing.

    The first five tokens are <pad> (CTC's blank), <s>, </s>, <unk> and | (between words). An older folder is
    replaced. `load_encoder` reads the encoder without its head. Raises `OutputError`, and `ModelError` for an encoder
    that is no transformer and for a head of another size.
    """
    if head.weight.shape != (len(tokens), encoder.width):
        raise ModelError(f"a head of the shape {tuple(head.weight.shape)} cannot spell {len(tokens)} tokens")
    family = "wavlm" if encoder.config.relative_buckets else "wav2vec2"
    documents = wave_settings.documents(encoder.config, family)
    documents["config.json"] |= _of_tokens(tokens) | {"architectures": [_CLASSES[family]], "ctc_zero_infinity": True}
    documents["vocab.json"] = {token: number for number, token in enumerate(tokens)}
    documents["tokenizer_config.json"] = _tokenizer(tokens)
    state = {f"{family}.{wave_names.foreign_name(name)}": tensor for name, tensor in encoder.state_dict().items()}
    write_folder(folder, documents, state | {f"lm_head.{name}": each for name, each in head.state_dict().items()})


def _of_tokens(tokens: Sequence[str]) -> dict[str, Any]:
    return {"vocab_size": len(tokens), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def _tokenizer(tokens: Sequence[str]) -> dict[str, Any]:
    blank, begin, end, unknown, space = tokens[:5]
    return {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "pad_token": blank,
        "bos_token": begin,
        "eos_token": end,
        "unk_token": unknown,
        "word_delimiter_token": space,
        "do_lower_case": False,
        "replace_word_delimiter_char": " ",
    }

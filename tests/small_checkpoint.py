"""A whole checkpoint of a few thousand weights, whose values fit float16."""

from __future__ import annotations

import torch
from vocabularies import vocabulary

from mtasr.checkpoints.checkpoint import Checkpoint
from mtasr.checkpoints.settings import GenerationSettings
from mtasr.networks.whisper import ModelDimensions, Whisper
from mtasr.tokenizer import Tokenizer


def small_checkpoint(kind: str = "multilingual", seed: int = 0) -> Checkpoint:
    tokens = vocabulary(kind)
    dims = ModelDimensions(
        n_mels=128 if kind == "large-v3" else 80, n_audio_ctx=150, n_audio_state=16, n_audio_head=2, n_audio_layer=1,
        n_vocab=len(tokens), n_text_ctx=64, n_text_state=16, n_text_head=4, n_text_layer=2,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = Whisper(dims).eval()
    with torch.no_grad():
        for weights in model.state_dict().values():
            weights.copy_((weights + 0.1 * torch.randn_like(weights)).half())
    tokenizer = Tokenizer(tokens)
    languages = () if kind == "english" else tuple(sorted(tokenizer.language_tokens.values()))
    settings = GenerationSettings(
        suppress_ids=(1, 2, 7, *tokenizer.never_text),
        suppress_ids_begin=(220, tokenizer.eot),
        lang_ids=languages,
        alignment_heads=((0, 1), (1, 3)),
        variable_length=True,
    )
    return Checkpoint(model, tokens, settings, "float16")


def same(one: Checkpoint, other: Checkpoint) -> bool:
    """Equal to the last bit."""
    a, b = one.model.state_dict(), other.model.state_dict()
    tensors = a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)
    return tensors and (one.model.dims, one.tokens, one.settings) == (other.model.dims, other.tokens, other.settings)

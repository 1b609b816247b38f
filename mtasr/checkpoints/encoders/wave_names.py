"""The names of the tensors of a `WaveEncoder`, here and in the files of transformers."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Families of encoders as transformers names them: wav2vec 2.0 and XLS-R, HuBERT, WavLM.
FAMILIES = ("wav2vec2", "hubert", "wavlm")

#: One row for each module or parameter, ours and theirs; `{n}` is the number of a convolution or block.
_TABLE = (
    ("masked", "masked_spec_embed"),
    ("convolutions.{n}.conv", "feature_extractor.conv_layers.{n}.conv"),
    ("convolutions.{n}.norm", "feature_extractor.conv_layers.{n}.layer_norm"),
    ("features_norm", "feature_projection.layer_norm"),
    ("projection", "feature_projection.projection"),
    ("context.positions.bias", "encoder.pos_conv_embed.conv.bias"),
    ("context.positions.gain", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
    ("context.positions.direction", "encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
    ("context.relative.table", "encoder.layers.0.attention.rel_attn_embed"),
    ("context.norm", "encoder.layer_norm"),
    ("context.blocks.{n}.attention_norm", "encoder.layers.{n}.layer_norm"),
    ("context.blocks.{n}.attention.query", "encoder.layers.{n}.attention.q_proj"),
    ("context.blocks.{n}.attention.key", "encoder.layers.{n}.attention.k_proj"),
    ("context.blocks.{n}.attention.value", "encoder.layers.{n}.attention.v_proj"),
    ("context.blocks.{n}.attention.out", "encoder.layers.{n}.attention.out_proj"),
    ("context.blocks.{n}.attention.gate.gates", "encoder.layers.{n}.attention.gru_rel_pos_linear"),
    ("context.blocks.{n}.attention.gate.scale", "encoder.layers.{n}.attention.gru_rel_pos_const"),
    ("context.blocks.{n}.mlp_norm", "encoder.layers.{n}.final_layer_norm"),
    ("context.blocks.{n}.mlp.up", "encoder.layers.{n}.feed_forward.intermediate_dense"),
    ("context.blocks.{n}.mlp.down", "encoder.layers.{n}.feed_forward.output_dense"),
)
_ROWS = dict(_TABLE)
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")

#: What older files call some tensors.
_OLDER = {
    "mask_time_emb_vector": "masked_spec_embed",
    "encoder.pos_conv_embed.conv.weight_g": "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
    "encoder.pos_conv_embed.conv.weight_v": "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
}

#: What heads are called in files of transformers, those of pre-training included.
_HEADS = re.compile(
    r"(quantizer|project_hid|project_q|lm_head|projector|classifier|tdnn|objective|feature_extractor)\.[\w.]+"
    r"|layer_weights",
    re.ASCII,
)


def foreign_name(ours: str) -> str:
    """The name of one of our tensors in files of transformers, without the prefix of a family."""
    number = found[0] if (found := _NUMBER.search(ours)) else ""
    pattern = _NUMBER.sub("{n}", ours, count=1)
    if pattern in _ROWS:
        return _ROWS[pattern].format(n=number)
    module, _, leaf = pattern.rpartition(".")
    return f"{_ROWS[module].format(n=number)}.{leaf}"


def canonical_names(stored: Iterable[str]) -> dict[str, str]:
    """For the name of each tensor in a file: without the prefix of a family, and in its newest spelling.

    Tensors of known heads are left out. Names that are neither the encoder's nor a head's stay as they are.
    """
    stored = list(stored)
    prefix = next((f"{each}." for each in FAMILIES if f"{each}.feature_projection.projection.weight" in stored), "")
    names = {}
    for name in stored:
        inside = name.startswith(prefix)
        # With a prefix, `feature_extractor` is a layer of a head for speakers; without one, it is the convolutions.
        of_encoder = inside and (prefix or name.startswith("feature_extractor."))
        if of_encoder or not _HEADS.fullmatch(name):
            inner = name.removeprefix(prefix)
            names[name] = _OLDER.get(inner, inner) if inside else name
    return names

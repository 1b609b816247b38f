"""The names of every tensor of a Whisper model, in `mtasr.networks.whisper` and in three checkpoint formats.

One row for each module, for weight and bias alike. `{n}` stands for the number of a block. CTranslate2 joins the
projections of one input into one matrix: several rows have the same name there, and the parts of the matrix are in the
order of the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

Naming = Literal["openai", "huggingface", "ctranslate2"]


class Row(NamedTuple):
    mtasr: str
    openai: str
    huggingface: str
    ctranslate2: str


def _stack(side: str, openai: str, huggingface: str) -> list[Row]:
    """The rows that blocks of the encoder and the decoder share: all but cross-attention."""
    ours, theirs = f"{side}.blocks.{{n}}.", f"{openai}.blocks.{{n}}."
    hub, ct2 = f"{huggingface}.layers.{{n}}.", f"{side}/layer_{{n}}/"
    names = (
        ("attention_norm", "attn_ln", "self_attn_layer_norm", "self_attention/layer_norm"),
        ("attention.query", "attn.query", "self_attn.q_proj", "self_attention/linear_0"),
        ("attention.key", "attn.key", "self_attn.k_proj", "self_attention/linear_0"),
        ("attention.value", "attn.value", "self_attn.v_proj", "self_attention/linear_0"),
        ("attention.out", "attn.out", "self_attn.out_proj", "self_attention/linear_1"),
        ("mlp_norm", "mlp_ln", "final_layer_norm", "ffn/layer_norm"),
        ("mlp.up", "mlp.0", "fc1", "ffn/linear_0"),
        ("mlp.down", "mlp.2", "fc2", "ffn/linear_1"),
    )
    return [Row(ours + row[0], theirs + row[1], hub + row[2], ct2 + row[3]) for row in names]


TABLE: tuple[Row, ...] = (
    Row("encoder.conv1", "encoder.conv1", "model.encoder.conv1", "encoder/conv1"),
    Row("encoder.conv2", "encoder.conv2", "model.encoder.conv2", "encoder/conv2"),
    Row("encoder.positions", "encoder.positional_embedding", "model.encoder.embed_positions.weight",
        "encoder/position_encodings/encodings"),
    *_stack("encoder", "encoder", "model.encoder"),
    Row("encoder.norm", "encoder.ln_post", "model.encoder.layer_norm", "encoder/layer_norm"),
    Row("decoder.embedding", "decoder.token_embedding", "model.decoder.embed_tokens", "decoder/embeddings"),
    Row("decoder.positions", "decoder.positional_embedding", "model.decoder.embed_positions.weight",
        "decoder/position_encodings/encodings"),
    *_stack("decoder", "decoder", "model.decoder"),
    Row("decoder.blocks.{n}.cross_attention_norm", "decoder.blocks.{n}.cross_attn_ln",
        "model.decoder.layers.{n}.encoder_attn_layer_norm", "decoder/layer_{n}/attention/layer_norm"),
    Row("decoder.blocks.{n}.cross_attention.query", "decoder.blocks.{n}.cross_attn.query",
        "model.decoder.layers.{n}.encoder_attn.q_proj", "decoder/layer_{n}/attention/linear_0"),
    Row("decoder.blocks.{n}.cross_attention.key", "decoder.blocks.{n}.cross_attn.key",
        "model.decoder.layers.{n}.encoder_attn.k_proj", "decoder/layer_{n}/attention/linear_1"),
    Row("decoder.blocks.{n}.cross_attention.value", "decoder.blocks.{n}.cross_attn.value",
        "model.decoder.layers.{n}.encoder_attn.v_proj", "decoder/layer_{n}/attention/linear_1"),
    Row("decoder.blocks.{n}.cross_attention.out", "decoder.blocks.{n}.cross_attn.out",
        "model.decoder.layers.{n}.encoder_attn.out_proj", "decoder/layer_{n}/attention/linear_2"),
    Row("decoder.norm", "decoder.ln", "model.decoder.layer_norm", "decoder/layer_norm"),
)  # fmt: skip

_ROWS = {row.mtasr: row for row in TABLE}
_ORDER = {row.mtasr: position for position, row in enumerate(TABLE)}
_BLOCK = re.compile(r"(?<=\.blocks\.)\d+")
#: The ending of modules whose weight and bias CTranslate2 calls gamma and beta.
_NORM = "norm"


class FusedTensor(NamedTuple):
    """A tensor of CTranslate2 and the tensors of ours stacked in it; None for a bias that we do not have."""

    name: str
    parts: tuple[str | None, ...]


def foreign_name(tensor: str, kind: Naming) -> str:
    """The name of one of our tensors in a format; in CTranslate2 several share one."""
    row, block, leaf = _locate(tensor)
    name: str = getattr(row, kind).format(n=block)
    if not leaf:
        return name
    if kind != "ctranslate2":
        return f"{name}.{leaf}"
    if row.mtasr.endswith(_NORM):
        leaf = {"weight": "gamma", "bias": "beta"}[leaf]
    return f"{name}/{leaf}"


def fused(tensors: Iterable[str]) -> list[FusedTensor]:
    """How CTranslate2 joins these tensors, sorted by its names.

    Our key projection has no bias; CTranslate2's has a bias of zeros.
    """
    tensors = set(tensors)
    keys = [name.removesuffix("weight") + "bias" for name in tensors if name.endswith("attention.key.weight")]
    parts: dict[str, list[str]] = {}
    for name in sorted(tensors | set(keys), key=lambda name: _ORDER[_locate(name)[0].mtasr]):
        parts.setdefault(foreign_name(name, "ctranslate2"), []).append(name)
    return [
        FusedTensor(name, tuple(part if part in tensors else None for part in group))
        for name, group in sorted(parts.items())
    ]


def _locate(tensor: str) -> tuple[Row, str, str]:
    """Row, block number and leaf ("weight", "bias" or nothing) of one of our tensors."""
    block = found[0] if (found := _BLOCK.search(tensor)) else ""
    pattern = _BLOCK.sub("{n}", tensor)
    if pattern in _ROWS:
        return _ROWS[pattern], block, ""
    module, _, leaf = pattern.rpartition(".")
    return _ROWS[module], block, leaf

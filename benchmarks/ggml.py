"""A model as one file for whisper.cpp.

    python benchmarks/ggml.py MODEL FILE [--type f16]

MODEL is a name, a folder or an OpenAI .pt file; the type is f32, f16 or q8_0. The file, little-endian:

    magic, 11 numbers   int32: vocabulary; context, width, heads, layers of the audio; the same of the text; mels; type
    mel filters         int32 bins and frequencies, then float32 values
    vocabulary          int32 count, then each token: int32 length and bytes; without the special tokens
    tensors             int32 axes, length of the name, type, sizes from the last axis to the first; name, values

Matrices and convolutions are of the type asked for, all else is float32. q8_0 stores matrices alone as rows of 32 int8
with one float16 scale, as whisper.cpp's own quantiser does; convolutions stay float16.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mtasr.checkpoints.checkpoint import Checkpoint
from mtasr.checkpoints.formats import load_checkpoint
from mtasr.checkpoints.tensor_names import foreign_name
from mtasr.features import mel_filters
from mtasr.models import resolve
from mtasr.tokenizer.vocabulary import token_bytes

MAGIC = 0x67676D6C  # "ggml"

#: What a file as a whole is called, and a tensor in it. 2000 is the version of the quantised layout.
FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 2007}
TENSOR_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}

BLOCK = 32

Array = npt.NDArray[np.float32]


def header(checkpoint: Checkpoint, kind: str) -> bytes:
    dims = checkpoint.model.dims
    return struct.pack(
        "<12i",
        MAGIC,
        dims.n_vocab,
        dims.n_audio_ctx,
        dims.n_audio_state,
        dims.n_audio_head,
        dims.n_audio_layer,
        dims.n_text_ctx,
        dims.n_text_state,
        dims.n_text_head,
        dims.n_text_layer,
        dims.n_mels,
        FILE_TYPES[kind],
    )


def filters(n_mels: int) -> bytes:
    values = mel_filters(n_mels)
    return struct.pack("<2i", *values.shape) + values.astype("<f4").tobytes()


def vocabulary(tokens: list[str]) -> Iterator[bytes]:
    """The tokens of text: those before the end of text, the first special token. whisper.cpp knows the others."""
    plain = tokens[: tokens.index("<|endoftext|>")]
    yield struct.pack("<i", len(plain))
    for token in plain:
        spelled = token_bytes(token)
        yield struct.pack("<i", len(spelled)) + spelled


def tensor_type(name: str, axes: int, kind: str) -> str:
    if axes == 1 or name.endswith("positional_embedding"):
        return "f32"
    return "f16" if kind == "q8_0" and axes != 2 else kind


def quantised(values: Array) -> bytes:
    """(..., N), N a multiple of 32 -> for each 32 values a float16 scale and 32 int8."""
    blocks = values.reshape(-1, BLOCK)
    scales = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    steps = np.divide(blocks, scales, out=np.zeros_like(blocks), where=scales > 0)
    rows = np.empty(len(blocks), np.dtype([("scale", "<f2"), ("steps", "i1", BLOCK)]))
    rows["scale"], rows["steps"] = scales[:, 0], np.rint(steps)
    return rows.tobytes()


def tensor(name: str, values: Array, kind: str) -> bytes:
    """One tensor, by OpenAI's name for it."""
    kind = tensor_type(name, values.ndim, kind)
    if name.endswith(("conv1.bias", "conv2.bias")):
        values = values[:, None]  # it is added to (channels, frames)
    spelled = name.encode()
    sizes = (values.ndim, len(spelled), TENSOR_TYPES[kind], *reversed(values.shape))
    data = quantised(values) if kind == "q8_0" else values.astype({"f32": "<f4", "f16": "<f2"}[kind]).tobytes()
    return struct.pack(f"<{len(sizes)}i", *sizes) + spelled + data


def pieces(checkpoint: Checkpoint, kind: str) -> Iterator[bytes]:
    yield header(checkpoint, kind)
    yield filters(checkpoint.model.dims.n_mels)
    yield from vocabulary(checkpoint.tokens)
    for name, values in checkpoint.model.state_dict().items():
        yield tensor(foreign_name(name, "openai"), values.numpy(), kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("file", type=Path)
    parser.add_argument("--type", choices=FILE_TYPES, default="f16")
    args = parser.parse_args()
    source = Path(args.model)
    checkpoint = load_checkpoint(source if source.is_file() else resolve(args.model))
    part = args.file.with_name(args.file.name + ".part")
    with part.open("wb") as stream:
        stream.writelines(pieces(checkpoint, args.type))
    part.replace(args.file)


if __name__ == "__main__":
    main()

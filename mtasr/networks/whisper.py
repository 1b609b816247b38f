"""The network: Whisper's encoder-decoder transformer in PyTorch (Radford et al. 2022, section 2.2).

CTranslate2 runs it faster. This is the readable form, the one that is trained, and the one through which checkpoints
pass from one format to another. Clarity comes first: every shape is noted beside its line.

Letters in shapes:

    B  rows of a batch          M  mel bins
    F  feature frames of 10 ms  S  encoder frames of 20 ms (the source of cross-attention)
    T  tokens given             P  tokens in all, those of the cache included
    D  width                    H  heads
    V  vocabulary
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor, nn

from mtasr.errors import ModelError
from mtasr.networks.depths import depths_around
from mtasr.networks.dimensions import DIMENSIONS, EncoderDimensions, ModelDimensions

__all__ = ["DIMENSIONS", "DecoderOutput", "KeyValueCache", "ModelDimensions", "Whisper"]


@dataclass(frozen=True, slots=True)
class KeyValueCache:
    """What the decoder need not compute again. A value: decoding returns a longer cache and leaves this one unchanged.

    Each tuple has one tensor for each decoder layer. `keys` and `values`: (B, H, P, D/H), of the tokens decoded so far.
    `cross_keys` and `cross_values`: (B or 1, H, S, D/H), of the audio; 1 where all rows hear the same audio.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    cross_keys: tuple[Tensor, ...]
    cross_values: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        """P, the number of tokens decoded so far."""
        return self.keys[0].shape[2]

    def select(self, rows: Tensor) -> KeyValueCache:
        """The cache of these rows of the batch, in this order; a row may occur several times (beam search).

        `rows`: (B',) integers on the cache's device.
        """

        def pick(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(tensor.index_select(0, rows) for tensor in tensors)

        same_audio = self.cross_keys[0].shape[0] == 1
        return replace(
            self,
            keys=pick(self.keys),
            values=pick(self.values),
            cross_keys=self.cross_keys if same_audio else pick(self.cross_keys),
            cross_values=self.cross_values if same_audio else pick(self.cross_values),
        )


@dataclass(frozen=True, slots=True)
class DecoderOutput:
    """`logits`: (B, T, V), float32. `attention`: (B, H, T, S), cross-attention weights of each layer, if requested."""

    logits: Tensor
    cache: KeyValueCache
    attention: tuple[Tensor, ...] | None


class LayerNorm(nn.LayerNorm):
    """Computes in the precision of its input. That of its weights may be less, as where FSDP puts them together."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Multi-head attention. The key projection has no bias, because softmax would cancel it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, H, N, D/H)"""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def project(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a source (B, N, D), each (B, H, N, D/H)."""
        return self.split(self.key(source)), self.split(self.value(source))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) attends to N keys and values -> (B, T, D). `mask`: (T, N), true for the keys a token may see."""
        queries = self.split(self.query(x))
        keys, values = (each.expand(len(x), -1, -1, -1) for each in (keys, values))
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return self.merge(mixed)

    def with_weights(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, with the weights (B, H, T, N) as well: the same formula spelled out, which is slower."""
        queries = self.split(self.query(x))
        scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[3])
        weights = scores.float().softmax(dim=3)
        return self.merge(weights.to(values.dtype) @ values), weights

    def merge(self, mixed: Tensor) -> Tensor:
        """(B, H, T, D/H) -> (B, T, D)"""
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(F.gelu(self.up(x)))
        return out


class EncoderBlock(nn.Module):
    """Pre-norm: each part reads a normalised copy and adds to the residual stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp_norm = LayerNorm(width)
        self.mlp = FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, D) -> (B, S, D)"""
        normed = self.attention_norm(x)
        x = x + self.attention(normed, *self.attention.project(normed))
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class DecoderBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(width)
        self.attention = Attention(width, heads)
        self.cross_attention_norm = LayerNorm(width)
        self.cross_attention = Attention(width, heads)
        self.mlp_norm = LayerNorm(width)
        self.mlp = FeedForward(width)

    def forward(self, x: Tensor, audio: Tensor, mask: Tensor | None) -> Tensor:
        """All tokens at once (B, T, D), with the audio (B or 1, S, D) -> (B, T, D)"""
        return self.extend(x, None, self.cross_attention.project(audio), mask, want_attention=False)[0]

    def extend(
        self,
        x: Tensor,
        past: tuple[Tensor, Tensor] | None,
        cross: tuple[Tensor, Tensor],
        mask: Tensor | None,
        *,
        want_attention: bool,
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor | None]:
        """Tokens (B, T, D) after others, given the keys and values of these and of the audio.

        Returns the tokens (B, T, D), the keys and values of all tokens, and the cross-attention weights, if requested.
        """
        normed = self.attention_norm(x)
        keys, values = self.attention.project(normed)
        if past is not None:
            keys = torch.cat([past[0].expand(len(x), -1, -1, -1), keys], dim=2)
            values = torch.cat([past[1].expand(len(x), -1, -1, -1), values], dim=2)
        x = x + self.attention(normed, keys, values, mask)
        normed = self.cross_attention_norm(x)
        weights = None
        if want_attention:
            mixed, weights = self.cross_attention.with_weights(normed, *cross)
        else:
            mixed = self.cross_attention(normed, *cross)
        x = x + mixed
        x = x + self.mlp(self.mlp_norm(x))
        return x, (keys, values), weights


def sinusoids(length: int, width: int, first: int = 0) -> Tensor:
    """(length, width) sines then cosines, their wavelengths a geometric series from 2 pi to 10000 * 2 pi.

    The rows are those of the positions from `first` on.

    As in "Attention is all you need" (Vaswani et al. 2017, section 3.5), halves side by side instead of interleaved.
    """
    half = width // 2
    rates = torch.exp(-math.log(10_000) / max(half - 1, 1) * torch.arange(half))
    angles = torch.arange(first, first + length)[:, None] * rates[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Encoder(nn.Module):
    positions: Tensor

    def __init__(self, dims: EncoderDimensions) -> None:
        super().__init__()
        width = dims.n_audio_state
        self.conv1 = nn.Conv1d(dims.n_mels, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        # With torch's own initial weights the features would be too faint beside the positions added to them.
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        # Not trained, but a buffer, because every checkpoint format stores it, rounded to its precision.
        self.register_buffer("positions", sinusoids(dims.n_audio_ctx, width))
        self.blocks = nn.ModuleList(EncoderBlock(width, dims.n_audio_head) for _ in range(dims.n_audio_layer))
        self.norm = LayerNorm(width)

    def forward(self, mel: Tensor) -> Tensor:
        """(B, M, F) -> (B, S, D)"""
        x = self._embedded(mel)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def states(self, mel: Tensor) -> list[Tensor]:
        """(B, M, F) -> the input of each block and the output, each (B, S, D)"""
        states = [self._embedded(mel)]
        for block in self.blocks:
            states.append(block(states[-1]))
        states[-1] = self.norm(states[-1])
        return states

    def depths(self) -> dict[nn.Parameter, int]:
        """As `mtasr.networks.depths` has them."""
        return depths_around(self, self.blocks, self.norm)

    def _embedded(self, mel: Tensor) -> Tensor:
        x = F.gelu(self.conv1(mel))  # (B, D, F)
        x = F.gelu(self.conv2(x)).transpose(1, 2)  # (B, S, D)
        return x + self.positions[: x.shape[1]]


class TokenEmbedding(nn.Embedding):
    """The vectors of tokens (V, D), which are also the output projection."""

    def logits(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, V)"""
        return F.linear(x, self.weight)


class Decoder(nn.Module):
    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        width = dims.n_text_state
        self.embedding = TokenEmbedding(dims.n_vocab, width)
        self.positions = nn.Parameter(torch.empty(dims.n_text_ctx, width))
        self.blocks = nn.ModuleList(DecoderBlock(width, dims.n_text_head) for _ in range(dims.n_text_layer))
        self.norm = LayerNorm(width)
        # The embedding is also the output projection, so its scale determines that of the first logits.
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)

    def start(self, audio: Tensor) -> KeyValueCache:
        """The cache before the first token, with only the keys and values of the audio (B or 1, S, D)."""
        blocks = [block for block in self.blocks if isinstance(block, DecoderBlock)]
        cross = [block.cross_attention.project(audio) for block in blocks]
        empty = tuple(keys[:, :, :0] for keys, _ in cross)
        return KeyValueCache(empty, empty, tuple(keys for keys, _ in cross), tuple(values for _, values in cross))

    def forward(self, tokens: Tensor, cache: KeyValueCache, *, want_attention: bool) -> DecoderOutput:
        """(B, T) tokens after those of the cache -> logits (B, T, V)"""
        x, mask = self._embedded(tokens, cache.length)
        all_keys, all_values, attention = [], [], []
        old = zip(cache.keys, cache.values, strict=True)
        cross = zip(cache.cross_keys, cache.cross_values, strict=True)
        for block, past, heard in zip(self.blocks, old, cross, strict=True):
            assert isinstance(block, DecoderBlock)  # noqa: S101 - ModuleList forgets the type
            x, (keys, values), weights = block.extend(x, past, heard, mask, want_attention=want_attention)
            all_keys.append(keys)
            all_values.append(values)
            if weights is not None:
                attention.append(weights)
        longer = replace(cache, keys=tuple(all_keys), values=tuple(all_values))
        return DecoderOutput(self._logits(x), longer, tuple(attention) if want_attention else None)

    def predict(self, tokens: Tensor, audio: Tensor) -> Tensor:
        """(B, T) tokens from the first on, and the audio (B or 1, S, D) -> logits (B, T, V); keeps no cache."""
        x, mask = self._embedded(tokens, 0)
        for block in self.blocks:
            x = block(x, audio, mask)
        return self._logits(x)

    def _embedded(self, tokens: Tensor, past: int) -> tuple[Tensor, Tensor | None]:
        """The tokens (B, T) after `past` others as vectors (B, T, D), and which tokens each of them sees (T, P)."""
        count = tokens.shape[1]
        x = self.embedding(tokens) + self.positions[past : past + count]  # (B, T, D)
        if count == 1:
            return x, None
        # token i sees the past, the tokens before it and itself
        return x, torch.ones(count, past + count, dtype=torch.bool, device=x.device).tril(diagonal=past)

    def _logits(self, x: Tensor) -> Tensor:
        return self.embedding.logits(self.norm(x)).float()


class Whisper(nn.Module):
    """The whole network. Runs in the precision and on the device of its weights; logits are always float32.

    Raises `ModelError` for impossible dimensions, and for inputs that exceed its contexts.
    """

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        if problems := dims.problems():
            raise ModelError(f"no model can have these dimensions: {'; '.join(problems)}")
        self.dims = dims
        self.encoder = Encoder(dims.encoder)
        self.decoder = Decoder(dims)

    @property
    def device(self) -> torch.device:
        return self.decoder.positions.device

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.positions.dtype

    def encode(self, mel: Tensor) -> Tensor:
        """Log-mel features (B, n_mels, F), F <= 2 * n_audio_ctx -> (B, ceil(F / 2), n_audio_state)."""
        if mel.ndim != 3 or mel.shape[1] != self.dims.n_mels or mel.shape[2] == 0:
            raise ModelError(f"features have the shape {tuple(mel.shape)}; wanted (batch, {self.dims.n_mels}, frames)")
        if mel.shape[2] > (most := 2 * self.dims.n_audio_ctx):
            raise ModelError(f"{mel.shape[2]} feature frames exceed the encoder's context of {most}")
        encoded: Tensor = self.encoder(mel.to(self.dtype))
        return encoded

    def decode(
        self, tokens: Tensor, audio: Tensor, cache: KeyValueCache | None = None, *, want_attention: bool = False
    ) -> DecoderOutput:
        """Logits for the token after each of `tokens` (B, T), which follow those of `cache`.

        `audio` is what `encode` gave: (B, S, D), or (1, S, D) that all rows hear. It is read once, without a cache;
        the cache then holds its keys and values. Row b of a cache must belong to row b of `tokens`; `cache.select`
        makes it so.
        """
        self._require_room(tokens, audio, cache)
        cache = self.decoder.start(audio) if cache is None else cache
        output: DecoderOutput = self.decoder(tokens, cache, want_attention=want_attention)
        return output

    def predict(self, tokens: Tensor, audio: Tensor) -> Tensor:
        """The same logits (B, T, V) for all `tokens` (B, T) at once, with the true tokens given, for training.

        Calls each block as a module and keeps no cache, so that blocks can be sharded or computed again.
        """
        self._require_room(tokens, audio, None)
        return self.decoder.predict(tokens, audio)

    def forward(self, mel: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) with the true tokens given."""
        return self.predict(tokens, self.encode(mel))

    def _require_room(self, tokens: Tensor, audio: Tensor, cache: KeyValueCache | None) -> None:
        length = tokens.shape[1] + (cache.length if cache else 0)
        if length > self.dims.n_text_ctx:
            raise ModelError(f"{length} tokens exceed the decoder's context of {self.dims.n_text_ctx}")
        if cache is None and audio.shape[0] not in {1, tokens.shape[0]}:
            raise ModelError(f"{tokens.shape[0]} rows of tokens do not fit {audio.shape[0]} rows of audio")

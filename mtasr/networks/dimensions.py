"""The sizes of Whisper models, apart from the network, so that they need no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mtasr.features import CHUNK_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderDimensions:
    """The numbers of `ModelDimensions` that determine the shapes of the encoder."""

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int

    def problems(self) -> list[str]:
        """The reasons why no encoder can have these numbers."""
        found = [f"{name} is {getattr(self, name)}" for name in self.__slots__ if getattr(self, name) < 1]
        if found:
            return found
        if self.n_audio_state % 2:
            found.append(f"the encoder's width {self.n_audio_state} is odd")
        if self.n_audio_state % self.n_audio_head:
            found.append(f"encoder width {self.n_audio_state} is not divisible by {self.n_audio_head} heads")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDimensions:
    """The numbers that determine every shape, under the names of OpenAI's checkpoints."""

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int

    @property
    def audio_seconds(self) -> float:
        """The longest audio for the encoder: 20 ms for each position, but no more than timestamps can express."""
        return min(self.n_audio_ctx / 50, float(CHUNK_SECONDS))

    @property
    def encoder(self) -> EncoderDimensions:
        return EncoderDimensions(
            n_mels=self.n_mels,
            n_audio_ctx=self.n_audio_ctx,
            n_audio_state=self.n_audio_state,
            n_audio_head=self.n_audio_head,
            n_audio_layer=self.n_audio_layer,
        )

    def problems(self) -> list[str]:
        """The reasons why no model can have these numbers."""
        found = [f"{name} is {getattr(self, name)}" for name in self.__slots__ if getattr(self, name) < 1]
        if found:
            return found
        if self.n_audio_state != self.n_text_state:
            found.append(f"encoder width {self.n_audio_state} is not decoder width {self.n_text_state}")
        found += self.encoder.problems()
        if self.n_text_state % self.n_text_head:
            found.append(f"decoder width {self.n_text_state} is not divisible by {self.n_text_head} heads")
        return found


def _dimensions(
    width: int, heads: int, layers: int, *, text_layers: int | None = None, n_vocab: int = 51865, n_mels: int = 80
) -> ModelDimensions:
    return ModelDimensions(
        n_mels=n_mels,
        n_audio_ctx=1500,
        n_audio_state=width,
        n_audio_head=heads,
        n_audio_layer=layers,
        n_vocab=n_vocab,
        n_text_ctx=448,
        n_text_state=width,
        n_text_head=heads,
        n_text_layer=layers if text_layers is None else text_layers,
    )


_ENGLISH = 51864  # the multilingual vocabulary has one token more: the empty one in its text part
_V3 = 51866  # large-v3 added Cantonese

#: The published models: Radford et al. 2022, table 1; large-v3, turbo and the distilled ones, their model cards.
DIMENSIONS: dict[str, ModelDimensions] = {
    "tiny": _dimensions(384, 6, 4),
    "tiny.en": _dimensions(384, 6, 4, n_vocab=_ENGLISH),
    "base": _dimensions(512, 8, 6),
    "base.en": _dimensions(512, 8, 6, n_vocab=_ENGLISH),
    "small": _dimensions(768, 12, 12),
    "small.en": _dimensions(768, 12, 12, n_vocab=_ENGLISH),
    "medium": _dimensions(1024, 16, 24),
    "medium.en": _dimensions(1024, 16, 24, n_vocab=_ENGLISH),
    "large-v1": _dimensions(1280, 20, 32),
    "large-v2": _dimensions(1280, 20, 32),
    "large-v3": _dimensions(1280, 20, 32, n_vocab=_V3, n_mels=128),
    "turbo": _dimensions(1280, 20, 32, text_layers=4, n_vocab=_V3, n_mels=128),
}
DIMENSIONS["large"] = DIMENSIONS["large-v3"]
DIMENSIONS["large-v3-turbo"] = DIMENSIONS["turbo"]

"""`mtasr pretrain objective=codec`: a codec learns from recordings at 16 kHz.

After EnCodec (Défossez et al. 2022), with what SoundStream (Zeghidour et al. 2021) draws: how many books each recording
gets. Two things are ours. The loss over time is an error relative to the recording. And it rules until the
discriminator begins: in short runs, spectral losses alone leave phases to chance, and no later step finds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mtasr.errors import UsageError
from mtasr.generative.adversarial import AdversarialNetwork, AdversarialObjective, Made
from mtasr.generative.codec import CODEC_PRESETS, Codec, CodecConfig
from mtasr.generative.codec_folder import save_codec
from mtasr.generative.conv import fold_weights, normalise_weights
from mtasr.generative.discriminators import stft_discriminator
from mtasr.generative.losses import relative_error, signal_to_distortion, spectral_distance
from mtasr.pretraining.objective import CropBatch, mean_state, require_sensible
from mtasr.spans import SAMPLE_RATE
from mtasr.training.config import TrainConfig
from mtasr.training.objectives import Exported

#: Sizes that `objective_options.sizes` may set, beside those of `CodecConfig`.
_SEANET = ("filters", "dimension", "recurrent_layers")
_SIZES = ("books", "entries", *_SEANET)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecOptions:
    """The settings in `objective_options`. Weights are shares of the gradient (`mtasr.generative.balance`)."""

    #: Sizes of the codec: a name in `CODEC_PRESETS` at 16 kHz.
    preset: str = "tiny"
    #: Other sizes than the preset has: books, entries, filters, dimension, recurrent_layers.
    sizes: Mapping[str, int] = field(default_factory=dict)
    #: Steps before the discriminator begins.
    discriminator_from: int = 0
    #: Channels of the discriminator, and its windows: so many, the largest 2048 samples, each half of the one before.
    discriminator_filters: int = 32
    discriminator_windows: int = 5
    #: Weights: the error over time; that of mel spectra before the discriminator begins, and then; the
    #: discriminator's scores, and what its layers hear.
    time: float = 0.1
    spectral: float = 2.0
    late_spectral: float = 2.0
    adversarial: float = 4.0
    features: float = 4.0
    #: Weight of the commitment loss, which is not balanced.
    commitment: float = 1.0

    def __post_init__(self) -> None:
        weights = ("time", "spectral", "late_spectral", "adversarial", "features", "commitment")
        checks = {
            "discriminator_from": self.discriminator_from >= 0,
            "discriminator_filters": self.discriminator_filters >= 1,
            "discriminator_windows": 1 <= self.discriminator_windows <= 6,
            "sizes": set(self.sizes) <= set(_SIZES) and all(size >= 1 for size in self.sizes.values()),
            **{name: getattr(self, name) >= 0 for name in weights},
        }
        require_sensible(self, checks)

    def config(self) -> CodecConfig:
        """Raises `UsageError` for a codec that is not at 16 kHz."""
        config = CODEC_PRESETS.get(self.preset)
        if config is None or config.rate != SAMPLE_RATE:
            fitting = [name for name, each in CODEC_PRESETS.items() if each.rate == SAMPLE_RATE]
            raise UsageError(f"objective_options.preset must be one of {', '.join(fitting)}, not {self.preset!r}")
        inner: dict[str, Any] = {name: self.sizes[name] for name in _SEANET if name in self.sizes}
        seanet = replace(config.seanet, **inner)
        ours: dict[str, Any] = {name: self.sizes[name] for name in ("books", "entries") if name in self.sizes}
        return replace(config, seanet=seanet, **ours)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What evaluation looks at: a batch (B, N), its codes (B, Q, S), and what numbers of books make of it."""

    real: Tensor
    codes: Tensor
    by_books: Mapping[int, Tensor]


class CodecObjective(AdversarialObjective):
    """A codec and the discriminator of EnCodec.

    Figures of evaluation, by the number of books: SI-SNR in dB, and the distance of mel spectra, which with all books
    is the loss. And the perplexity of each book: how many entries it would have if it used all of them alike.
    """

    losses = ("time", "spectral")
    adversarial = "hinge"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # What two cores learn in half an hour.
        "tiny": {
            "steps": 1600,
            "data": {"longest": 1.0, "shortest": 1.0, "batch_seconds": 8.0},
            "optimizer": {"learning_rate": 5e-4, "warmup": 50, "weight_decay": 0.0, "beta1": 0.5, "beta2": 0.9},
            "objective_options": {
                "preset": "tiny", "discriminator_from": 1200, "discriminator_filters": 8, "discriminator_windows": 3,
                "time": 3.0, "spectral": 0.5, "late_spectral": 2.0, "adversarial": 1.0, "features": 1.0,
            },
            "save_every": 200,
        },
        # The sizes, weights and rates of EnCodec, at 16 kHz.
        "speech-16khz": {
            "steps": 300_000,
            "data": {"longest": 1.0, "shortest": 1.0, "batch_seconds": 64.0},
            "optimizer": {"learning_rate": 3e-4, "weight_decay": 0.0, "beta1": 0.5, "beta2": 0.9},
            "objective_options": {"preset": "speech-16khz"},
            "save_every": 1000,
        },
    }  # fmt: skip

    def __init__(self, config: TrainConfig) -> None:
        self.options = config.options(CodecOptions)
        self.codec = self.options.config()
        super().__init__(config)

    @property
    def discriminator_from(self) -> int:
        return self.options.discriminator_from

    def network(self) -> AdversarialNetwork:
        options = self.options
        codec = Codec(self.codec)
        normalise_weights(codec)
        windows = [2048 >> halvings for halvings in range(options.discriminator_windows)]
        return AdversarialNetwork(codec, stft_discriminator(windows, options.discriminator_filters), self.losses)

    def weights_of(self, step: int) -> Mapping[str, float]:
        options = self.options
        return {
            "time": options.time,
            "spectral": options.spectral if step <= self.discriminator_from else options.late_spectral,
            "adversarial": options.adversarial,
            "features": options.features,
        }

    def make(self, generator: Codec, batch: CropBatch) -> Made:
        real = _audio(generator, batch)
        used = generator.quantizer.drawn(len(real), real.device)
        quantised = generator.quantizer(generator.encoder(real[:, None]), used)
        sound = generator.decoder(quantised.vectors)[:, 0, : real.shape[1]]
        losses = {"time": relative_error(sound, real), "spectral": spectral_distance(sound, real, SAMPLE_RATE)}
        return Made(sound=sound, real=real, losses=losses, beside=self.options.commitment * quantised.commitment)

    def outputs(self, model: Any, batch: CropBatch) -> Decoded:
        codec: Codec = model.generator
        real = _audio(codec, batch)
        codes = codec.encode(real)
        counts = sorted({2**power for power in range(self.codec.books.bit_length())} | {self.codec.books})
        return Decoded(real, codes, {count: codec.decode(codes[:, :count], real.shape[1]) for count in counts})

    def loss_of(self, outputs: Decoded, batch: CropBatch) -> Tensor:
        made = outputs.by_books[self.codec.books]
        return spectral_distance(made, outputs.real, SAMPLE_RATE) * len(made)

    def figures_of(self, outputs: Decoded, batch: CropBatch) -> dict[str, Tensor]:
        figures: dict[str, Tensor] = {}
        for count, made in outputs.by_books.items():
            figures[f"si_snr_{count}"] = signal_to_distortion(made, outputs.real).sum()
            figures[f"mel_{count}"] = spectral_distance(made, outputs.real, SAMPLE_RATE) * len(made)
        books = outputs.codes.transpose(0, 1).flatten(1)
        figures["used"] = torch.stack([torch.bincount(each, minlength=self.codec.entries) for each in books])
        return figures

    def conclusion(self, sums: Mapping[str, Tensor], targets: int) -> dict[str, float]:
        shares = sums["used"].double() / sums["used"].sum(1, keepdim=True)
        perplexities = torch.special.entr(shares).sum(1).exp().tolist()
        return {
            **{name: float(value) / targets for name, value in sums.items() if name != "used"},
            **{f"perplexity_{number}": value for number, value in enumerate(perplexities, start=1)},
        }

    def export(self, checkpoints: Iterable[Mapping[str, Any]], folder: Path) -> Exported:
        """Write the folder `codec`, the mean of the codecs of these checkpoints. Raises `OutputError`."""
        codec = Codec(self.codec)
        normalise_weights(codec)
        codec.load_state_dict(mean_state(checkpoints, "generator."))
        fold_weights(codec)
        save_codec(codec.eval(), folder / "codec")
        return Exported(path=(folder / "codec").absolute(), remark="\n".join(self._remarks(folder)))


def _audio(codec: Codec, batch: CropBatch) -> Tensor:
    return torch.from_numpy(batch.audio).to(next(codec.parameters()).device)

"""BEST-RQ on the recogniser's own encoder (Chiu et al. 2022, arXiv:2202.01855): which random code has a hidden frame?

The result begins the training of a recogniser with few labels (`init_encoder`), which is the recipe of USM (Zhang et
al. 2023, arXiv:2303.01037). With several codebooks, as in USM, each has a softmax, and the loss is their mean.

The encoder hears features as Whisper scales them. The normalised ones only choose codes, and say what replaces masked
frames. Letters in shapes:

    B  crops                    M  mel bins
    N  samples                  F  feature frames of 10 ms
    G  codebooks                S  encoder frames of 20 ms
    V  codes in each            P  masked frames of a batch
    D  width
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor, nn

from mtasr.errors import UsageError
from mtasr.features import HOP_LENGTH, log_mel
from mtasr.networks.dimensions import DIMENSIONS, EncoderDimensions
from mtasr.networks.whisper_encoder import WhisperEncoder
from mtasr.pretraining.audio.crops import cropped, pieces_of, spread
from mtasr.pretraining.audio.masking import span_mask
from mtasr.pretraining.heads.quantiser import RandomQuantiser
from mtasr.pretraining.objective import CropBatch, PretrainingObjective, limits, require_sensible
from mtasr.training.config import TrainConfig

#: Feature frames that are one frame of the encoder, and so one target.
_STACKED = 2
#: Pieces from which mean and deviation of the features are computed.
_MEASURED = 100
#: Least deviation of a mel bin: of those above the band of all recordings, the features hardly change.
_LEAST_DEVIATION = 0.01
#: Masked spans of a row at least.
_LEAST_SPANS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BestRqOptions:
    """The settings in `objective_options`. A frame is one of the encoder's, 20 ms."""

    #: The encoder: `tiny`, 3 layers of width 128, or one of Whisper's, such as `whisper-base`.
    preset: str = "tiny"
    #: Other sizes of the encoder than the preset has, by their names in `EncoderDimensions`.
    sizes: Mapping[str, int] = field(default_factory=dict)
    #: Codebooks, codes in each, and the width of a code.
    books: int = 1
    codes: int = 8192
    code_width: int = 16
    #: Masked spans times their length, as a share of all frames. They overlap, so a third of the frames is masked. The
    #: paper starts spans of 400 ms at 1 % of the frames of 10 ms.
    mask_share: float = 0.4
    #: Frames in a span.
    mask_span: int = 20
    #: Deviation of the noise that replaces masked frames, as a share of that of the features.
    noise: float = 0.1

    def __post_init__(self) -> None:
        checks = {
            "books": self.books >= 1,
            "codes": self.codes >= 2,
            "code_width": self.code_width >= 1,
            "mask_share": 0 < self.mask_share <= 1,
            "mask_span": self.mask_span >= 1,
            "noise": self.noise >= 0,
        }
        require_sensible(self, checks)


#: The rate, and the two hours of audio of a step, are those of speechbrain's recipe (recipes/LibriSpeech).
_PUBLISHED = {
    "steps": 200_000,
    "data": {"longest": 20.0, "shortest": 2.0, "batch_seconds": 300.0},
    "optimizer": {"learning_rate": 8e-4, "warmup": 25_000, "weight_decay": 0.01, "batches_per_step": 24},
    "save_every": 1000,
}

#: What a few hours of audio and a CPU are enough for. With more codes, most of them would have too few frames; spans of
#: 400 ms hide more than so small a network can guess (benchmarks/README.md).
_TINY = {
    "steps": 1000,
    "data": {"longest": 15.0, "shortest": 2.0, "batch_seconds": 60.0},
    "optimizer": {"learning_rate": 1e-3, "warmup": 100, "weight_decay": 0.01, "batches_per_step": 2},
    "objective_options": {"books": 4, "codes": 128, "mask_span": 6},
}

_ENCODERS: dict[str, EncoderDimensions] = {
    "tiny": EncoderDimensions(n_mels=80, n_audio_ctx=1500, n_audio_state=128, n_audio_head=4, n_audio_layer=3),
    **{f"whisper-{name}": dims.encoder for name, dims in DIMENSIONS.items() if not name.endswith(".en")},
}


class BestRqModel(nn.Module):
    """The encoder, a head for each codebook, and the frozen quantiser.

    `mean` and `deviation` (M,) are those of the features of the data, which `BestRqObjective.prepare` computes.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, dims: EncoderDimensions, options: BestRqOptions) -> None:
        super().__init__()
        self.books, self.noise = options.books, options.noise
        self.encoder = WhisperEncoder(dims)
        self.heads = nn.Linear(dims.n_audio_state, options.books * options.codes)
        self.quantiser = RandomQuantiser(_STACKED * dims.n_mels, options.books, options.codes, options.code_width)
        self.register_buffer("mean", torch.zeros(dims.n_mels))
        self.register_buffer("deviation", torch.ones(dims.n_mels))

    def targets(self, mel: Tensor, mask: Tensor) -> Tensor:
        """The codes (P, G) of masked frames; features (B, M, F) with F = 2 S, mask (B, S)."""
        normal = (mel - self.mean[:, None]) / self.deviation[:, None]
        frames = normal.transpose(1, 2).reshape(*mask.shape, -1)  # (B, S, 2 M): two frames side by side
        codes: Tensor = self.quantiser(frames[mask])
        return codes

    def hidden(self, mel: Tensor, mask: Tensor) -> Tensor:
        """Features (B, M, F) in which noise around their mean replaces masked frames."""
        noise = self.mean[:, None] + self.noise * self.deviation[:, None] * torch.randn_like(mel)
        return torch.where(mask.repeat_interleave(_STACKED, dim=1)[:, None], noise, mel)

    def logits(self, mel: Tensor, mask: Tensor) -> Tensor:
        """Scores of the codes (P, G, V) of masked frames, float32, from what is not masked."""
        encoded = self.encoder.contextualised(self.hidden(mel, mask))[-1]  # (B, S, D)
        with torch.autocast(mel.device.type, enabled=False):  # bfloat16 rounds scores of 10 to .03
            scores: Tensor = self.heads(encoded[mask].float())
        return scores.reshape(len(scores), self.books, -1)


class BestRqObjective(PretrainingObjective):
    """Cross-entropy of the codes of masked frames, the mean over codebooks, summed over masked frames."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": _TINY,
        **{name: _PUBLISHED for name in _ENCODERS if name != "tiny"},
    }

    def __init__(self, config: TrainConfig) -> None:
        self.options = config.options(BestRqOptions)
        self.dims = _dimensions(self.options)
        if config.data.longest > self.dims.n_audio_ctx / 50:
            raise UsageError(
                f"data.longest={config.data.longest:g} s exceeds the encoder, which hears "
                f"{self.dims.n_audio_ctx / 50:g} s"
            )
        if config.data.shortest < (least := self.options.mask_span / 50):
            raise UsageError(f"data.shortest={config.data.shortest:g} s is shorter than a mask of {least:g} s")
        super().__init__(config)

    def network(self) -> BestRqModel:
        return BestRqModel(self.dims, self.options)

    def prepare(self, model: nn.Module, *, resumes: bool) -> None:
        if not resumes:
            assert isinstance(model, BestRqModel)  # noqa: S101 - for the type checker
            for buffer, found in zip((model.mean, model.deviation), self._statistics, strict=True):
                buffer.copy_(found)

    def completed(self, crops: CropBatch, rng: np.random.Generator) -> CropBatch:
        rows, samples = crops.audio.shape
        options = self.options
        frames = samples // HOP_LENGTH // _STACKED
        mask = span_mask(rows, frames, options.mask_share, options.mask_span, _LEAST_SPANS, rng, equal=False)
        return replace(crops, mask=mask, targets=int(mask.sum()))

    def outputs(self, model: BestRqModel, batch: CropBatch) -> tuple[Tensor, Tensor]:
        """Codes (P, G) and scores (P, G, V) of the masked frames."""
        assert batch.mask is not None  # noqa: S101 - for the type checker
        mask = torch.from_numpy(batch.mask).to(model.mean.device)
        mel = model.encoder.mel(torch.from_numpy(batch.audio).to(model.mean.device))
        return model.targets(mel, mask), model.logits(mel, mask)

    def loss_of(self, outputs: tuple[Tensor, Tensor], batch: CropBatch) -> Tensor:
        codes, logits = outputs
        return F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="sum") / self.options.books

    def figures_of(self, outputs: tuple[Tensor, Tensor], batch: CropBatch) -> dict[str, Tensor]:
        codes, logits = outputs
        used = [torch.bincount(column, minlength=self.options.codes) for column in codes.T]
        return {"right": (logits.argmax(dim=2) == codes).float().mean(dim=1).sum(), "used": torch.stack(used)}

    def conclusion(self, sums: Mapping[str, Tensor], targets: int) -> dict[str, float]:
        """How often the most probable code is right, and two figures of the targets themselves.

        `unigram` is their entropy in nats, the loss of a model that knows only how frequent each code is; `perplexity`
        says as how many equally frequent codes they are. Both are means over codebooks.
        """
        shares = sums["used"].double() / targets  # (G, V)
        entropies = torch.special.entr(shares).sum(dim=1)
        return {
            "accuracy": float(sums["right"]) / targets,
            "unigram": float(entropies.mean()),
            "perplexity": float(entropies.exp().mean()),
        }

    def doubt(self, figures: Mapping[str, float]) -> str:
        if figures["loss"] < figures["unigram"]:
            return ""
        return (
            f"the encoder has learned nothing: its loss of {figures['loss']:.3f} is not below "
            f"{figures['unigram']:.3f}, that of knowing only how frequent each code is"
        )

    @cached_property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation (M,) of the features of pieces that are spread over the first epoch."""
        rng = np.random.default_rng(self.config.seed)
        pieces = spread(pieces_of(self.records.pool(0), *limits(self.config.data), rng), _MEASURED)
        count, total, squares = 0, np.zeros(self.dims.n_mels), np.zeros(self.dims.n_mels)
        for piece in pieces:
            _, audio = self.reader.read(cropped([piece], rng))
            for samples in audio:
                mel = log_mel(samples, self.dims.n_mels).astype(np.float64)
                count, total, squares = count + mel.shape[1], total + mel.sum(axis=1), squares + (mel**2).sum(axis=1)
        if not count:
            raise UsageError(
                f"none of the recordings of the first epoch lasts data.shortest={self.config.data.shortest:g} s; "
                "lower it, or raise data.pool_hours"
            )
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0)).clip(min=_LEAST_DEVIATION)
        return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


def _dimensions(options: BestRqOptions) -> EncoderDimensions:
    if options.preset not in _ENCODERS:
        raise UsageError(f"objective_options.preset must be one of {', '.join(_ENCODERS)}, not {options.preset!r}")
    try:
        dims = replace(_ENCODERS[options.preset], **options.sizes)
    except TypeError as exc:
        raise UsageError(f"objective_options.sizes: {exc}") from exc
    if problems := dims.problems():
        raise UsageError(f"objective_options.sizes: {'; '.join(problems)}")
    return dims

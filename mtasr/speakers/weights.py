"""The two networks of a speaker model, loaded by its name."""

from __future__ import annotations

from pathlib import Path

from mtasr.errors import ModelIntegrityError
from mtasr.models import Progress, speakers
from mtasr.models.folder import (
    EMBEDDING,
    EMBEDDING_ONNX,
    PROVENANCE,
    SEGMENTATION,
    SEGMENTATION_ONNX,
    Provenance,
    differences,
)
from mtasr.models.speakers.array_file import read_arrays
from mtasr.speakers.diarizer import EmbeddingNetwork, SegmentationNetwork
from mtasr.speakers.networks.embedding import Embedding
from mtasr.speakers.networks.onnx import OnnxEmbedding, OnnxSegmentation
from mtasr.speakers.networks.segmentation import Segmentation


def load_speaker_models(
    name: str | None = None, *, progress: Progress | None = None
) -> tuple[SegmentationNetwork, EmbeddingNetwork]:
    """The networks of a speaker model of `mtasr models list`, fetched first if necessary.

    Without a name it is that of $MTASR_SPEAKER_MODEL, or else `speakers`.

    `progress(file, bytes_done, bytes_total)` follows a download.

    Raises `ModelNotFoundError`, `ModelDownloadError`, `ModelCacheError`, or `ModelIntegrityError` if a file is not what
    was installed or does not fit the network. Models from the hub need onnxruntime: else `MissingExtraError`.
    """
    model = speakers.find(name)
    return networks_in(speakers.resolve(model.name, progress=progress), model)


def networks_in(folder: Path, model: speakers.SpeakerModel) -> tuple[SegmentationNetwork, EmbeddingNetwork]:
    """The networks of a copy of a speaker model. Raises `ModelIntegrityError` and `MissingExtraError` as above."""
    _check(folder, model.name)
    if (folder / SEGMENTATION_ONNX).exists():
        return OnnxSegmentation(folder / SEGMENTATION_ONNX), OnnxEmbedding(folder / EMBEDDING_ONNX, model.window)
    segmentation, embedding = (read_arrays(folder / file) for file in (SEGMENTATION, EMBEDDING))
    return Segmentation.from_arrays(segmentation), Embedding.from_arrays(embedding)


def _check(folder: Path, name: str) -> None:
    """Compare every byte with what was installed."""
    if not (folder / PROVENANCE).exists():
        return  # a temporary folder of this process
    if problems := differences(folder, Provenance.read(folder), {}):
        advice = f"`mtasr models pull --force {name}` installs it again"
        raise ModelIntegrityError(f"the copy of {name} in {folder} is damaged: {', '.join(problems)}; {advice}")

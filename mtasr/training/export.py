"""The result of a run as a model folder that `mtasr transcribe --model` takes."""

from __future__ import annotations

from pathlib import Path

from mtasr.checkpoints.checkpoint import Checkpoint
from mtasr.checkpoints.convert import write_with_parity
from mtasr.checkpoints.destination import check_destination
from mtasr.checkpoints.parity import Parity
from mtasr.errors import ModelError
from mtasr.training.loop import Run, mean_of
from mtasr.training.state import best_of, checkpoints, load_document


def result_of(run: Run) -> Checkpoint:
    """What has come of a run: the mean of its best checkpoints (`average_best`). Raises `ModelError`."""
    found = checkpoints(run.folder)
    if not found:
        raise ModelError(f"{run.folder}: holds no checkpoint of a run")
    scores: dict[int, float] = load_document(found[-1])["scores"]
    return mean_of(run, map(load_document, best_of(found, scores, run.config.average_best)))


def export(run: Run) -> tuple[Path, Parity]:
    """Write what has come of a run to its folder `model`, through the parity gate of conversions.

    A model that is there already is replaced. Raises `OutputError`, and `ModelError` if CTranslate2 does not compute
    what torch does.
    """
    destination = (run.folder / "model").absolute()
    check_destination(destination, "ctranslate2", force=True)
    parity = write_with_parity(result_of(run), destination, "ctranslate2", run.config.export, force=True)
    return destination, parity

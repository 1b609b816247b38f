"""The result of a run as a model folder that `mtasr transcribe --model` takes."""

from __future__ import annotations

from pathlib import Path

from mtasr.errors import ModelError
from mtasr.models.convert import write_with_parity
from mtasr.models.destination import check_destination
from mtasr.models.parity import Parity
from mtasr.training.loop import Run, result_of
from mtasr.training.state import checkpoints, load_document, step_of


def best_checkpoint(folder: Path) -> Path:
    """The checkpoint with the fewest errors, or the last where none was evaluated. Raises `ModelError`."""
    found = checkpoints(folder)
    if not found:
        raise ModelError(f"{folder}: holds no checkpoint of a run")
    scores: dict[int, float] = load_document(found[-1])["scores"]
    scored = [path for path in found if step_of(path) in scores]
    return min(scored, key=lambda path: (scores[step_of(path)], step_of(path))) if scored else found[-1]


def export(run: Run) -> tuple[Path, Parity]:
    """Write the best checkpoint of a run to its folder `model`, through the parity gate of conversions.

    A model that is there already is replaced. Raises `OutputError`, and `ModelError` if CTranslate2 does not compute
    what torch does.
    """
    destination = (run.folder / "model").absolute()
    check_destination(destination, "ctranslate2", force=True)
    checkpoint = result_of(run, load_document(best_checkpoint(run.folder)))
    parity = write_with_parity(checkpoint, destination, "ctranslate2", run.config.export, force=True)
    return destination, parity

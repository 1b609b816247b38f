"""The results of a folder: kept as JSON, and shown as one page and as pictures.

results.json           all results so far; a later run on the same task and encoder replaces its own
report.html            the table, and the plots of each task, self-contained
TASK-layers.svg        what each layer reaches alone, a curve for each encoder
TASK-weights.svg       the shares of the layers in the weighted sum, for each encoder
heads/TASK/ENCODER/    the heads (`mtasr.probing.heads`)
states/                states of clips, which may be deleted
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, TextIO

from mtasr import html_page, plots
from mtasr.atomic import write_text
from mtasr.checkpoints.settings import read_json
from mtasr.errors import InputError, ModelIntegrityError, OutputError
from mtasr.probing.heads import DOCUMENT
from mtasr.probing.run import LayerFigure, ProbeResult
from mtasr.system import lock_file
from mtasr.text_files import read_text

RESULTS, PAGE = "results.json", "report.html"
_LOCK = ".results.lock"
#: Figures that are no shares, and so not shown in percent.
_PLAIN = frozenset({"MTWV"})


def shown(name: str, value: float) -> str:
    """A figure for people: "93.2 %", and MTWV as it is."""
    if math.isnan(value):
        return ""
    return f"{value:.4f}" if name in _PLAIN else f"{100 * value:.1f} %"


def slug(name: str) -> str:
    """A name as part of a path: letters, digits and . _ + - remain."""
    return re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII).strip(".-") or "encoder"


def head_folder(folder: Path, task: str, encoder: str, owner: str) -> Path:
    """Where the head of an encoder goes among the results of a folder.

    `encoder` is its name in the report, and `owner` what the head's own file calls it. Names that differ may become one
    path, as `a/b` and `a-b` do. So a checksum follows if the head of another encoder is there.
    """
    path = folder / "heads" / slug(task) / slug(encoder)
    with contextlib.suppress(ModelIntegrityError):  # what is damaged is replaced
        if (path / DOCUMENT).is_file() and read_json(path / DOCUMENT).get("encoder") != owner:
            return path.with_name(f"{path.name}-{zlib.crc32(owner.encode(errors='surrogateescape')):08x}")
    return path


def read_results(folder: Path) -> list[ProbeResult]:
    """The results that the folder has so far. Raises `InputError` if their file is damaged."""
    path = folder / RESULTS
    if not path.is_file():
        return []
    try:
        documents = json.loads(read_text(path))
        if not isinstance(documents, list):
            raise ValueError("not a list")
        return [_result(document) for document in documents]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as exc:
        raise InputError(f"{path}: is damaged or not a file of results; move it away to begin anew") from exc


def _result(document: Mapping[str, Any]) -> ProbeResult:
    fields = {field.name: document[field.name] for field in dataclasses.fields(ProbeResult)}
    for name in ("weights", "sizes"):
        fields[name] = tuple(map(float, fields[name]))
    fields["layers"] = tuple(
        LayerFigure(layer=layer["layer"], dev=_number(layer["dev"]), test=_number(layer["test"]))
        for layer in fields["layers"]
    )
    fields["figures"] = {str(name): _number(value) for name, value in fields["figures"].items()}
    result = ProbeResult(**fields)
    if not math.isfinite(result.value + result.dev):
        raise ValueError("no number")
    return result


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def merged(old: Sequence[ProbeResult], new: Sequence[ProbeResult]) -> list[ProbeResult]:
    """Old and new results in their order; a new one replaces that of the same task and encoder."""
    found = {(result.task, result.encoder): result for result in (*old, *new)}
    return list(found.values())


def add_results(new: Sequence[ProbeResult], folder: Path) -> None:
    """Write these results together with those that the folder has, whichever process wrote them.

    Raises `OutputError`, and `InputError` if the file of results is damaged.
    """
    with _locked(folder):
        write_results(merged(read_results(folder), new), folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from writing results to the folder, where the system has locks."""
    _make(folder)
    try:
        stream = (folder / _LOCK).open("ab")
    except OSError as exc:
        raise OutputError(f"cannot write {folder / _LOCK}: {exc.strerror or exc}") from exc
    with stream:
        lock_file(stream, wait=True)
        yield


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"cannot write {folder}: {exc.strerror or exc}") from exc


def write_results(results: Sequence[ProbeResult], folder: Path) -> None:
    """Write results, pictures and the page. Raises `OutputError`."""
    _make(folder)
    document = json.dumps([result.to_json() for result in results], indent=1, ensure_ascii=False)
    _write(folder / RESULTS, document + "\n")
    for task, own in _by_task(results).items():
        for name, panels in (("layers", layer_panels(own)), ("weights", weight_panels(own))):
            if panels:
                _write(folder / f"{slug(task)}-{name}.svg", plots.picture(panels))
    write_text(folder / PAGE, lambda stream: write_page(results, stream))


def _write(path: Path, text: str) -> None:
    write_text(path, lambda stream: stream.write(text))


def _by_task(results: Sequence[ProbeResult]) -> dict[str, list[ProbeResult]]:
    found: dict[str, list[ProbeResult]] = {}
    for result in results:
        found.setdefault(result.task, []).append(result)
    return found


def layer_panels(results: Sequence[ProbeResult]) -> list[plots.Panel]:
    """What single layers reach on one task, and encoders of one state as level lines; none if no result has layers."""
    figure = results[0].figure
    scale, unit = (1, "") if figure in _PLAIN else (100, " %")
    last = max((layer.layer for result in results for layer in result.layers), default=0)
    if not last:
        return []
    curves = {}
    for result in results:
        values = [(float(layer.layer), scale * layer.test) for layer in result.layers if math.isfinite(layer.test)]
        if not values and len(result.weights) == 1:
            values = [(place, scale * result.value) for place in (0.0, float(last))]
        curves[result.encoder] = values
    return [plots.curves(f"{results[0].task}: {figure}{unit} of each layer alone", curves, last=last, numbered=True)]


def weight_panels(results: Sequence[ProbeResult]) -> list[plots.Panel]:
    """The share of each layer in the weighted sum; none for encoders of one state."""
    return [
        plots.bars(f"{result.encoder}: weight times size of each layer, as a share", result.shares)
        for result in results
        if len(result.shares) > 1
    ]


def columns(results: Sequence[ProbeResult]) -> list[tuple[str, str]]:
    """(task, figure) of the table of all encoders: the figure that counts of each task, then its others."""
    found: dict[tuple[str, str], None] = {}
    for result in results:
        for name in sorted(result.figures, key=lambda name: name != result.figure):
            found[result.task, name] = None
    order = {task: place for place, task in enumerate(_by_task(results))}
    return sorted(found, key=lambda column: order[column[0]])


def table(results: Sequence[ProbeResult]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows for people: an encoder in each row, a task and a figure in each column."""
    wanted = columns(results)
    heads = ["Encoder", *(f"{task} {figure}" for task, figure in wanted)]
    rows = []
    for encoder in dict.fromkeys(result.encoder for result in results):
        own = {result.task: result.figures for result in results if result.encoder == encoder}
        cells = [shown(figure, own.get(task, {}).get(figure, math.nan)) for task, figure in wanted]
        rows.append([encoder, *cells])
    return heads, rows


def write_page(results: Sequence[ProbeResult], stream: TextIO) -> None:
    """Write the page: the table of all encoders, then each task with its numbers and plots."""
    stream.write(html_page.start("What encoders know", _STYLE))
    heads, rows = table(results)
    stream.write(html_page.table(list(map(escape, heads)), [html_page.row(row) for row in rows]))
    stream.write(
        "<p><small>Figures on the test recordings. Heads read the learned weighted sum of all states of the frozen "
        "encoder. More is better of accuracy, F1 and MTWV, less of the error rates. Majority: what the most frequent "
        "answer reaches.</small></p>\n"
    )
    for task, own in _by_task(results).items():
        stream.write(f"<h2>{escape(task)}</h2>\n" + _numbers(own))
        for panels, label in (
            (layer_panels(own), f"{own[0].figure} of each layer alone"),
            (weight_panels(own), "Shares of layers in the weighted sum"),
        ):
            if panels:
                stream.write(f'<div class="wide">{plots.picture(panels, label=label, page=True)}</div>\n')
        stream.write(_notes(own))
    stream.write(html_page.END)


_STYLE = "svg { max-width: 44rem; } svg text[font-weight] { font-weight: bold; }\n"


def _numbers(results: Sequence[ProbeResult]) -> str:
    figure = escape(results[0].figure)
    heads = ["Encoder", figure, "on dev", "Best layer alone", "Learning rate", "Weights of head", "Clips"]
    rows = []
    for result in results:
        best = best_layer(result)
        clips = " + ".join(str(count) for count in result.clips.values())
        rows.append(
            html_page.row([
                result.encoder,
                shown(result.figure, result.value),
                shown(result.figure, result.dev),
                "" if best is None else f"layer {best.layer}: {shown(result.figure, best.test)}",
                "" if result.learning_rate is None else f"{result.learning_rate:g}",
                f"{result.parameters:,}" if result.parameters else "",
                clips + (f", {result.folds} folds" if result.folds > 1 else ""),
            ])
        )  # fmt: skip
    return html_page.table(heads, rows)


def best_layer(result: ProbeResult) -> LayerFigure | None:
    """The layer that is best on dev; None if layers were not tried."""
    tried = [layer for layer in result.layers if not math.isnan(layer.dev)]
    if not tried:
        return None
    return (min if result.falls else max)(tried, key=lambda layer: layer.dev)


def _notes(results: Sequence[ProbeResult]) -> str:
    if not any(len(result.layers) > 1 for result in results):
        return ""
    return (
        "<p><small>Layer 0 is the input of the first layer. The best layer is that of the development recordings. "
        "Shares are softmax weights times the root mean square of the states, as large states count more at the same "
        "weight.</small></p>\n"
    )

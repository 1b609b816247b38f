"""What the settings of independent windows cost and give: seconds, word errors and what was decoded again, one setting
after the other.

    OPENBLAS_NUM_THREADS=1 python benchmarks/windows.py --clips MANIFEST [--model base] [--batch-size 0] SETTING...

A SETTING is a list of NAME=VALUE between commas, or "default": constants of `mtasr.decoding.windows` and
`mtasr.decoding.window_decoder` (windows.LONGEST=10, window_decoder._STEP=1, for a model of variable length
window_decoder._VARIABLE_STEP=3) or decoding options (beam_size=3). A manifest is
a JSON list of objects with "audio" (beside it), "language", and "text" or "segments" with texts. One process; the
model is loaded once, and seconds are those of transcribing. A window, or a half that is decoded in its place, fails if
its first decoding does not pass the checks; of those some loop.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parity import edits, words

from mtasr.decoding import scheduler, window_decoder
from mtasr.decoding.checks import loops
from mtasr.transcribe import Model, load_model


class Counted(window_decoder.WindowDecoder):
    """Counts what becomes of first decodings."""

    windows = failed = looped = 0

    def _try(self, outcomes: Sequence[window_decoder.Outcome]) -> None:
        super()._try(outcomes)
        failed = [each for each in outcomes if each.is_open]
        Counted.windows += len(outcomes)
        Counted.failed += len(failed)
        tries = [(each.failed[-1], each.task.window.seconds) for each in failed if each.failed]
        Counted.looped += sum(loops(decoded, self._options, seconds) for decoded, seconds in tries)


def parse(setting: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Constants by module and name, and options."""
    constants, options = {}, {}
    for item in [] if setting == "default" else setting.split(","):
        name, value = item.split("=")
        if "." in name:
            constants[name] = float(value)
        else:
            options[name] = json.loads(value)
    return constants, options


def score(model: Model, manifest: Path, rows: list[dict[str, Any]], options: dict[str, Any]) -> tuple[int, int]:
    """Errors and words of the reference."""
    errors = total = 0
    for language in sorted({row["language"] for row in rows}):
        mine = [row for row in rows if row["language"] == language]
        with model.stream_all(
            [manifest.parent / row["audio"] for row in mine], language=language, **options
        ) as streams:
            for row, stream in zip(mine, streams, strict=True):
                reference = words(row.get("text") or " ".join(segment["text"] for segment in row["segments"]))
                errors += edits(reference, words(stream.transcript().text))
                total += len(reference)
    return errors, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", default=["default"])
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--model", default="base")
    parser.add_argument("--batch-size", type=int, default=0)
    args = parser.parse_args()
    rows = json.loads(args.clips.read_text(encoding="utf-8"))
    model = load_model(args.model, batch_size=args.batch_size)
    scheduler.WindowDecoder = Counted  # type: ignore[misc]
    for setting in args.settings:
        constants, options = parse(setting)
        before = {}
        for name, value in constants.items():
            module = importlib.import_module(f"mtasr.decoding.{name.split('.')[0]}")
            before[name] = getattr(module, name.split(".")[1])
            setattr(module, name.split(".")[1], value)
        Counted.windows = Counted.failed = Counted.looped = 0
        stages, began = model.timings, time.perf_counter()
        errors, total = score(model, args.clips, rows, options)
        took = time.perf_counter() - began
        spent = {stage: round(seconds - stages.get(stage, 0), 1) for stage, seconds in model.timings.items()}
        print(
            f"{setting}: {100 * errors / total:.2f} % of {total} words, {took:.1f} s, {spent}; "
            f"{Counted.failed} of {Counted.windows} windows failed, {Counted.looped} looped",
            flush=True,
        )
        for name, value in before.items():
            setattr(importlib.import_module(f"mtasr.decoding.{name.split('.')[0]}"), name.split(".")[1], value)


if __name__ == "__main__":
    main()

"""What the settings of independent windows cost and give: seconds, word errors and what was decoded again, one setting
after the other.

    OPENBLAS_NUM_THREADS=1 python benchmarks/windows.py --clips MANIFEST [--model base] [--batch-size 0] SETTING...

A SETTING is a list of NAME=VALUE between commas, or "default": constants of `mtasr.decoding.windows` and
`mtasr.decoding.window_input` (windows.LONGEST=10, window_input._STEP=1, for a model of variable length
window_input._VARIABLE_STEP=3), thresholds of `mtasr.decoding.checks.Checks` (checks.thin=2) or decoding options
(beam_size=3). A manifest is a JSON list of objects with "audio" (beside it), "language", and "text" or "segments" with
texts. One process; the model is loaded once, and seconds are those of transcribing. A window, or a half that replaces
it, fails if its first decoding does not pass the checks; of those some loop.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from parity import edits, words

from mtasr.decoding import scheduler, window_decoder
from mtasr.decoding.checks import Checks
from mtasr.decoding.retries import Decoding
from mtasr.decoding.window_input import WindowInput
from mtasr.transcribe import Model, load_model


class Counted(window_decoder.WindowDecoder):
    """Counts what becomes of first decodings."""

    windows = failed = looped = 0
    #: Its `uncounted` says that what this thread decodes is no first decoding.
    state = threading.local()

    def _searched(self, decodings: Sequence[Decoding]) -> list[Decoding]:
        found = super()._searched(decodings)
        if not getattr(self.state, "uncounted", False):
            failed = [each for each in found if each.is_open]
            Counted.windows += len(found)
            Counted.failed += len(failed)
            tries = [(each.failed[-1], each.input.window.seconds) for each in failed if each.failed]
            Counted.looped += sum(self.checks.loops(attempt, seconds) for attempt, seconds in tries)
        return found

    def _tried(self, decoding: Decoding, inputs: Sequence[WindowInput]) -> list[Decoding]:
        is_again = any(each.window is decoding.input.window for each in inputs)
        with uncounted() if is_again else contextlib.nullcontext():
            return super()._tried(decoding, inputs)

    def _continued(self, decoding: Decoding) -> Decoding:
        with uncounted():
            return super()._continued(decoding)


@contextlib.contextmanager
def uncounted() -> Iterator[None]:
    Counted.state.uncounted = True
    try:
        yield
    finally:
        Counted.state.uncounted = False


def parse(setting: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Constants by module and name, and options, with the checks among them."""
    constants, options, thresholds = {}, {}, {}
    for item in [] if setting == "default" else setting.split(","):
        name, value = item.split("=")
        if name.startswith("checks."):
            thresholds[name.removeprefix("checks.")] = json.loads(value)
        elif "." in name:
            constants[name] = float(value)
        else:
            options[name] = json.loads(value)
    return constants, options | {"checks": Checks(**thresholds)}


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

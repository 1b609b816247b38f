"""Does the torch engine write what CTranslate2 writes? And what does int8 change?

    python benchmarks/parity.py --clips examples/*.flac [--model base] [--per-language 10] [--rows rows.json]

Clips are recordings, folders of them, or manifests: JSON lists of objects with "audio" (beside the manifest), and
optionally "language" and "text". The first 30 s of each are decoded at temperature 0, as one full window, with
greedy search and with a beam of 5, by torch and CTranslate2 in float32 and by CTranslate2 in int8. --without-torch
compares only the last two, which is several times faster.

With torch, the values themselves are compared too: encoder outputs and logits for the first 10 s of each clip, the
logits after the same tokens, as parts of the largest value.

The exit status is 1 when a bar is missed: values 1e-3 apart; the same tokens for 98 % of clips (greedy) and 95 %
(beam 5), or a difference that is no tie; int8 more than 0.3 points of word errors above float32.

Where torch and CTranslate2 differ, three figures of the first different token say how near a tie it was, all in
natural logarithms, all computed by torch: `token`, between the probabilities of the two tokens; `mass`, between all
timestamps together and the best text token, if one of the two is a timestamp; `score`, between the two whole texts
as the search compares them. A difference is explained if the figure that decides (token or mass for greedy search,
any for a beam) is below --tie.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mtasr.audio.read import open_audio
from mtasr.checkpoints.formats import load_checkpoint
from mtasr.checkpoints.parity import compare
from mtasr.decoding.longform import encode_window
from mtasr.decoding.sample_buffer import SampleBuffer
from mtasr.engines.ctranslate2 import CTranslate2Engine
from mtasr.engines.engine import Encoded, Engine, Hypothesis
from mtasr.engines.rules import TimestampRules, rules_for
from mtasr.engines.search import Found, log_probabilities
from mtasr.engines.torch import TorchEngine
from mtasr.models import DEFAULT_MODEL, int8_copy, resolve
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import load_model

BEAMS = {"greedy": 1, "beam 5": 5}

#: The bars: parts of clips with the same tokens, points of word error rate, parts of the largest value.
SAME_TOKENS = {"greedy": 0.98, "beam 5": 0.95}
INT8_POINTS = 0.3
VALUES = 1e-3


@dataclass(frozen=True)
class Clip:
    audio: Path
    language: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Difference:
    """Of two token sequences: where they part and how near a tie that was (see the top of the file)."""

    clip: str
    search: str
    place: int
    torch_text: str
    ctranslate2_text: str
    token: float
    mass: float | None
    score: float

    def is_tie(self, tie: float) -> bool:
        deciding = [self.token if self.mass is None else self.mass]
        if self.search != "greedy":
            deciding.append(self.score)
        return min(map(abs, deciding)) < tie


def read_clips(paths: Sequence[Path], per_language: int | None) -> Iterator[Clip]:
    taken: dict[str | None, int] = {}
    for clip in (clip for path in paths for clip in _expand(path)):
        taken[clip.language] = taken.get(clip.language, 0) + 1
        if per_language is None or taken[clip.language] <= per_language:
            yield clip


def _expand(path: Path) -> list[Clip]:
    if path.is_dir():
        return [Clip(each) for each in sorted(path.iterdir())]
    if path.suffix == ".json":
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [Clip(path.parent / row["audio"], row.get("language"), row.get("text")) for row in rows]
    return [Clip(path)]


def window_of(path: Path) -> np.ndarray:
    with open_audio(path) as audio:
        return SampleBuffer(iter(audio)).window(0, 30 * SAMPLE_RATE)


class Judge:
    """Says what torch thinks of any sequence of tokens after a prompt."""

    def __init__(self, engine: TorchEngine, encoded: Encoded, prompt: Sequence[int], options: DecodingOptions) -> None:
        self.engine, self.encoded, self.prompt, self.options = engine, encoded, prompt, options
        self.rules = rules_for(
            engine.tokenizer,
            options,
            timestamps=True,
            suppress_ids=engine.suppress_ids,
            suppress_ids_begin=engine.suppress_ids_begin,
        )

    @torch.inference_mode()
    def _logits(self, tokens: Sequence[int]) -> torch.Tensor:
        """(T + 1, V) before the rules, at each token and after the last."""
        ids = torch.tensor([[*self.prompt, *tokens]])
        return self.engine.model.decode(ids, self.encoded).logits[0, len(self.prompt) - 1 :]

    def score(self, tokens: Sequence[int]) -> float:
        logits, whole = self._logits(tokens), [*tokens, self.engine.tokenizer.eot]
        if len(tokens) == self.engine.limits.max_length // 2:  # there was no room for the end of text
            whole.pop()
        total = sum(
            float(
                log_probabilities(logits[at : at + 1], torch.tensor([whole[:at]], dtype=torch.long), self.rules)[
                    0, token
                ]
            )
            for at, token in enumerate(whole)
        )
        return Found(tuple(tokens), total).score(self.options.length_penalty)

    def gaps(self, before: Sequence[int], first: int, second: int) -> tuple[float, float | None]:
        """After the tokens `before`: between two tokens, and between timestamps and text if they are one of each.

        The comparison of masses is the last rule, so its effect is left out here: tokens are compared as it sees them.
        """
        logits, written = self._logits(before)[-1:], torch.tensor([[*before]], dtype=torch.long)
        for rule in self.rules:
            logits = (rule.grammar if isinstance(rule, TimestampRules) else rule.apply)(logits, written)
        begin = self.engine.tokenizer.timestamp_begin
        token = float(logits[0, first] - logits[0, second])
        if (first >= begin) == (second >= begin):
            return token, None
        return token, float(logits[0, begin:].logsumexp(dim=0) - logits[0, :begin].amax())


def explain(judge: Judge, name: str, search: str, ours: Hypothesis, theirs: Hypothesis) -> Difference:
    eot, tokenizer = judge.engine.tokenizer.eot, judge.engine.tokenizer
    first, second = (*ours.tokens, eot), (*theirs.tokens, eot)
    place = next(at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    token, mass = judge.gaps(first[:place], first[place], second[place])
    return Difference(
        clip=name,
        search=search,
        place=place,
        torch_text=tokenizer.decode_with_timestamps(ours.tokens[max(0, place - 2) : place + 6]),
        ctranslate2_text=tokenizer.decode_with_timestamps(theirs.tokens[max(0, place - 2) : place + 6]),
        token=token,
        mass=mass,
        score=judge.score(ours.tokens) - judge.score(theirs.tokens),
    )


def words(text: str) -> list[str]:
    """Lower case, without accents and marks."""
    plain = "".join(mark for mark in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(mark))
    return re.sub(r"[^\w\s]", " ", plain.replace("'", "")).split()


def edits(first: Sequence[str], second: Sequence[str]) -> int:
    """Words to insert, delete and replace (Levenshtein)."""
    row = list(range(len(second) + 1))
    for i, word in enumerate(first, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(second, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


class Tally:
    """Counts over clips for one way to search."""

    def __init__(self) -> None:
        self.clips = self.same_torch = self.same_int8 = 0
        self.words = self.int8_edits = 0
        self.reference_words = self.float32_errors = self.int8_errors = 0
        self.largest_gap = 0.0

    def add(self, clip: Clip, texts: dict[str, str], found: dict[str, Hypothesis]) -> None:
        self.clips += 1
        self.same_int8 += found["int8"].tokens == found["float32"].tokens
        float32, int8 = words(texts["float32"]), words(texts["int8"])
        self.words += len(float32)
        self.int8_edits += edits(float32, int8)
        if "torch" in found and found["torch"].tokens == found["float32"].tokens:
            self.same_torch += 1
            gap = abs(found["torch"].avg_logprob - found["float32"].avg_logprob)
            self.largest_gap = max(self.largest_gap, gap)
        if clip.text is not None:
            reference = words(clip.text)
            self.reference_words += len(reference)
            self.float32_errors += edits(reference, float32)
            self.int8_errors += edits(reference, int8)

    def misses(self, search: str, *, with_torch: bool) -> Iterator[str]:
        """The bars that these clips miss."""
        if with_torch and self.same_torch < SAME_TOKENS[search] * self.clips:
            yield f"{search}: torch and CTranslate2 agree for too few clips"
        if self.int8_errors - self.float32_errors > INT8_POINTS / 100 * self.reference_words:
            yield f"{search}: int8 makes over {INT8_POINTS} points more errors than float32"

    def lines(self, search: str, *, with_torch: bool) -> Iterator[str]:
        share = 100 / max(self.clips, 1)
        if with_torch:
            yield (
                f"{search}: torch = CTranslate2 float32, token for token: {self.same_torch} of {self.clips} clips "
                f"({self.same_torch * share:.1f} %); largest difference of their avg_logprob {self.largest_gap:.1e}"
            )
        yield (
            f"{search}: int8 = float32, token for token: {self.same_int8} of {self.clips} "
            f"({self.same_int8 * share:.1f} %); "
            f"{self.int8_edits} of {self.words} words differ ({100 * self.int8_edits / max(self.words, 1):.2f} %)"
        )
        if self.reference_words:
            float32, int8 = (100 * each / self.reference_words for each in (self.float32_errors, self.int8_errors))
            yield f"{search}: word errors: float32 {float32:.2f} %, int8 {int8:.2f} %, difference {int8 - float32:+.2f}"


class Comparison:
    """The engines side by side, and what came out of the clips so far."""

    def __init__(self, model: str, threads: int, *, with_torch: bool) -> None:
        self.folder = resolve(model)
        self.source = load_checkpoint(self.folder) if with_torch else None
        self.largest_encoder = self.largest_logits = 0.0
        self.engines: dict[str, Engine] = {
            name: CTranslate2Engine(
                self.folder,
                device="cpu",
                compute_type=name,
                threads=threads,
                int8_copy=partial(int8_copy.provide, self.folder),
            )
            for name in ("float32", "int8")
        }
        if with_torch:
            self.engines["torch"] = load_model(model, engine="torch", device="cpu", threads=threads).engine
        self.tallies = {search: Tally() for search in BEAMS}
        self.differences: list[Difference] = []

    def add(self, clip: Clip) -> None:
        if self.source is not None:
            values = compare(self.source, self.folder, "float32", clip.audio)
            self.largest_encoder = max(self.largest_encoder, values.encoder.largest)
            self.largest_logits = max(self.largest_logits, values.logits.largest)
        samples = window_of(clip.audio)
        encoded = {name: encode_window(engine, samples) for name, engine in self.engines.items()}
        tokenizer = self.engines["float32"].tokenizer
        language = clip.language or "en"
        if clip.language is None and tokenizer.is_multilingual:
            language = self.engines["float32"].detect_language(encoded["float32"])[0].code
        prompt = tokenizer.sot_sequence(language, "transcribe")
        for search, beam_size in BEAMS.items():
            options = DecodingOptions(beam_size=beam_size)
            found = {
                name: engine.generate([encoded[name]], [prompt], options, 0.0)[0]
                for name, engine in self.engines.items()
            }
            texts = {name: tokenizer.decode(hypothesis.tokens) for name, hypothesis in found.items()}
            self.tallies[search].add(clip, texts, found)
            engine = self.engines.get("torch")
            if isinstance(engine, TorchEngine) and found["torch"].tokens != found["float32"].tokens:
                judge = Judge(engine, encoded["torch"], prompt, options)
                self.differences.append(explain(judge, clip.audio.name, search, found["torch"], found["float32"]))

    def misses(self, tie: float) -> Iterator[str]:
        with_torch = self.source is not None
        for search, tally in self.tallies.items():
            yield from tally.misses(search, with_torch=with_torch)
        if not max(self.largest_encoder, self.largest_logits) <= VALUES:
            yield f"values differ by more than {VALUES}"
        if unexplained := sum(not difference.is_tie(tie) for difference in self.differences):
            yield f"{unexplained} differences are no ties"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", nargs="+", type=Path, required=True)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--per-language", type=int, help="take only so many clips of each language of a manifest")
    parser.add_argument("--without-torch", action="store_true", help="only int8 against float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tie", type=float, default=1e-3)
    parser.add_argument("--rows", type=Path, help="write the differences here, as JSON")
    args = parser.parse_args()
    comparison = Comparison(args.model, args.threads, with_torch=not args.without_torch)
    for clip in read_clips(args.clips, args.per_language):
        comparison.add(clip)
    for search, tally in comparison.tallies.items():
        print(*tally.lines(search, with_torch=not args.without_torch), sep="\n")
    if comparison.source is not None:
        print(f"largest difference: encoder {comparison.largest_encoder:.1e}, logits {comparison.largest_logits:.1e}")
    for difference in comparison.differences:
        print("tie" if difference.is_tie(args.tie) else "NOT A TIE", difference)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("mtasr", "ctranslate2", "torch"))
    print(f"{args.model}; {versions}; {platform.processor() or platform.machine()}, {args.threads} threads")
    if args.rows:
        args.rows.write_text(json.dumps([asdict(each) for each in comparison.differences], indent=1), encoding="utf-8")
    missed = list(comparison.misses(args.tie))
    for miss in missed:
        print("MISSED", miss)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()

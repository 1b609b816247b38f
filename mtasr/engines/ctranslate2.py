"""The fast engine: CTranslate2 on CPU (int8) or CUDA (int8_float16)."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import ctranslate2
import numpy as np

from mtasr import system
from mtasr.arrays import Float32Array
from mtasr.engines.devices import choose_device
from mtasr.engines.engine import Alignment, Encoded, EngineLimits, Hypothesis, LanguageGuess, Likelihood
from mtasr.errors import DeviceError, ModelIntegrityError, UsageError
from mtasr.networks.dimensions import DIMENSIONS, ModelDimensions
from mtasr.options import DecodingOptions
from mtasr.threads import before_exit
from mtasr.tokenizer import TIMESTAMP_STEP, Tokenizer

#: What each device does best, the first that it supports.
_PREFERRED = {"cpu": ("int8", "float32"), "cuda": ("int8_float16", "int8_float32", "float16", "float32")}

_LOG = logging.getLogger(__name__)

#: What one window of 16 s with a beam of 5 takes, of the size of the model: keys and values of the encoder's output and
#: of the text so far, in float32. From the shapes: 34 MB for base (75 MB), 460 MB for large-v3 (1,550 MB).
_WORKING_SHARE = 0.45


system.use_avx512()

#: What CTranslate2's messages say when the machine is at fault rather than the model.
_DEVICE_SIGNS = ("cuda", "cublas", "cudnn", "out of memory", "compute type", "driver")

#: Far more than any machine needs; CTranslate2 crashes when the system cannot start as many as asked for.
_THREAD_LIMIT = 1024

#: Workers on more cores than this wait for each other and for memory.
_MOST_THREADS = 16
#: More threads than this gain nothing on a single window.
_MOST_THREADS_ALONE = 8

#: Held while a sampler draws for the first time.
_FIRST_DRAW = threading.Lock()

#: Models that a thread would have freed while the interpreter exited.
_kept: list[ctranslate2.models.Whisper] = []

#: Windows decoded together. On the CPU, 8 are a thirtieth faster and take half as much memory again.
_BATCH = {"cpu": 4, "cuda": 16}


def choose_compute_type(compute_type: str, device: str, device_index: int = 0) -> str:
    """The precision to compute in; "auto" is the best that the device supports.

    Raises `DeviceError`, naming the supported ones, when the device cannot compute in that precision.
    """
    supported = ctranslate2.get_supported_compute_types(device, device_index)
    if compute_type == "auto":
        return next(name for name in _PREFERRED[device] if name in supported)
    if compute_type != "default" and compute_type not in supported:
        raise DeviceError(
            f"this machine's {device} cannot compute in {compute_type!r}; it can in {', '.join(sorted(supported))}"
        )
    return compute_type


def fit_memory(model_bytes: int, workers: int, batch_size: int, free: int) -> tuple[int, int]:
    """Workers and batch size, lowered until what they work on fits into half of the free memory.

    Batches are halved first, down to 2: they gain less than workers do.
    """
    while workers * batch_size * model_bytes * _WORKING_SHARE > free / 2 and workers * batch_size > 1:
        if batch_size > 2 or workers == 1:
            batch_size //= 2
        else:
            workers -= 1
    return workers, batch_size


@contextlib.contextmanager
def _explained(what: str, device: str) -> Iterator[None]:
    """Turn what CTranslate2 throws into one line: the device's fault, or else the model's."""
    try:
        yield
    except (RuntimeError, ValueError, LookupError, MemoryError) as exc:
        reason = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        if any(sign in reason.lower() for sign in _DEVICE_SIGNS) or isinstance(exc, MemoryError):
            way_out = "; --device cpu does without it" if device == "cuda" else ""
            raise DeviceError(f"{device} cannot run the model: {reason}{way_out}") from exc
        raise ModelIntegrityError(f"{what}: {reason}") from exc


def _check_config(folder: Path, *, multilingual: bool) -> None:
    """CTranslate2 looks for these only when it needs them, and then says little."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as exc:
        raise ModelIntegrityError(f"{path}: cannot be read: {exc}") from exc
    wanted = ["suppress_ids", "suppress_ids_begin", *(["lang_ids"] if multilingual else [])]
    missing = [key for key in wanted if not isinstance(config, dict) or not isinstance(config.get(key), list)]
    if missing:
        raise ModelIntegrityError(f"{path} lacks {', '.join(missing)}: convert the model again")


class CTranslate2Engine:
    """Runs a CTranslate2 model folder.

    `threads` are the CPU threads for all work together, `workers` how many calls run side by side with their share of
    them, `batch_size` how many windows a call is best given; 0 chooses each. On the CPU a worker for each core is
    fastest: one thread does more work than half of two.

    `int8_copy` gives a folder with the same model in int8, if there is one; on the CPU, in int8, that is loaded in its
    place. `folder` tells which of the two was loaded. A vocabulary that was read already is not read again. Of `dims`
    the contexts count, which CTranslate2 does not tell; all published models have the same. `variable_length` and
    `reliable_alignment` come from the settings of the model.

    With device "auto", a GPU that turns out not to work (no cuBLAS, say) gives way to the CPU, with a logged warning.

    Raises `ModelIntegrityError` for a folder that CTranslate2 cannot load and `DeviceError` for a device or
    precision that this machine does not have.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "auto",
        device_index: int = 0,
        compute_type: str = "auto",
        threads: int = 0,
        workers: int = 0,
        batch_size: int = 0,
        dims: ModelDimensions = DIMENSIONS["base"],
        tokens: Sequence[str] | None = None,
        variable_length: bool = False,
        reliable_alignment: bool = True,
        int8_copy: Callable[[], Path | None] = lambda: None,
    ) -> None:
        for name, value in (("threads", threads), ("workers", workers), ("batch_size", batch_size)):
            if not 0 <= value <= _THREAD_LIMIT:
                raise UsageError(f"{name} must be between 0 and {_THREAD_LIMIT}, not {value}")
        self.tokenizer = Tokenizer.from_folder(folder) if tokens is None else Tokenizer(tokens)
        _check_config(folder, multilingual=self.tokenizer.is_multilingual)
        self.limits = EngineLimits(
            max_length=dims.n_text_ctx,
            audio_seconds=dims.audio_seconds,
            variable_length=variable_length,
            reliable_alignment=reliable_alignment,
        )
        self._dims, self._tokens, self._int8_copy = dims, tokens, int8_copy
        self._asked = (threads, workers, batch_size)
        #: Samplers that no recording uses.
        self._idle_samplers: list[CTranslate2Engine] = []
        self._seed, self._has_drawn = 0, False
        #: Held while somebody uses this engine as a sampler.
        self._lent = threading.Lock()
        self.device, index = choose_device(device, device_index, ctranslate2.get_cuda_device_count())
        try:
            self._load(folder, index, compute_type)
            if self.device == "cuda":  # Libraries that are missing are missed at the first use only.
                self.encode([np.zeros((self.limits.n_mels, 2), np.float32)])
        except DeviceError as exc:
            if device != "auto" or self.device == "cpu":
                raise
            _LOG.warning("%s", exc)
            self.device = "cpu"
            self._load(folder, 0, compute_type)

    def _load(self, folder: Path, device_index: int, compute_type: str) -> None:
        threads, workers, batch_size = self._asked
        if self.device == "cpu":
            self._threads = threads or min(system.available_cores(), _MOST_THREADS)
            size = sum(path.stat().st_size for path in folder.glob("model.bin"))
            fitting = fit_memory(size, self._threads, _BATCH["cpu"], system.free_memory())
            workers, batch_size = workers or fitting[0], batch_size or fitting[1]
        else:
            self._threads, workers, batch_size = 1, workers or 1, batch_size or _BATCH["cuda"]
        self.limits = replace(self.limits, workers=workers, batch_size=batch_size)
        self._device_index = device_index
        with _explained(f"{folder}: cannot load the model", self.device):
            self.compute_type = choose_compute_type(compute_type, self.device, device_index)
        copy = self._int8_copy() if (self.device, self.compute_type) == ("cpu", "int8") else None
        if copy is not None:
            try:
                return self._read(copy, device_index)
            except ModelIntegrityError as exc:  # damaged, or replaced this very moment
                _LOG.debug("%s", exc)
        return self._read(folder, device_index)

    def _read(self, folder: Path, device_index: int) -> None:
        with before_exit(), _explained(f"{folder}: cannot load the model", self.device):
            self._model = ctranslate2.models.Whisper(
                str(folder),
                device=self.device,
                device_index=device_index,
                compute_type=self.compute_type,
                inter_threads=self.limits.workers,
                intra_threads=max(1, self._threads // self.limits.workers),
            )
        system.keep_after_fork(self._model)
        self.limits = replace(self.limits, n_mels=int(self._model.n_mels))
        self.folder, self._has_drawn = folder, False
        system.return_freed_memory()  # what the file was read into

    @contextlib.contextmanager
    def sampler(self, seed: int) -> Iterator[CTranslate2Engine]:
        """The model loaded once more with one worker; this engine if it has one worker that nobody draws with, or on
        CUDA, where there may be no room.

        A thread of CTranslate2 takes its seed when it first draws and keeps it. So a model that has drawn is loaded
        anew for the next seed.
        """
        if self.device == "cuda":
            self._seed = seed
            yield self
            return
        if self.limits.workers == 1 and self._lent.acquire(blocking=False):
            try:
                if self._has_drawn:
                    self._read(self.folder, self._device_index)
                self._seed = seed
                yield self
            finally:
                self._lent.release()
            return
        try:
            sampler = self._idle_samplers.pop()
        except IndexError:
            sampler = self._with_one_worker()
        if sampler._has_drawn:
            sampler._free()  # so that memory never holds both
            sampler._read(self.folder, self._device_index)
        sampler._seed = seed
        try:
            yield sampler
        finally:
            self._idle_samplers[:] = [sampler]  # one is kept: two are in use only with the text before as context

    def _free(self) -> None:
        with before_exit():
            del self._model

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        """Freeing the model waits for its threads, so whoever does it must be done before the interpreter exits."""
        if is_finalizing() or "_model" not in vars(self):
            return
        try:
            self._free()
        except RuntimeError:
            _kept.append(self._model)

    def _with_one_worker(self) -> CTranslate2Engine:
        return CTranslate2Engine(
            self.folder,
            device=self.device,
            device_index=self._device_index,
            compute_type=self.compute_type,
            threads=min(self._threads, _MOST_THREADS_ALONE),
            workers=1,
            dims=self._dims,
            tokens=self._tokens,
            variable_length=self.limits.variable_length,
            reliable_alignment=self.limits.reliable_alignment,
        )

    def encode(self, features: Sequence[Float32Array]) -> list[Encoded]:
        """Arrays of shape (frames / 2, width) in this machine's memory."""
        frames = features[0].shape[1]
        # Encoder output as long as there are mel bins would be taken for raw features: one frame more avoids it.
        padding = frames % 2 + (2 if (frames + 1) // 2 == self.limits.n_mels else 0)
        batch = np.pad(np.stack(features), ((0, 0), (0, 0), (0, padding)), mode="edge")
        # On the CPU, one after the other takes three quarters of the time of all at once: what a layer writes stays
        # in the cache.
        groups = [batch] if self.device == "cuda" else [batch[index : index + 1] for index in range(len(batch))]
        with self._working():
            rows = [
                row
                for group in groups
                for row in np.asarray(self._model.encode(ctranslate2.StorageView.from_array(group), to_cpu=True))
            ]
        self._check_numbers(*(float(row.sum(dtype=np.float64)) for row in rows))
        return rows

    @contextlib.contextmanager
    def _seeded(self) -> Iterator[None]:
        """Set the seed, which CTranslate2 holds for the whole process and a thread takes at its first draw.

        Later draws leave it alone, since another sampler may be about to take it.
        """
        if self._has_drawn and self.device == "cpu":
            yield
            return
        with contextlib.nullcontext() if self._has_drawn else _FIRST_DRAW:
            ctranslate2.set_random_seed(self._seed)
            self._has_drawn = True
            yield

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        with before_exit(), _explained("CTranslate2 cannot run this model", self.device):
            yield

    def _check_numbers(self, *values: float) -> None:
        """A weight that is no number spreads to all that is computed, and what comes out is no text."""
        if any(map(math.isnan, values)):
            raise ModelIntegrityError(f"{self.folder}: the model is damaged: it computes values that are not numbers")

    def detect_language(self, encoded: Encoded) -> list[LanguageGuess]:
        with self._working():
            guesses = self._model.detect_language(_stacked([encoded]))[0]
        return [LanguageGuess(token.strip("<|>"), float(probability)) for token, probability in guesses]

    def generate(
        self, encoded: Sequence[Encoded], prompts: Sequence[Sequence[int]], options: DecodingOptions, temperature: float
    ) -> list[Hypothesis]:
        if temperature > 0:
            search = {
                "beam_size": 1,
                "num_hypotheses": options.best_of,
                "sampling_topk": 0,
                "sampling_temperature": temperature,
            }
        else:
            search = {
                "beam_size": options.beam_size,
                "num_hypotheses": options.n_best,
                "patience": options.patience,
            }
        self.tokenizer.check_ids(options.suppress_tokens)
        with self._seeded() if temperature > 0 else contextlib.nullcontext(), self._working():
            results = self._model.generate(
                _stacked(encoded),
                [list(prompt) for prompt in prompts],
                **search,
                length_penalty=options.length_penalty,
                repetition_penalty=options.repetition_penalty,
                no_repeat_ngram_size=options.no_repeat_ngram_size,
                max_length=self.limits.max_length,
                return_scores=True,
                return_no_speech_prob=True,
                max_initial_timestamp_index=round(options.max_initial_timestamp / TIMESTAMP_STEP),
                suppress_blank=options.suppress_blank,
                suppress_tokens=[*options.suppress_tokens, *self.tokenizer.never_text],
            )
        self._check_numbers(
            *(score for each in results for ids, score in zip(each.sequences_ids, each.scores, strict=True) if ids)
        )
        if temperature > 0:  # Samples at the full length take twice the size of the model, and are rare.
            system.return_freed_memory()
        return [
            _hypothesis(result, options, len(self.tokenizer.text_in(prompt)))
            for result, prompt in zip(results, prompts, strict=True)
        ]

    def align(self, encoded: Encoded, start: Sequence[int], text_tokens: Sequence[int], frames: int) -> Alignment:
        with self._working():
            result = self._model.align(_stacked([encoded]), list(start), [list(text_tokens)], frames)[0]
        pairs = np.asarray(result.alignments, dtype=np.int64).reshape(-1, 2)
        return Alignment(
            token_indices=pairs[:, 0],
            frame_indices=pairs[:, 1],
            token_probs=np.asarray(result.text_token_probs, dtype=np.float64),
        )

    def score(
        self, encoded: Sequence[Encoded], prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]
    ) -> list[Likelihood]:
        """Give the texts as prefixes: CTranslate2 then returns the logits of their tokens."""
        steps = max(map(len, texts)) + 1
        longest = max(map(len, prompts)) + steps
        with self._working():
            results = self._model.generate(
                _stacked(encoded),
                [[*prompt, *text] for prompt, text in zip(prompts, texts, strict=True)],
                beam_size=1,
                # CTranslate2 writes half of it, and no more than the prompt leaves of it.
                max_length=max(2 * steps, longest),
                return_logits_vocab=True,
                suppress_blank=False,
                suppress_tokens=[],
            )
            return [
                _likelihood(result.logits[0], text, self.tokenizer.eot)
                for result, text in zip(results, texts, strict=True)
            ]


def _stacked(encoded: Sequence[Encoded]) -> ctranslate2.StorageView:
    """(windows, frames / 2, width)"""
    return ctranslate2.StorageView.from_array(np.stack(encoded))


def _likelihood(logits: Sequence[ctranslate2.StorageView], text: Sequence[int], eot: int) -> Likelihood:
    """`logits` (V,) of each step, at least one more than the text has tokens."""
    logprobs, ends = [], []
    for token, view in zip([*text, eot], logits[: len(text) + 1], strict=True):
        row = np.asarray(view.to(ctranslate2.DataType.float32).to_device(ctranslate2.Device.cpu))
        highest = row.max()
        total = highest + math.log(float(np.exp(row - highest).sum()))
        logprobs.append(row[token] - total)
        ends.append(row[eot] - total)
    return Likelihood(logprobs=np.array(logprobs, np.float64), end_logprobs=np.array(ends, np.float64))


def _hypothesis(result: ctranslate2.models.WhisperGenerationResult, options: DecodingOptions, begun: int) -> Hypothesis:
    found = [
        (tuple(tokens), _mean_logprob(score, len(tokens), begun, options.length_penalty))
        for tokens, score in zip(result.sequences_ids, result.scores, strict=True)
    ]
    tokens, avg_logprob = found[0]
    return Hypothesis(
        tokens=tokens,
        avg_logprob=avg_logprob,
        no_speech_prob=float(result.no_speech_prob),
        others=tuple(found[1 : options.n_best]),
    )


def _mean_logprob(score: float, length: int, begun: int, length_penalty: float) -> float:
    """From CTranslate2's score, a sum divided by length ** length_penalty; the mean counts the end of text as a token.

    It does not count tokens that were given. No text at all has no score.
    """
    return score * length**length_penalty / (length - begun + 1) if length else -math.inf

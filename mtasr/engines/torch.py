"""The reference engine: the torch model behind the same seam as CTranslate2.

Slower, and readable from the logits to the text. What it computes is what CTranslate2 computes in float32; tests and
`benchmarks/parity.py` hold the two together. Only this module, `rules` and `search` of this package import torch.

Letters in shapes:

    B  hypotheses      T  tokens      P  tokens of the prompt      S  encoder frames of 20 ms
    V  vocabulary      H  heads       D  width
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mtasr.arrays import Float32Array
from mtasr.engines.alignment import attention_matrix, best_path
from mtasr.engines.devices import choose_device
from mtasr.engines.engine import Alignment, Encoded, EngineLimits, Hypothesis, LanguageGuess, Likelihood
from mtasr.engines.rules import rules_for
from mtasr.engines.search import Found, beam_search, greedy, sample
from mtasr.errors import DeviceError
from mtasr.networks.whisper import KeyValueCache, Whisper
from mtasr.options import DecodingOptions
from mtasr.threads import before_exit
from mtasr.tokenizer import Tokenizer

_PRECISIONS = {
    "auto": torch.float32,
    "default": torch.float32,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def torch_device(device: str, device_index: int = 0) -> torch.device:
    """What `choose_device` chooses, as torch's own."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name, index = choose_device(device, device_index, gpus)
    return torch.device(name, index) if name == "cuda" else torch.device(name)


def choose_dtype(compute_type: str) -> torch.dtype:
    """The precision to compute in; "auto" is float32. Raises `DeviceError` for one that torch does not compute in."""
    if compute_type not in _PRECISIONS:
        raise DeviceError(f"the torch engine computes in float32, float16 or bfloat16, not in {compute_type!r}")
    return _PRECISIONS[compute_type]


class TorchEngine:
    """Runs a torch model, which is moved to the device and the precision asked for.

    `suppress_ids`, `suppress_ids_begin`, `alignment_heads` ((layer, head) pairs) and `variable_length` are the
    generation settings that come with a checkpoint, from which `reliable_alignment` is derived. Without alignment
    heads, all heads of the upper half of the decoder are taken. `threads` is torch's, for the whole process; 0 leaves
    it alone.

    Raises `DeviceError` for a device or precision that this machine or torch does not have.
    """

    def __init__(
        self,
        model: Whisper,
        tokenizer: Tokenizer,
        *,
        suppress_ids: Sequence[int] = (),
        suppress_ids_begin: Sequence[int] = (),
        alignment_heads: Sequence[tuple[int, int]] = (),
        variable_length: bool = False,
        reliable_alignment: bool = True,
        device: str = "auto",
        device_index: int = 0,
        compute_type: str = "auto",
        threads: int = 0,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.model = model.to(torch_device(device, device_index), choose_dtype(compute_type)).eval()
        self.tokenizer = tokenizer
        self.suppress_ids = tuple(suppress_ids)
        self.suppress_ids_begin = tuple(suppress_ids_begin)
        dims = model.dims
        self.limits = EngineLimits(
            n_mels=dims.n_mels,
            max_length=dims.n_text_ctx,
            audio_seconds=dims.audio_seconds,
            variable_length=variable_length,
            reliable_alignment=reliable_alignment,
        )
        layers, heads = dims.n_text_layer, dims.n_text_head
        upper_half = [(layer, head) for layer in range(layers // 2, layers) for head in range(heads)]
        self.alignment_heads = tuple(alignment_heads) or tuple(upper_half)
        #: Each call to `generate` draws from a generator with this seed: samples do not depend on windows before.
        self._seed = 0

    @contextlib.contextmanager
    def sampler(self, seed: int) -> Iterator[TorchEngine]:
        """A view of this engine that draws from `seed`; the model is shared."""
        sampler = copy.copy(self)
        sampler._seed = seed
        yield sampler

    @before_exit()
    @torch.inference_mode()
    def encode(self, features: Sequence[Float32Array]) -> list[Encoded]:
        """(n_mels, frames) each -> (1, S, D) each, on the model's device."""
        mels = [torch.from_numpy(np.ascontiguousarray(each[np.newaxis], dtype=np.float32)) for each in features]
        return [self.model.encode(mel.to(self.model.device)) for mel in mels]

    @before_exit()
    @torch.inference_mode()
    def detect_language(self, encoded: Encoded) -> list[LanguageGuess]:
        """Probabilities among the language tokens alone, as if no other token could follow the start."""
        codes = self.tokenizer.language_tokens
        logits = self.model.decode(self._ids([[self.tokenizer.sot]]), encoded).logits[0, 0]
        probabilities = logits[list(codes.values())].softmax(dim=0).tolist()
        guesses = [LanguageGuess(code, value) for code, value in zip(codes, probabilities, strict=True)]
        return sorted(guesses, key=lambda guess: -guess.probability)

    @before_exit()
    @torch.inference_mode()
    def generate(
        self, encoded: Sequence[Encoded], prompts: Sequence[Sequence[int]], options: DecodingOptions, temperature: float
    ) -> list[Hypothesis]:
        return [
            self._generate(window, prompt, options, temperature)
            for window, prompt in zip(encoded, prompts, strict=True)
        ]

    def _generate(
        self, encoded: Encoded, prompt: Sequence[int], options: DecodingOptions, temperature: float
    ) -> Hypothesis:
        tokenizer = self.tokenizer
        begun = tokenizer.text_in(prompt)
        rules = rules_for(
            tokenizer,
            options,
            timestamps=tokenizer.no_timestamps not in prompt,
            suppress_ids=self.suppress_ids,
            suppress_ids_begin=self.suppress_ids_begin,
            begun=len(begun),
        )
        steps = _Steps(self.model, encoded, prompt)
        eot, most = tokenizer.eot, self._most_tokens(len(prompt) - len(begun))
        if temperature > 0:
            found = sample(
                steps,
                rules,
                eot=eot,
                max_tokens=most,
                temperature=temperature,
                count=options.best_of,
                length_penalty=options.length_penalty,
                generator=torch.Generator(self.model.device).manual_seed(self._seed),
                begun=begun,
            )
        elif options.beam_size == 1:
            found = [greedy(steps, rules, eot=eot, max_tokens=most, begun=begun)]
        else:
            found = beam_search(
                steps,
                rules,
                eot=eot,
                max_tokens=most,
                beam_size=options.beam_size,
                patience=options.patience,
                length_penalty=options.length_penalty,
                begun=begun,
            )
        return self._hypothesis(found[: options.n_best], steps.prompt_logits, prompt, len(begun))

    def _most_tokens(self, prompt_length: int) -> int:
        """Half the context, or what the prompt leaves of it. The last token written need not fit: nothing reads it."""
        longest = self.limits.max_length
        return min(longest // 2, longest - prompt_length + 1)

    def _hypothesis(
        self, found: Sequence[Found], prompt_logits: Tensor, prompt: Sequence[int], begun: int
    ) -> Hypothesis:
        """No speech is what the model says at the start of transcript, before the language (paper, section 2.3)."""
        no_speech = 0.0
        if self.tokenizer.no_speech >= 0:
            at_start = prompt_logits[list(prompt).index(self.tokenizer.sot)]
            no_speech = float(at_start.softmax(dim=0)[self.tokenizer.no_speech])
        best, *others = [(each.tokens, each.logprob / (len(each.tokens) - begun + 1)) for each in found]
        return Hypothesis(tokens=best[0], avg_logprob=best[1], no_speech_prob=no_speech, others=tuple(others))

    @before_exit()
    @torch.inference_mode()
    def align(self, encoded: Encoded, start: Sequence[int], text_tokens: Sequence[int], frames: int) -> Alignment:
        """One pass over the whole text; the attention at each position says what the next token was heard in."""
        tokenizer, count, begin = self.tokenizer, len(text_tokens), len(start)
        tokens = [*start, tokenizer.no_timestamps, *text_tokens, tokenizer.eot]
        output = self.model.decode(self._ids([tokens]), encoded, want_attention=True)
        # Probabilities among text tokens alone: neither timestamps nor the end of text compete.
        probabilities = output.logits[0, begin : begin + count, : tokenizer.eot].softmax(dim=1)
        token_probs = probabilities.gather(1, self._ids([text_tokens]).T)[:, 0]
        assert output.attention is not None  # noqa: S101 - it was asked for
        heads = torch.stack([output.attention[layer][0, head] for layer, head in self.alignment_heads])
        token_indices, frame_indices = np.empty(0, np.int64), np.empty(0, np.int64)
        if frames >= 2:
            matrix = attention_matrix(heads.float().cpu().numpy(), frames // 2)
            token_indices, frame_indices = best_path(matrix[begin : begin + count + 1])
        return Alignment(
            token_indices=token_indices,
            frame_indices=frame_indices,
            token_probs=token_probs.double().cpu().numpy(),
        )

    def score(
        self, encoded: Sequence[Encoded], prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]
    ) -> list[Likelihood]:
        return [self._score(*each) for each in zip(encoded, prompts, texts, strict=True)]

    @before_exit()
    @torch.inference_mode()
    def _score(self, encoded: Encoded, prompt: Sequence[int], text: Sequence[int]) -> Likelihood:
        """One pass over the whole text."""
        eot = self.tokenizer.eot
        logits = self.model.decode(self._ids([[*prompt, *text]]), encoded).logits[0, len(prompt) - 1 :]
        logprobs = logits.double().log_softmax(dim=1).cpu().numpy()
        return Likelihood(
            logprobs=logprobs[np.arange(len(text) + 1), [*text, eot]],
            end_logprobs=logprobs[:, eot],
        )

    def _ids(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(tokens, dtype=torch.long, device=self.model.device)


class _Steps:
    """`NextLogits` of a model: reads the prompt once and then one token a step, through its cache."""

    def __init__(self, model: Whisper, audio: Tensor, prompt: Sequence[int]) -> None:
        self._model, self._audio = model, audio
        output = model.decode(torch.tensor([list(prompt)], dtype=torch.long, device=model.device), audio)
        #: (P, V) after each token of the prompt.
        self.prompt_logits = output.logits[0]
        self._cache: KeyValueCache = output.cache
        self._width, self._is_first = 1, True

    def __call__(self, tokens: Tensor, rows: Tensor) -> Tensor:
        if rows.tolist() != list(range(self._width)):
            self._cache = self._cache.select(rows.to(self._model.device))
            self._width = len(rows)
        if self._is_first:
            self._is_first = False
            return self.prompt_logits[-1].expand(len(rows), -1)
        output = self._model.decode(tokens[:, -1:].to(self._model.device), self._audio, self._cache)
        self._cache = output.cache
        return output.logits[:, -1]

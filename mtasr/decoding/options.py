"""The one place that lists how decoding can be steered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mtasr.errors import UsageError

Task = Literal["transcribe", "translate"]

#: Temperatures tried in turn while a window fails its checks (Whisper paper, section 4.5).
FALLBACK_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingOptions:
    """How to decode. The defaults and names follow openai-whisper where it has the option.

    Raises `UsageError` on construction for a value out of range.
    """

    task: Task = "transcribe"
    #: Code ("fr") or English name ("French"); None detects it.
    language: str | None = None

    #: Width of the beam at temperature 0.
    beam_size: int = 5
    #: Samples drawn at temperatures above 0; the one with the best score is kept.
    best_of: int = 5
    #: Beams are kept until `beam_size * patience` of them have ended (arXiv:2204.05424).
    patience: float = 1.0
    #: Scores are divided by `length ** length_penalty`.
    length_penalty: float = 1.0
    #: Above 1.0, scores of tokens already written are lowered.
    repetition_penalty: float = 1.0
    #: No n-gram of this many tokens is written twice; 0 allows all.
    no_repeat_ngram_size: int = 0
    #: Tried in turn until a window passes its checks.
    temperature: tuple[float, ...] = FALLBACK_TEMPERATURES

    #: A window whose text compresses better than this is taken for a loop; None switches the check off.
    compression_ratio_threshold: float | None = 2.4
    #: A window whose mean token log-probability is lower than this has failed; None switches the check off.
    logprob_threshold: float | None = -1.0
    #: A window with at least this no-speech probability, and a failed log-probability, is silence; None: never.
    no_speech_threshold: float | None = 0.6

    #: Text before the recording: names, spelling, style.
    initial_prompt: str | None = None
    #: Give the model the text of the window before, as Whisper does.
    condition_on_previous_text: bool = True
    #: Forget the previous text after a window that needed a temperature above this.
    prompt_reset_on_temperature: float = 0.5

    #: Token ids never written; -1 stands for the model's own list of non-speech symbols.
    suppress_tokens: tuple[int, ...] = (-1,)
    #: No empty text at the start of a window.
    suppress_blank: bool = True
    #: Decode without timestamp tokens: one segment a window.
    without_timestamps: bool = False
    #: The first timestamp of a window is at most this many seconds.
    max_initial_timestamp: float = 1.0

    #: Find the times of each word.
    word_timestamps: bool = False
    #: With word times, marks that belong to the word after them.
    prepend_punctuations: str = "\"'“¿([{-"
    #: With word times, marks that belong to the word before them.
    append_punctuations: str = "\"'.。,，!！?？:：”)]}、"

    def __post_init__(self) -> None:
        if self.task not in ("transcribe", "translate"):
            raise UsageError(f"task is 'transcribe' or 'translate', not {self.task!r}")
        for name in ("beam_size", "best_of"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is at least 1, not {getattr(self, name)}")
        for name in ("patience", "repetition_penalty"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is above 0, not {getattr(self, name)}")
        if self.no_repeat_ngram_size < 0:
            raise UsageError(f"no_repeat_ngram_size is at least 0, not {self.no_repeat_ngram_size}")
        if not self.temperature:
            raise UsageError("temperature needs at least one value")
        for value in self.temperature:
            if not 0.0 <= value <= 2.0:
                raise UsageError(f"temperature is between 0 and 2, not {value}")
        if self.no_speech_threshold is not None and not 0.0 <= self.no_speech_threshold <= 1.0:
            raise UsageError(f"no_speech_threshold is between 0 and 1, not {self.no_speech_threshold}")
        if not 0.0 <= self.max_initial_timestamp <= 30.0:
            raise UsageError(f"max_initial_timestamp is between 0 and 30 s, not {self.max_initial_timestamp}")

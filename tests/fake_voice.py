"""A voice without a network: each letter is 50 ms of a tone, and the words are kept."""

from __future__ import annotations

import numpy as np

from mtasr.speech.voice import Speech, checked_speed


class FakeVoice:
    """Speaks at 24 kHz; `said` has the texts and the speeds."""

    name, rate, licence = "fake", 24_000, "none"

    def __init__(self) -> None:
        self.said: list[tuple[str, float]] = []

    def say(self, text: str, speed: float = 1.0) -> Speech:
        checked_speed(speed)
        self.said.append((text, speed))
        letters = sum(each.isalnum() for each in text)
        times = np.arange(round(letters * 0.05 / speed * self.rate)) / self.rate
        return Speech((0.3 * np.sin(2 * np.pi * 220 * times)).astype(np.float32), self.rate)

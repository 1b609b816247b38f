"""Codecs small enough for a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mtasr.generative.codec import Codec, CodecConfig
from mtasr.generative.seanet import SeanetConfig


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of one thread have the same order in every run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def codec() -> Codec:
    """At 16 kHz, 2000 frames a second, 3 books of 4 bits, with zeros before the beginning; not in training mode."""
    torch.manual_seed(1)
    seanet = SeanetConfig(filters=4, strides=(4, 2), dimension=6, padding="constant")
    made = Codec(CodecConfig(rate=16_000, seanet=seanet, books=3, entries=16), name="test", digest="0" * 16)
    for book in made.quantizer.books:
        book.centres.normal_(std=0.1)
        book.begun.fill_(1)
    return made.eval()

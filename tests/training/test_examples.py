"""Epochs, batches, samples and features."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speech import SAMPLE_RATE, write_wav
from training_data import record
from vocabularies import vocabulary

from mtasr.data.excerpts import Excerpt, Part, cut_excerpts
from mtasr.data.records import Record
from mtasr.data.samples import SampleStore
from mtasr.decoding.window_input import context_for
from mtasr.errors import InputError
from mtasr.features import log_mel
from mtasr.tokenizer import Tokenizer
from mtasr.training.batches import Ahead, make_batch, masked
from mtasr.training.config import DataConfig, RegularisationConfig
from mtasr.training.examples import Example, ExampleSource, epoch_of
from mtasr.training.objectives.whisper import excerpts_to_judge
from mtasr.training.targets import IGNORED

TOKENIZER = Tokenizer(vocabulary())
PLAIN = RegularisationConfig(time_masks=0, frequency_masks=0)


def source(records: list[Record], rehearsal: list[Record] | None = None) -> ExampleSource:
    return ExampleSource(
        records=records, rehearsal=rehearsal or [], tokenizer=TOKENIZER, text_context=448, audio_seconds=30.0
    )


def clips(count: int, language: str = "en") -> list[Record]:
    return [
        record(f"number {n}.", seconds=1 + n % 5, gap=0.25, audio=f"/{language}{n}.wav", language=language)
        for n in range(count)
    ]


def excerpts_in(batches: list[list[Example]]) -> list[Excerpt]:
    return [example.excerpt for batch in batches for example in batch]


@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 5))
def test_an_epoch_has_each_recording_once(count: int, join: float, epoch: int) -> None:
    config = DataConfig(join=join, batch_seconds=45.0, batch_tokens=448)
    batches = epoch_of(source(clips(count)), config, 1, epoch)
    heard = [part.audio for excerpt in excerpts_in(batches) for part in excerpt.parts]
    assert sorted(heard) == sorted(each.audio for each in clips(count))
    for batch in batches:
        assert max(example.context for example in batch) * len(batch) <= 45
        assert max(len(example.target.tokens) for example in batch) * len(batch) <= 448
        assert all(example.excerpt.seconds <= example.context for example in batch)
    assert epoch_of(source(clips(count)), config, 1, epoch) == batches


@pytest.mark.parametrize(("longest", "audio_seconds"), [(30.0, 6.0), (6.0, 30.0)])
@given(st.floats(0, 1), st.integers(0, 5))
def test_no_excerpt_exceeds_the_limits(longest: float, audio_seconds: float, short: float, epoch: int) -> None:
    talk = record(*(f"number {n}." for n in range(20)), seconds=2.0, gap=0.4)
    config = DataConfig(short=short, shortest=2.0, batch_seconds=30.0, longest=longest)
    untimed = record("A long one.", seconds=9.0, timed=False)
    kinds = [
        *clips(5),
        talk,
        record("A long one.", seconds=9.0),
        untimed,
        replace(talk, task="translate", language="es"),
    ]
    batches = epoch_of(replace(source(kinds), audio_seconds=audio_seconds), config, 1, epoch)
    assert all(example.context <= audio_seconds for batch in batches for example in batch)
    assert all(excerpt.seconds > 0 and excerpt.fits(6.0) for excerpt in excerpts_in(batches))
    assert "A long one." not in {caption.text for excerpt in excerpts_in(batches) for caption in excerpt.captions}
    assert {excerpt.task for excerpt in excerpts_in(batches)} == {"transcribe", "translate"}


def test_no_full_excerpt_is_lost_to_rounding() -> None:
    """A window from 0.1 to 6.1 s is longer than 6 s in floating point."""
    talks = [record(*["so."] * 90, seconds=0.7, gap=0.1 + n / 97, audio=f"/{n}.wav") for n in range(20)]
    cut = [excerpt for talk in talks for excerpt in cut_excerpts(talk, lambda: 6.0)]
    assert any(excerpt.seconds > 6 for excerpt in cut)
    config = DataConfig(short=0.0, join=0.0, silence=1.0, timestamps=1.0)
    assert len(excerpts_in(epoch_of(replace(source(talks), audio_seconds=6.0), config, 1, 0))) == len(cut)
    assert len(excerpts_to_judge(talks, len(cut), 6.0)) == len(cut)


def test_epochs_differ() -> None:
    one, other = (epoch_of(source(clips(30)), DataConfig(), 1, epoch) for epoch in (0, 1))
    assert excerpts_in(one) != excerpts_in(other)


def test_rehearsal_has_its_share() -> None:
    config = DataConfig(join=0.0, rehearsal_share=0.25)
    batches = epoch_of(source(clips(60), clips(7, "fr")), config, 1, 0)
    languages = Counter(excerpt.language for excerpt in excerpts_in(batches))
    assert languages == {"en": 60, "fr": 20}
    often = Counter(excerpt.parts[0].audio for excerpt in excerpts_in(batches) if excerpt.language == "fr")
    assert set(often.values()) == {2, 3}


def share_of_padding(batches: list[list[Example]]) -> float:
    shown = sum(max(example.context for example in batch) * len(batch) for batch in batches)
    return 1 - sum(excerpt.seconds for excerpt in excerpts_in(batches)) / shown


@pytest.mark.parametrize(("count", "join"), [(30, 0.0), (30, 0.8), (300, 0.5)])
def test_little_of_an_epoch_is_padding(count: int, join: float) -> None:
    short = [replace(each, duration=each.duration + n / 97) for n, each in enumerate(clips(count))]
    config = DataConfig(join=join, margin=1.0, silence=1.0)
    for most in (0.05, 0.08, 0.2):
        batches = epoch_of(source(short), replace(config, padding=most), 1, 0)
        assert 0.25 * most < share_of_padding(batches) <= most
    free = epoch_of(source(short), replace(config, padding=1.0), 1, 0)
    assert share_of_padding(free) > 0.2
    shown = {context_for(example.excerpt.seconds) for batch in free for example in batch} | {30}
    assert all(example.context in shown for batch in free for example in batch)


@pytest.mark.parametrize("name", ["timestamps", "previous", "lead", "full_context", "margin", "short"])
def test_probabilities(name: str) -> None:
    long = [record(*[f"word {n}." for n in range(40)], audio=f"/{n}.wav") for n in range(20)]

    def share(probability: float) -> float:
        config = replace(DataConfig(silence=0.0, join=0.0, short=1.0, padding=1.0), **{name: probability})
        examples = [e for batch in epoch_of(source(long), config, 3, 0) for e in batch]
        shown = {
            "timestamps": lambda e: TOKENIZER.no_timestamps not in e.target.tokens,
            "previous": lambda e: e.target.tokens[0] == TOKENIZER.sot_prev or not e.excerpt.previous,
            "lead": lambda e: e.excerpt.parts[0].before > 0,
            "full_context": lambda e: e.context == 30,
            "margin": lambda e: e.context == int(e.context),
            "short": lambda e: e.excerpt.seconds < 23,
        }[name]
        return sum(map(shown, examples)) / len(examples)

    low, half, high = share(0), share(0.5), share(1)
    assert low < half < high
    if name in {"timestamps", "lead"}:
        assert (low, high) == (0, 1)
        assert half == pytest.approx(0.5, abs=0.15)


def test_silence_is_used_at_its_rate() -> None:
    empty = [replace(record("x"), captions=(), duration=20.0, audio=f"/{n}.wav") for n in range(200)]
    batches = epoch_of(source(empty), DataConfig(silence=0.2, short=0.0), 0, 0)
    assert 20 <= len(excerpts_in(batches)) <= 60
    assert {e.target.tokens for b in batches for e in b} == {(TOKENIZER.sot, TOKENIZER.no_speech, TOKENIZER.eot)}


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    path = tmp_path_factory.mktemp("noise") / "noise.wav"
    samples = (0.1 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)).astype(np.float32)
    write_wav(path, samples)
    return path, samples


def test_samples_of_an_excerpt(noise: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, samples = noise
    store = SampleStore(tmp_path / "store")
    parts = (Part(audio=str(path), start=0.5, end=1.0), Part(audio=str(path), start=1.5, end=3.0, before=0.25))
    excerpt = Excerpt(parts=parts, language="en", task="transcribe", captions=())
    found = store.excerpt(excerpt)
    second = SAMPLE_RATE
    wanted = [samples[second // 2 : second], np.zeros(second // 4), samples[3 * second // 2 :], np.zeros(second)]
    assert found == pytest.approx(np.concatenate(wanted), abs=2e-4)
    assert len(list((tmp_path / "store").iterdir())) == 1
    with pytest.raises(InputError, match="cannot be read"):
        store.stretch("/none.wav", 0, 1)


def test_batches(noise: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, _ = noise
    store = SampleStore(tmp_path / "store")
    records = [
        record("the hot word.", seconds=1.0, audio=str(path)),
        record("it.", seconds=0.5, audio=str(path), language="fr"),
    ]
    (examples,) = epoch_of(source(records), DataConfig(join=0.0, lead=0.0, full_context=0.0, padding=1.0), 0, 0)
    batch = make_batch(examples, store, 80, PLAIN, np.random.default_rng(0))
    assert batch.mel.shape == (2, 80, round(max(e.context for e in examples) * 100))
    for row, example in enumerate(examples):
        samples = store.excerpt(example.excerpt)
        padded = np.pad(samples, (0, batch.mel.shape[2] * 160 - len(samples)))
        assert np.array_equal(batch.mel[row], log_mel(padded, 80))
        count = len(example.target.tokens) - 1
        assert tuple(batch.tokens[row, :count]) == example.target.tokens[:-1]
        assert tuple(batch.labels[row, :count]) == example.target.labels
        assert (batch.labels[row, count:] == IGNORED).all()
    assert batch.targets == sum(len(example.target.tokens) - example.target.given for example in examples)
    assert batch.seconds == pytest.approx(sum(e.excerpt.seconds for e in examples))


@given(st.integers(0, 2**32 - 1), st.integers(1, 48_000))
def test_masks_cover_no_more_than_they_may(seed: int, samples: int) -> None:
    rng = np.random.default_rng(seed)
    mel = rng.standard_normal((80, 300)).astype(np.float32)
    config = RegularisationConfig(time_masks=1, frequency_masks=1, time_mask_frames=40, frequency_mask_bins=15)
    changed = masked(mel, samples, config, rng) != mel
    rows, columns = changed.all(axis=1), changed.all(axis=0)
    assert rows.sum() <= 15
    assert columns.sum() <= min(40, samples // 160 // 5)
    assert not changed[~rows][:, ~columns].any()


def test_ahead_keeps_the_order_of_items_and_errors() -> None:
    def failing():
        yield from range(3)
        raise InputError("gone")

    ahead = Ahead(failing())
    assert list(itertools.islice(ahead, 3)) == [0, 1, 2]
    with pytest.raises(InputError, match="gone"):
        next(ahead)
    endless = Ahead(itertools.count(), most=2)
    assert next(endless) == 0
    endless.close()
    assert list(Ahead(iter([1, 2]))) == [1, 2]

"""States on disk: extracted once, of equal lengths together, never padded, within their limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from layered_encoder import LayeredEncoder
from speech import write_wav

from mtasr.arrays import Float32Array
from mtasr.audio.read import open_audio
from mtasr.data.samples import read_samples
from mtasr.encoders.extract import extract_blocks
from mtasr.errors import InputError
from mtasr.networks.context import ContextEncoder
from mtasr.networks.dimensions import EncoderDimensions
from mtasr.networks.log_mel import LogMelEncoder
from mtasr.networks.whisper_encoder import WhisperEncoder
from mtasr.probing.clip_samples import ClipReader
from mtasr.probing.heads import normalised
from mtasr.probing.labels import LabelledClip
from mtasr.probing.states import StateStore, identity_of, padded, shuffled


@pytest.fixture
def clips(tmp_path: Path) -> list[LabelledClip]:
    """Five clips of .2 s, and two of other lengths."""
    rng = np.random.default_rng(0)
    write_wav(tmp_path / "a.wav", rng.normal(0, 0.1, 32000).astype(np.float32))
    times = [(0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1), (1, 1.3), (1.3, None)]
    return [LabelledClip(audio=tmp_path / "a.wav", start=start, end=end) for start, end in times]


def ignored() -> None:
    """Nobody wants to know."""


def test_clips_of_one_length_are_extracted_together_and_once(tmp_path: Path, clips: list[LabelledClip]) -> None:
    encoder = LayeredEncoder()
    store = StateStore(encoder, tmp_path / "states", 1e8)
    told = []
    store.prepare(clips, whole=True, done=lambda: told.append(1))
    assert sorted(encoder.heard) == [(1, 4800), (1, 11200), (5, 3200)]
    assert len(told) == len(clips)
    for clip in clips:
        alone = StateStore(LayeredEncoder(), tmp_path / "none", 0).states(clip)
        assert np.allclose(store.states(clip), alone, atol=1e-5)
        assert np.allclose(store.means(clip), alone.mean(axis=1), atol=1e-5)
    again = StateStore(encoder, tmp_path / "states", 1e8)
    again.prepare(clips, whole=True, done=ignored)
    assert np.array_equal(again.states(clips[0]), store.states(clips[0]))
    assert len(encoder.heard) == 3
    assert not (tmp_path / "none").exists()


def test_each_recording_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        write_wav(tmp_path / f"{name}.wav", np.full(3200, 0.1, np.float32))
    decoded: list[str] = []

    def counted(audio: Path) -> AbstractContextManager[Iterable[Float32Array]]:
        decoded.append(audio.name)
        return open_audio(audio)

    monkeypatch.setattr("mtasr.probing.clip_samples.open_audio", counted)
    encoder = LayeredEncoder()
    clips = [LabelledClip(audio=tmp_path / f"{name}.wav", start=start) for name in "bca" for start in (0.1, 0.0)]
    StateStore(encoder, tmp_path / "states", 1e8).prepare(clips, whole=True, done=ignored)
    assert decoded == ["a.wav", "b.wav", "c.wav"]
    assert sorted(encoder.heard) == [(3, 1600), (3, 3200)]


class Blocks(list[Float32Array]):
    """A recording of four seconds in small blocks."""

    duration = 4.0

    def __enter__(self) -> Blocks:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_a_long_recording_is_not_held_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the clips overlap or leave gaps, they are what the recording has there."""
    whole = np.random.default_rng(0).normal(0, 0.1, 64_000).astype(np.float32)
    write_wav(tmp_path / "a.wav", whole)
    blocks = Blocks(np.split(whole, range(1000, 64_000, 1000)))
    monkeypatch.setattr("mtasr.probing.clip_samples.open_audio", lambda audio: blocks)
    monkeypatch.setattr("mtasr.probing.clip_samples._REMEMBERED", 1.0)
    times = [(0.0, 0.2), (0.1, 0.9), (0.1, 0.3), (2.0, 2.5), (3.9, 4.05), (3.95, None)]
    clips = [LabelledClip(audio=tmp_path / "a.wav", start=start, end=end) for start, end in times]
    reader = ClipReader(10.0)
    monkeypatch.setattr("mtasr.probing.clip_samples._REMEMBERED", 1.0)
    for (clip, samples), (start, end) in zip(reader.in_order(clips), times, strict=True):
        wanted = whole[round(start * 16000) : None if end is None else round(end * 16000)]
        assert np.array_equal(samples, wanted)
        assert np.array_equal(reader.samples(clip), wanted)
    assert reader._recording is None
    with pytest.raises(InputError, match=r"ends at 4\.00 s"):
        reader.samples(LabelledClip(audio=tmp_path / "a.wav", start=3.0, end=4.2))
    with pytest.raises(InputError, match=r"may last 2 s at most"):
        ClipReader(2.0).samples(LabelledClip(audio=tmp_path / "a.wav"))
    (held,) = (samples for _, samples in reader.in_order(clips[3:4]))
    assert held.base is None
    assert held.size == 8000


def test_a_damaged_file_is_extracted_again(tmp_path: Path, clips: list[LabelledClip]) -> None:
    encoder = LayeredEncoder()
    store = StateStore(encoder, tmp_path / "states", 1e8)
    wanted = store.states(clips[0])
    for damaged in (b"", b"\x93NUMPY", b"x" * 100):
        for path in (tmp_path / "states").iterdir():
            path.write_bytes(damaged)
        assert np.array_equal(StateStore(encoder, tmp_path / "states", 1e8).states(clips[0]), wanted)


def test_the_limit_holds_and_states_of_others_give_way(tmp_path: Path, clips: list[LabelledClip]) -> None:
    folder = tmp_path / "states"
    first, second = LayeredEncoder(1), LayeredEncoder(2)
    assert identity_of(first) != identity_of(second)
    limit = 5 * 3 * 10 * 24 * 4 + 1000  # the states of five clips of ten frames

    def names() -> set[str]:
        return {path.name for path in folder.iterdir()}

    store = StateStore(first, folder, limit)
    for clip in clips:
        store.states(clip)
    assert sum(path.stat().st_size for path in folder.iterdir()) < limit + 1000
    kept = names()
    assert kept
    other = StateStore(second, folder, limit)
    assert other.states(clips[0]).shape == (3, 10, 24)
    assert len(names() - kept) == 1
    assert sum(path.stat().st_size for path in folder.iterdir()) < limit + 1000


def test_files_of_others_in_the_folder_stay(tmp_path: Path, clips: list[LabelledClip]) -> None:
    folder = tmp_path / "states"
    folder.mkdir()
    names = ("my-embeddings.npy", f"{'0' * 16}-plain-{'0' * 32}-mine.npy", f"{'0' * 16}-plain-{'0' * 32}-states.npy")
    for name in names:
        np.save(folder / name, np.zeros(1000))
    StateStore(LayeredEncoder(), folder, 6000).states(clips[0])
    found = {path.name for path in folder.iterdir()}
    assert set(names[:2]) < found
    assert names[2] not in found


def test_a_changed_recording_has_other_states(tmp_path: Path, clips: list[LabelledClip]) -> None:
    store = StateStore(LayeredEncoder(), tmp_path / "states", 1e8)
    before = store.states(clips[0])
    write_wav(tmp_path / "a.wav", np.zeros(16000, np.float32))
    after = StateStore(LayeredEncoder(), tmp_path / "states", 1e8).states(clips[0])
    assert not np.array_equal(before, after)


def test_sizes_are_root_mean_squares(tmp_path: Path, clips: list[LabelledClip]) -> None:
    store = StateStore(LayeredEncoder(), tmp_path / "states", 1e8)
    squares = [np.square(store.states(clip)).mean(axis=(1, 2)) for clip in clips[:3]]
    assert np.allclose(store.sizes(clips[:3]), np.sqrt(np.mean(squares, axis=0)), rtol=1e-5)
    normal = StateStore(LayeredEncoder(), tmp_path / "states", 1e8, layer_norm=True)
    assert np.allclose(normal.sizes(clips[:3]), 1, atol=1e-3)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (lambda clip: replace(clip, start=5.0, end=6.0), "ends at 2.00 s"),
        (lambda clip: replace(clip, end=3.0), "ends at 2.00 s"),
        (lambda clip: replace(clip, start=0.0, end=0.01), "gives no features"),
        (lambda clip: replace(clip, audio=clip.audio.with_name("gone.wav")), "cannot be read"),
    ],
)
def test_a_clip_that_cannot_be_heard_is_named(
    changed: Callable[[LabelledClip], LabelledClip], problem: str, tmp_path: Path, clips: list[LabelledClip]
) -> None:
    store = StateStore(LayeredEncoder(), tmp_path / "states", 1e8)
    with pytest.raises(InputError, match=problem):
        store.prepare([changed(replace(clips[0], origin="labels, line 3"))], whole=True, done=ignored)


def test_a_clip_of_hours_is_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "long.wav", np.zeros(16000 * 181, np.float32))
    store = StateStore(LayeredEncoder(), tmp_path / "states", 1e8)
    with pytest.raises(InputError, match="180 s at most"):
        store.states(LabelledClip(audio=tmp_path / "long.wav"))


def test_clips_that_are_too_long_are_counted_before_any_is_heard(tmp_path: Path) -> None:
    for name, seconds in (("a", 1), ("z", 181)):
        write_wav(tmp_path / f"{name}.wav", np.zeros(16000 * seconds, np.float32))
    encoder = LayeredEncoder()
    clips = [
        LabelledClip(audio=tmp_path / "a.wav", origin="line 1"),
        LabelledClip(audio=tmp_path / "z.wav", origin="line 2"),
        LabelledClip(audio=tmp_path / "z.wav", start=0.5, origin="line 3"),
        LabelledClip(audio=tmp_path / "z.wav", start=2.0, origin="line 4"),
    ]
    store = StateStore(encoder, tmp_path / "states", 1e8)
    with pytest.raises(InputError, match="line 2: the first of 2 clips of more than 180 s"):
        store.prepare(clips, whole=True, done=ignored)
    with pytest.raises(InputError, match="line 5: the first of 1 clips"):
        store.prepare([replace(clips[1], end=180.5, origin="line 5")], whole=True, done=ignored)
    assert not encoder.heard


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_clip_longer_than_the_encoder_hears_has_states_from_windows(
    context: int, layer_norm: bool, tmp_path: Path
) -> None:
    """Those of `mtasr.encoders.extract`, by a Whisper encoder of six seconds."""
    torch.manual_seed(0)
    whisper = WhisperEncoder(
        EncoderDimensions(n_mels=80, n_audio_ctx=300, n_audio_state=16, n_audio_head=2, n_audio_layer=1)
    ).eval()
    encoder = ContextEncoder(whisper, context) if context else whisper
    write_wav(tmp_path / "long.wav", np.random.default_rng(0).normal(0, 0.1, 16000 * 20).astype(np.float32))
    clip = LabelledClip(audio=tmp_path / "long.wav")
    store = StateStore(encoder, tmp_path / "states", 1e8, layer_norm=layer_norm)
    store.prepare([clip], whole=True, done=ignored)
    found = store.states(clip)
    assert found.shape == (2, 1000, encoder.width)
    blocks = extract_blocks(encoder, [read_samples(clip.audio)], (0, 1))
    wanted = torch.from_numpy(np.concatenate([block.states for block in blocks], axis=1))
    assert np.allclose(found, normalised(wanted) if layer_norm else wanted, atol=1e-5)


def test_an_encoder_too_short_for_windows_hears_what_it_can(tmp_path: Path) -> None:
    whisper = WhisperEncoder(
        EncoderDimensions(n_mels=80, n_audio_ctx=50, n_audio_state=16, n_audio_head=2, n_audio_layer=1)
    )
    write_wav(tmp_path / "long.wav", np.full(16000 * 2, 0.1, np.float32))
    store = StateStore(whisper, tmp_path / "states", 1e8)
    clip = LabelledClip(audio=tmp_path / "long.wav", end=1.0)
    assert store.states(clip).shape == (2, 50, 16)
    with pytest.raises(InputError, match="the first of 1 clips of more than 1 s"):
        store.prepare([replace(clip, end=1.5)], whole=True, done=ignored)


def test_an_identity_is_of_weights_and_sizes() -> None:
    assert identity_of(LayeredEncoder()) == identity_of(LayeredEncoder())
    assert identity_of(LogMelEncoder(8)) != identity_of(LogMelEncoder(9))
    log_mel = LogMelEncoder(8)
    assert len({identity_of(each) for each in (log_mel, ContextEncoder(log_mel, 1), ContextEncoder(log_mel, 2))}) == 3


def test_an_identity_knows_the_heads_of_attention() -> None:
    one, other = (
        WhisperEncoder(
            EncoderDimensions(n_mels=80, n_audio_ctx=50, n_audio_state=16, n_audio_head=heads, n_audio_layer=1)
        )
        for heads in (2, 4)
    )
    other.load_state_dict(one.state_dict())
    assert identity_of(one) != identity_of(other)


def test_neighbours_stand_side_by_side() -> None:
    torch.manual_seed(0)
    audio = torch.randn(2, 3200)
    encoder = ContextEncoder(LogMelEncoder(3), 2)
    (states,), (alone,) = encoder.states(audio), LogMelEncoder(3).states(audio)
    assert states.shape == (2, 10, 30)
    assert encoder.width == 30
    assert encoder.name == "log-mel+2"
    for frame in range(10):
        wanted = [alone[:, min(max(frame + step, 0), 9)] for step in (-2, -1, 0, 1, 2)]
        assert torch.equal(states[:, frame], torch.cat(wanted, dim=1))


def test_rows_are_padded_for_heads_only() -> None:
    batch, lengths = padded([np.ones((2, 3, 4), np.float32), np.ones((2, 5, 4), np.float32)])
    assert batch.shape == (2, 2, 5, 4)
    assert lengths.tolist() == [3, 5]
    assert batch.sum(dim=(1, 2, 3)).tolist() == [24, 40]


def test_every_place_is_drawn_once_in_each_round() -> None:
    drawn = shuffled(5, 2, np.random.default_rng(0))
    for _ in range(2):
        assert sorted(place for _ in range(3) for place in next(drawn)) == [0, 1, 2, 3, 4]

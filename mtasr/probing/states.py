"""The states of clips, extracted once: each clip alone or among clips of its own length, never padded.

A clip of up to 30 s is heard as a whole, a longer one in windows as by `mtasr.encoders.extract`, and so is one of more
than the encoder hears at once.

They are kept as .npy files in a folder of bounded size. What does not fit is extracted again whenever it is needed.

Letters in shapes: B clips of one length, N states of each frame (L + 1), S frames, D width of the encoder.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from mtasr.arrays import Float32Array, FloatArray
from mtasr.atomic import write_file
from mtasr.decoding.windows import LEAST_SECONDS
from mtasr.encoders.extract import extract_blocks
from mtasr.errors import InputError, ModelError, OutputError
from mtasr.networks.speech_encoder import SpeechEncoder, device_of, longest_seconds
from mtasr.probing.clip_samples import ClipReader, ClipSamples, check_lengths
from mtasr.probing.heads import normalised
from mtasr.probing.labels import LabelledClip
from mtasr.spans import SAMPLE_RATE
from mtasr.training.batches import Ahead

#: Seconds of a clip at most: the states of a batch of clips are in memory, all of the length of the longest.
LONGEST = 180.0
#: Seconds of a clip that is heard as a whole, and the least that an encoder must hear at once for windows.
_WHOLE, _WINDOW = 30.0, LEAST_SECONDS + 1
#: Clips that are extracted together, and seconds of clips that wait for others of their length.
_BATCH, _WAITING = 16, 300.0
#: Bytes of means that are kept in memory.
_MEMORY = 2 << 30

#: Raise it whenever the same encoder gives other states than before: what is on disk is then extracted again.
_VERSION = 1
#: The files of a store. Its folder may hold others, which stay.
_FILE = re.compile(r"[0-9a-f]{16}-(norm|plain)-[0-9a-f]{32}-(states|means)\.npy")


def identity_of(encoder: SpeechEncoder) -> str:
    """A digest of what decides an encoder's states: its class, sizes and weights, and not its name or folder."""
    network = cast(nn.Module, encoder)
    digest = hashlib.sha256()
    sizes = (encoder.width, encoder.layers, encoder.frame_seconds, encoder.offset_seconds)
    digest.update(f"{type(encoder).__name__} {sizes} {_settings_of(network)}".encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _settings_of(network: nn.Module) -> object:
    """What decides the states beside weights, such as the number of attention heads."""
    return getattr(network, "config", None) or getattr(network, "dims", "")


class StateStore:
    """States of clips by one frozen encoder, in evaluation mode.

    `folder` holds at most `most_bytes`, of any number of encoders. Where they are full, those of others are removed.
    With `layer_norm`, each state is normalised over its width.
    """

    def __init__(self, encoder: SpeechEncoder, folder: Path, most_bytes: float, *, layer_norm: bool = False) -> None:
        cast(nn.Module, encoder).eval()
        self.encoder, self.identity, self.layer_norm = encoder, identity_of(encoder), layer_norm
        self._device = device_of(encoder)
        hears = longest_seconds(encoder)
        #: Seconds of a clip at most, and of one that is heard as a whole.
        self.longest = LONGEST if hears >= _WINDOW else hears
        self._whole = min(_WHOLE, hears)
        self._reader = ClipReader(self.longest)
        self._folder, self._prefix = folder, f"{self.identity[:16]}-{'norm' if layer_norm else 'plain'}-"
        self._files = _sizes(folder)
        self._room = most_bytes - sum(self._files.values())
        self._digests: dict[tuple[Path, float, float | None], str] = {}
        self._means: dict[str, Float32Array] = {}
        self._memory = _MEMORY
        #: Clips, and bytes of their states, that `prepare` extracted and found no room for.
        self.unkept, self.unkept_bytes = 0, 0

    def states(self, clip: LabelledClip) -> Float32Array:
        """The states (N, S, D) of a clip. Raises `InputError`."""
        name = self._name(clip, "states")
        found = self._load(name, 3)
        if found is None:
            found = self._extracted([(clip, self._reader.samples(clip))])[0]
            self._save(name, found)
        return found

    def means(self, clip: LabelledClip) -> Float32Array:
        """The means (N, D) over the frames of a clip. Raises `InputError`."""
        return self._summary(clip)[:, :-1]

    def sizes(self, clips: Sequence[LabelledClip]) -> FloatArray:
        """The root mean square (N,) of each state over clips, each clip counting alike. Raises `InputError`."""
        squares = np.mean([self._summary(clip)[:, -1] for clip in clips], axis=0)
        sizes: FloatArray = np.sqrt(squares)
        return sizes

    def prepare(self, clips: Iterable[LabelledClip], *, whole: bool, done: Callable[[], object]) -> None:
        """Extract what is missing, clips of one length together; `done` is called for each clip.

        Without `whole`, only means are kept. Raises `InputError` for the first clip that cannot be used; for clips that
        are too long, before any is heard.
        """
        missing = []
        for clip in sorted(clips, key=lambda clip: (clip.audio, clip.start)):
            if self._kept(clip, whole=whole):
                done()
            else:
                missing.append(clip)
        check_lengths(missing, self.longest)
        recordings = itertools.groupby(missing, key=lambda clip: clip.audio)
        read = (self._reader.in_order(list(own)) for _, own in recordings)
        heard = Ahead(itertools.chain.from_iterable(read))  # the next ones, while the encoder works
        try:
            for batch in _of_equal_length(heard):
                self._keep(batch, whole=whole, done=done)
        finally:
            heard.close()

    def _kept(self, clip: LabelledClip, *, whole: bool) -> bool:
        if self._load_summary(clip) is None:
            return False
        return not whole or self._name(clip, "states") in self._files

    def _keep(self, batch: Sequence[ClipSamples], *, whole: bool, done: Callable[[], object]) -> None:
        for (clip, _), states in zip(batch, self._extracted(batch), strict=True):
            self._save_summary(clip, states)
            if whole and not self._save(self._name(clip, "states"), states):
                self.unkept, self.unkept_bytes = self.unkept + 1, self.unkept_bytes + states.nbytes
            done()

    def _summary(self, clip: LabelledClip) -> Float32Array:
        """The means of the states, and in the last column their mean squares: (N, D + 1)."""
        found = self._load_summary(clip)
        return self._save_summary(clip, self.states(clip)) if found is None else found

    def _load_summary(self, clip: LabelledClip) -> Float32Array | None:
        name = self._name(clip, "means")
        if name not in self._means:
            found = self._load(name, 2)
            if found is None:
                return None
            self._remember(name, found)
            return found
        return self._means[name]

    def _save_summary(self, clip: LabelledClip, states: Float32Array) -> Float32Array:
        squares = np.square(states, dtype=np.float64).mean(axis=(1, 2))
        summary = np.concatenate([states.mean(axis=1, dtype=np.float64), squares[:, None]], axis=1).astype(np.float32)
        name = self._name(clip, "means")
        self._remember(name, summary)
        self._save(name, summary)
        return summary

    def _remember(self, name: str, summary: Float32Array) -> None:
        if summary.nbytes <= self._memory:
            self._memory -= summary.nbytes
            self._means[name] = summary

    def _extracted(self, batch: Sequence[ClipSamples]) -> list[Float32Array]:
        """The states (N, S, D) of clips of one length."""
        first, samples = batch[0]
        if len(samples) > self._whole * SAMPLE_RATE:
            return [self._in_windows(*each) for each in batch]
        audio = torch.from_numpy(np.stack([samples for _, samples in batch])).to(self._device)
        try:
            with torch.inference_mode():
                states = torch.stack(self.encoder.states(audio), dim=1).float()
                if self.layer_norm:
                    states = normalised(states)
        except ModelError as exc:
            raise first.error(str(exc)) from exc
        if not states.isfinite().all():
            raise first.error(f"{self.encoder.name} gives states that are no numbers")
        return list(states.cpu().numpy())

    def _in_windows(self, clip: LabelledClip, samples: Float32Array) -> Float32Array:
        """The states (N, S, D) of a long clip."""
        layers = range(self.encoder.layers + 1)
        try:
            found = np.concatenate([block.states for block in extract_blocks(self.encoder, [samples], layers)], axis=1)
        except ModelError as exc:
            raise clip.error(str(exc)) from exc
        if self.layer_norm:
            found = normalised(torch.from_numpy(found)).numpy()
        if not np.isfinite(found).all():
            raise clip.error(f"{self.encoder.name} gives states that are no numbers")
        return found

    # The files

    def _name(self, clip: LabelledClip, what: str) -> str:
        place = clip.audio, clip.start, clip.end
        if place not in self._digests:  # once: each step of training asks for the names of its clips
            self._digests[place] = _digest(clip)
        return f"{self._prefix}{self._digests[place]}-{what}.npy"

    def _load(self, name: str, dimensions: int) -> Float32Array | None:
        """What is kept under a name; None if nothing is, or if the file is damaged."""
        if name not in self._files:
            return None
        with contextlib.suppress(OSError, ValueError, EOFError):
            found = np.load(self._folder / name, allow_pickle=False)
            sized = found.ndim == dimensions and len(found) == self.encoder.layers + 1
            if found.dtype == np.float32 and sized:
                kept: Float32Array = found
                return kept
        return None

    def _save(self, name: str, array: Float32Array) -> bool:
        """Keep an array if there is room; returns whether there was. Raises `OutputError`."""
        if not self._made_room(array.nbytes):
            return False

        def write(path: Path) -> None:
            with path.open("wb") as stream:
                np.save(stream, array)

        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(f"cannot write {self._folder}: {exc.strerror or exc}") from exc
        write_file(self._folder / name, write)
        self._room -= array.nbytes - self._files.get(name, 0)
        self._files[name] = array.nbytes
        return True

    def _made_room(self, wanted: int) -> bool:
        """Whether so many bytes fit, after states of other encoders were removed, the oldest first."""
        others = (name for name in list(self._files) if not name.startswith(self._prefix))
        while self._room < wanted and (name := next(others, None)) is not None:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink(missing_ok=True)
                self._room += self._files.pop(name)
        return self._room >= wanted


def _digest(clip: LabelledClip) -> str:
    """What names the states of a clip as long as its recording does not change. Raises `InputError`."""
    try:
        info = clip.audio.stat()
    except OSError as exc:
        raise InputError(f"{clip.audio}: cannot be read: {exc.strerror or exc}") from exc
    key = f"{_VERSION}\0{clip.audio.absolute()}\0{info.st_size}\0{info.st_mtime_ns}\0{clip.start}\0{clip.end}"
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:32]


def _of_equal_length(heard: Iterable[ClipSamples]) -> Iterator[list[ClipSamples]]:
    """Clips in batches of equally many samples. Few wait for others of their length."""
    waiting: dict[int, list[ClipSamples]] = defaultdict(list)
    seconds = 0.0
    for clip, samples in heard:
        count = len(samples)
        waiting[count].append((clip, samples))
        seconds += count / SAMPLE_RATE
        for length in [count] if len(waiting[count]) == _BATCH else list(waiting) if seconds > _WAITING else ():
            batch = waiting.pop(length)
            seconds -= len(batch) * length / SAMPLE_RATE
            yield batch
    yield from waiting.values()


def _sizes(folder: Path) -> dict[str, int]:
    """The files of stores of all encoders in a folder with their bytes, the oldest first."""
    found = []
    for path in folder.glob("*.npy"):
        with contextlib.suppress(OSError):
            if not _FILE.fullmatch(path.name):
                continue
            info = path.stat()
            found.append((info.st_mtime_ns, path.name, info.st_size))
    return {name: size for _, name, size in sorted(found)}


def padded(arrays: Sequence[Float32Array]) -> tuple[Tensor, Tensor]:
    """Arrays (N, S, D) of different S as one tensor (B, N, S, D) with zeros after each, and their lengths (B,).

    This is for heads, which know the lengths; an encoder never sees it.
    """
    lengths = torch.tensor([array.shape[1] for array in arrays])
    states, _, width = arrays[0].shape
    batch = torch.zeros(len(arrays), states, int(lengths.max()), width)
    for row, array in enumerate(arrays):
        batch[row, :, : array.shape[1]] = torch.from_numpy(array)
    return batch, lengths


def shuffled(count: int, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Batches of places without end: all of `count` once in random order, then all again."""
    while True:
        order = rng.permutation(count)
        for first in range(0, count, size):
            yield order[first : first + size].tolist()

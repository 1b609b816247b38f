"""k-means over frames of speech: the centres are units, and a frame has the unit whose centre is nearest.

Frames come as a stream of any length. A random sample of bounded size is kept (`FrameSample`) and divided
(`fit_centres`): k-means++ (Arthur and Vassilvitskii 2007), mini-batches (Sculley 2010), passes over the whole sample.
The same stream and seed give the same centres on the same machine.

Letters in shapes: F frames, D values of a frame, K units.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtasr.arrays import BoolArray, Float32Array, IntArray
from mtasr.data.records import written_whole
from mtasr.errors import InputError, ModelIntegrityError, ModelNotFoundError, UsageError
from mtasr.models.speakers.array_file import stored_array
from mtasr.models.speakers.stored_zip import StoredZip
from mtasr.pretraining.units.foreign_centres import foreign_centres

#: Frames of a mini-batch, and frames whose nearest centres are computed at once.
_BATCH = 10_000
#: Passes over its own frames that an initial set of centres makes before it is judged.
_START_PASSES = 10
#: Most mini-batches, and mini-batches in a row that may bring nothing new.
_MOST_BATCHES, _PATIENCE = 1000, 20
#: Most passes over the whole sample, and the share of the distances that a pass must save to be followed by another.
_MOST_PASSES, _LEAST_GAIN = 30, 1e-4
#: Bytes of frames that a sample keeps by default.
_MOST_BYTES = 512 << 20
#: Most units, so that a label fits 16 bits.
MOST_UNITS = 1 << 16

#: What else gives a file of centres.
_HOW = "numpy.savez(FILE, centres=...) writes a file of them"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCentres:
    """Centres of units, and whose frames they divide."""

    #: (K, D).
    centres: Float32Array
    #: Name of the encoder whose states the frames are, or "mfcc"; empty if that is unknown.
    encoder: str = ""
    #: Which of its states, counted from 0, the input of its first layer.
    layer: int = 0
    #: The digest of that encoder's weights (`mtasr.probing.states.identity_of`); empty if it is unknown.
    identity: str = ""

    @property
    def units(self) -> int:
        return len(self.centres)

    def assign(self, frames: Float32Array, device: str | torch.device = "cpu") -> IntArray:
        """The unit (F,) of each frame (F, D), from 0 to K - 1.

        Raises `InputError` for frames of another width, or with values that are not finite.
        """
        checked = _checked(frames)
        if checked.shape[1] != self.centres.shape[1]:
            raise InputError(
                f"the centres are for frames of {self.centres.shape[1]} values, not {checked.shape[1]}: "
                "they come from another encoder"
            )
        # Near the origin, float32 tells distances best.
        origin = self.centres.mean(axis=0)
        centres, step = torch.from_numpy(self.centres - origin).to(device), _rows_at_once(self.units)
        units = [
            _nearest(torch.from_numpy(checked[start : start + step] - origin).to(device), centres)[0].cpu().numpy()
            for start in range(0, len(checked), step)
        ]
        return np.concatenate([np.zeros(0, np.int64), *units])

    def inertia(self, frames: Float32Array) -> float:
        """The mean squared distance of frames (F, D) from their nearest centres."""
        nearest = self.centres[self.assign(frames)]
        return float(np.square(frames - nearest, dtype=np.float64).sum(axis=1).mean()) if len(frames) else 0.0

    def save(self, path: Path) -> None:
        """Write a .npz file: `centres` (K, D) float32, `encoder`, `layer` and `identity`. Raises `OutputError`."""
        with written_whole(path) as staging, staging.open("wb") as stream:
            np.savez(
                stream,
                allow_pickle=False,
                centres=self.centres.astype("<f4"),
                encoder=np.array(self.encoder, "<U"),
                layer=np.array(self.layer, "<i8"),
                identity=np.array(self.identity, "<U"),
            )


def read_centres(path: Path) -> UnitCentres:
    """Centres that `UnitCentres.save` wrote, or that other programs did.

    Those have `numpy.savez(path, centres=...)`, `.npy` files, and scikit-learn's k-means in joblib's form, of which no
    code is run (`mtasr.pretraining.units.foreign_centres`). Raises `ModelNotFoundError`, and `ModelIntegrityError` for
    a file that is damaged or holds anything else.
    """
    if not path.exists():
        raise ModelNotFoundError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        foreign = foreign_centres(path)
        if foreign is None:
            raise ModelIntegrityError(f"{path} is damaged or holds no centres; {_HOW}")
        try:
            return UnitCentres(centres=_matrix(foreign))
        except ValueError as exc:
            raise ModelIntegrityError(f"{path}: {exc}") from exc
    with StoredZip(path) as file:
        if "centres.npy" not in file.members:
            raise ModelIntegrityError(f"{path} holds no centres; {_HOW}")
        found = {name.removesuffix(".npy"): _array(file, name) for name in file.members}
        if unknown := found.keys() - {"centres", "encoder", "layer", "identity"}:
            raise file.damaged(f"{min(unknown)} is no part of centres")
        defaults = {"centres": 0.0, "encoder": "", "layer": 0, "identity": ""}
        centres, encoder, layer, identity = (found.get(name, np.array(default)) for name, default in defaults.items())
        try:
            centres = _matrix(centres)
        except ValueError as exc:
            raise file.damaged(str(exc)) from exc
        texts = all(each.ndim == 0 and each.dtype.kind == "U" for each in (encoder, identity))
        if not texts or layer.ndim or layer.dtype.kind != "i" or layer < 0:
            raise file.damaged("encoder must be a name, and layer a number")
        try:
            return UnitCentres(centres=centres, encoder=str(encoder), layer=int(layer), identity=str(identity))
        except (SystemError, ValueError) as exc:  # NumPy's, for numbers that are no characters
            raise file.damaged("encoder is no text") from exc


def _matrix(centres: npt.NDArray[Any]) -> Float32Array:
    """Centres (K, D) in float32. Raises `ValueError`."""
    if centres.ndim != 2 or centres.dtype.kind != "f" or not centres.size or len(centres) > MOST_UNITS:
        raise ValueError(f"centres must be a matrix of numbers with at most {MOST_UNITS} rows")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
        found = np.ascontiguousarray(centres, np.float32)
    if not np.isfinite(found).all():
        raise ValueError("a centre is not finite")
    return found


def _array(file: StoredZip, name: str) -> npt.NDArray[Any]:
    """An array whose size is what its header says."""
    stored = stored_array(file, name)
    if stored.dtype.hasobject or not stored.dtype.itemsize or not stored.is_whole:
        raise file.damaged(f"{name} is no array of numbers")
    return np.frombuffer(stored.values, stored.dtype).reshape(stored.shape, order="F" if stored.fortran_order else "C")


class FrameSample:
    """A random sample of a stream of frames, uniform for speech, with at most the share `silence` of other frames.

    It keeps at most `most_bytes` of speech, and of other frames the share `silence` of that; `frames` copies them.
    Silence is limited because it would else take many of the units: its frames are alike but for noise. Which frames
    are kept depends on the seed and on the stream, not on how it is cut.
    """

    def __init__(self, *, silence: float = 0.2, most_bytes: int = _MOST_BYTES, seed: int = 0) -> None:
        if not 0 <= silence <= 1:
            raise UsageError(f"the share of silence must be between 0 and 1, not {silence}")
        self._silence = silence
        # Both may be full, so that each has as much room as it can need in the end.
        self._speech = _Reservoir(most_bytes if silence < 1 else 0, np.random.default_rng([seed, 0]))
        self._rest = _Reservoir(int(most_bytes * silence), np.random.default_rng([seed, 1]))

    def add(self, frames: Float32Array, speech: BoolArray) -> None:
        """Show the next frames (F, D), and which of them (F,) are speech. Raises `InputError`, like `fit_centres`."""
        checked = _checked(frames)
        speech = speech if self._silence < 1 else np.zeros_like(speech)
        self._speech.add(checked[speech])
        self._rest.add(checked[~speech])

    def frames(self) -> Float32Array:
        """The sample (F, D), at first the speech in it. Raises `InputError` if there was no frame, or no speech."""
        speech, rest = self._speech.rows, self._rest.rows
        if self._silence < 1:
            if not len(speech):
                raise InputError("there is no speech to learn units from")
            rest = rest[: int(len(speech) * self._silence / (1 - self._silence))]
        if not len(speech) + len(rest):
            raise InputError("there is no audio to learn units from")
        return np.concatenate([part for part in (speech, rest) if len(part)])


class _Reservoir:
    """Rows of which each has the same chance to be kept (Vitter 1985, algorithm R)."""

    def __init__(self, most_bytes: int, rng: np.random.Generator) -> None:
        self._most_bytes, self._rng = most_bytes, rng
        self._rows = np.zeros((0, 0), np.float32)
        self._seen = 0

    def add(self, rows: Float32Array) -> None:
        if not len(rows):
            return
        if not self._seen:
            # Not filled here, so that the system gives memory only to the rows that are written.
            self._rows = np.empty((max(1, self._most_bytes // (4 * rows.shape[1])), rows.shape[1]), np.float32)
        elif rows.shape[1] != self._rows.shape[1]:
            raise InputError(f"a frame has {rows.shape[1]} values where others have {self._rows.shape[1]}")
        free = min(len(rows), max(0, len(self._rows) - self._seen))
        self._rows[self._seen : self._seen + free] = rows[:free]
        later = rows[free:]
        self._seen += free
        places = (self._rng.random(len(later)) * (self._seen + 1 + np.arange(len(later)))).astype(np.int64)
        kept = np.flatnonzero(places < len(self._rows))
        self._rows[places[kept]] = later[kept]  # of two rows for one place, the later one stays
        self._seen += len(later)

    @property
    def rows(self) -> Float32Array:
        return self._rows[: self._seen]


def fit_centres(
    frames: Float32Array, units: int, *, seed: int = 0, starts: int = 20, device: str | torch.device = "cpu"
) -> Float32Array:
    """Centres (K, D) of `units` groups of frames (F, D). They differ, and each is the nearest one of some frame.

    The best of `starts` initial sets of centres is taken. Raises `UsageError` for a number of units that makes no
    sense, and `InputError` for values that are not finite and for fewer different frames than units.
    """
    if not 1 <= units <= MOST_UNITS:
        raise UsageError(f"the number of units must be between 1 and {MOST_UNITS}, not {units}")
    if starts < 1:
        raise UsageError(f"there must be at least one start, not {starts}")
    checked = _checked(frames)
    if not _has_distinct(checked, units):
        raise InputError(f"{units} units need as many different frames of speech; take more audio or fewer units")
    origin = checked.mean(axis=0, dtype=np.float64).astype(np.float32)
    # Shuffled, so that any stretch of the rows is a random sample; moved, because float32 tells distances best there.
    rows = torch.from_numpy(checked[np.random.default_rng([seed, 2]).permutation(len(checked))])
    rows -= torch.from_numpy(origin)
    chance = torch.Generator().manual_seed(seed)
    centres = _started(rows, units, starts, chance, torch.device(device))
    centres = _by_batches(rows, centres)
    centres = _by_passes(rows, centres)
    found: Float32Array = centres.cpu().numpy() + origin
    return found


def _checked(frames: Float32Array) -> Float32Array:
    if frames.ndim != 2:
        raise ValueError(f"frames must have the shape (F, D), not {frames.shape}")
    frames = np.asarray(frames, np.float32)
    if not np.isfinite(frames).all():
        raise InputError("a frame has values that are not finite, so its encoder is damaged")
    return frames


def _has_distinct(frames: Float32Array, wanted: int) -> bool:
    seen = set()
    for frame in frames:
        seen.add(frame.tobytes())
        if len(seen) >= wanted:
            return True
    return False


def _nearest(rows: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centre of each row, and the squared distance from it: (F,), (F,)."""
    scores = centres.square().sum(dim=1) - 2 * rows @ centres.T  # (F, K)
    units = scores.argmin(dim=1)
    distances = scores.gather(1, units[:, None])[:, 0] + rows.square().sum(dim=1)
    return units, distances.clamp_min(0)


def _started(rows: Tensor, units: int, starts: int, chance: torch.Generator, device: torch.device) -> Tensor:
    """The best of several initial sets of centres (K, D), each from its own part of the rows if there are enough.

    Each makes a few passes over its part before it is judged: what comes first out of k-means++ tells little.
    """
    size = min(len(rows), max(_BATCH, 3 * units))
    judges = rows[-size:]
    best, least = rows[:0], math.inf
    for _ in range(starts):
        first = int(torch.randint(len(rows) - size + 1, (), generator=chance))
        part = rows[first : first + size].to(device)
        centres = _plus_plus(part, units, chance)
        for _ in range(_START_PASSES):
            counts, sums, _ = _pass(part, centres)
            centres = _means(centres, counts, sums)
        distance = float(_pass(judges, centres)[2].sum(dtype=torch.float64))
        if distance < least:
            best, least = centres, distance
    return best


def _plus_plus(rows: Tensor, units: int, chance: torch.Generator) -> Tensor:
    """k-means++: each centre is a row, drawn in proportion to its squared distance from the centres before it.

    Of several rows drawn, the one that saves most distance is taken. If all rows are centres, some are twice.
    """
    squares = rows.square().sum(dim=1)
    tries = 2 + int(math.log(units))
    chosen = [int(torch.randint(len(rows), (), generator=chance))]
    closest = (rows - rows[chosen[0]]).square().sum(dim=1)
    for _ in range(units - 1):
        reached = closest.double().cumsum(dim=0)
        drawn = torch.rand(tries, generator=chance, dtype=torch.float64).to(rows.device) * reached[-1]
        tried = torch.searchsorted(reached, drawn).clamp_max(len(rows) - 1)
        distances = (squares + squares[tried][:, None] - 2 * rows[tried] @ rows.T).clamp_min(0)  # (tries, F)
        distances = torch.minimum(distances, closest)
        taken = int(distances.double().sum(dim=1).argmin())
        closest = distances[taken]
        chosen.append(int(tried[taken]))
        closest[chosen[-1]] = 0.0
    return rows[chosen].clone()


def _by_batches(rows: Tensor, centres: Tensor) -> Tensor:
    """Move centres to the mean of the rows that were nearest to them so far, batch by batch."""
    seen = torch.zeros(len(centres), device=centres.device)
    smooth, least, waited = 0.0, math.inf, 0
    share = min(1.0, 2 * _BATCH / (len(rows) + 1))
    starts = range(0, len(rows), _BATCH)
    for number in range(_MOST_BATCHES):
        start = starts[number % len(starts)]
        counts, sums, distances = _pass(rows[start : start + _BATCH], centres)
        seen += counts
        centres = centres + (sums - counts[:, None] * centres) / seen.clamp_min(1)[:, None]
        here = float(distances.mean(dtype=torch.float64))
        smooth = smooth + share * (here - smooth) if number else here
        waited = 0 if smooth < (1 - _LEAST_GAIN) * least else waited + 1
        least = min(least, smooth)
        if waited == _PATIENCE:
            break
    return centres


def _by_passes(rows: Tensor, centres: Tensor) -> Tensor:
    """Move each centre to the mean of its rows (Lloyd 1982) until that saves little.

    A centre that is nearest to no row, such as the second of two equal ones, moves to a row that is farthest from its
    own centre. Raises `InputError` if rows are too alike for that.
    """
    before, moves = math.inf, 0
    for _ in range(_MOST_PASSES + len(centres)):
        counts, sums, distances = _pass(rows, centres)
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty):
            farthest = distances.sort(descending=True, stable=True).indices[: len(empty)]
            centres = centres.index_copy(0, empty, rows[farthest].to(centres.device))
            before = math.inf
            continue
        now = float(distances.sum(dtype=torch.float64))
        if moves == _MOST_PASSES or now >= (1 - _LEAST_GAIN) * before:
            return centres
        before, moves = now, moves + 1
        centres = _means(centres, counts, sums)
    raise InputError(f"the frames are too alike for {len(centres)} units; take more audio or fewer units")


def _means(centres: Tensor, counts: Tensor, sums: Tensor) -> Tensor:
    """The mean of the rows of each centre; a centre without rows stays."""
    return torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centres)


def _pass(rows: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How many rows are nearest to each centre (K,), their sum (K, D), the squared distance of each row (F,)."""
    counts, sums = torch.zeros(len(centres), device=centres.device), torch.zeros_like(centres)
    distances = []
    step = _rows_at_once(len(centres))
    for start in range(0, len(rows), step):
        here = rows[start : start + step].to(centres.device)
        units, squares = _nearest(here, centres)
        # By a product of matrices: adding at indices has no fixed order on a GPU.
        members = (units[:, None] == torch.arange(len(centres), device=units.device)).to(here.dtype)  # (F, K)
        counts += members.sum(dim=0)
        sums += members.T @ here
        distances.append(squares.cpu())
    return counts, sums, torch.cat(distances)


def _rows_at_once(units: int) -> int:
    """So that the distances from all centres take at most 40 MB."""
    return max(1, min(_BATCH, _BATCH * 1000 // units))

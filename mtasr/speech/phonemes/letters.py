"""How a word is said that no dictionary has: g2p_en's network (Park and Kim 2018), computed by NumPy.

A recurrent network (GRU) reads the letters, another writes ARPAbet, one symbol at a time.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.errors import ModelIntegrityError
from mtasr.models.folder import LETTERS

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: In front of the letters stand padding, unknown, and the end.
_FIRST_LETTER, _UNKNOWN, _END_OF_WORD = 3, 1, 2
#: In front of the phonemes stand padding, unknown, the start, and the end.
_START, _END = 2, 3
_FIRST_PHONEME = 4
_VOWELS = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "W", "AY": "I", "EH": "ɛ", "ER": "ɜɹ", "EY": "A", "IH": "ɪ",
    "IY": "i", "OW": "O", "OY": "Y", "UH": "ʊ", "UW": "u",
}  # fmt: skip
_UNSTRESSED = {"AH": "ə", "ER": "əɹ"}
_CONSONANTS = {
    "B": "b", "CH": "ʧ", "D": "d", "DH": "ð", "F": "f", "G": "ɡ", "HH": "h", "JH": "ʤ", "K": "k", "L": "l", "M": "m",
    "N": "n", "NG": "ŋ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "V": "v", "W": "w", "Y": "j",
    "Z": "z", "ZH": "ʒ",
}  # fmt: skip
_STRESS = {"0": "", "1": "ˈ", "2": "ˌ"}


def _symbols() -> list[str]:
    """The phonemes in the network's order: alphabetical, vowels with each stress; UW without one stands there too."""
    found = []
    for name in sorted([*_VOWELS, *_CONSONANTS]):
        found += ["UW"] if name == "UW" else []
        found += [f"{name}{stress}" for stress in _STRESS] if name in _VOWELS else [name]
    return found


_SYMBOLS = _symbols()
_SHAPES = {
    "enc_emb": (29, -1),
    "enc_w_ih": (-1, -1),
    "enc_w_hh": (-1, -1),
    "enc_b_ih": (-1,),
    "enc_b_hh": (-1,),
    "dec_emb": (_FIRST_PHONEME + len(_SYMBOLS), -1),
    "dec_w_ih": (-1, -1),
    "dec_w_hh": (-1, -1),
    "dec_b_ih": (-1,),
    "dec_b_hh": (-1,),
    "fc_w": (_FIRST_PHONEME + len(_SYMBOLS), -1),
    "fc_b": (_FIRST_PHONEME + len(_SYMBOLS),),
}


class LetterNetwork:
    """Letters -> phonemes in the alphabet of the dictionaries."""

    def __init__(self, arrays: dict[str, Float32Array]) -> None:
        self._arrays = arrays

    @classmethod
    def read(cls, folder: Path) -> LetterNetwork:
        """Raises `ModelIntegrityError` unless the file has the arrays of the network."""
        path = folder / LETTERS
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: np.asarray(file[name], np.float32) for name in _SHAPES}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as exc:
            raise ModelIntegrityError(f"{path} is damaged or not a network of letters: {exc}") from exc
        for name, shape in _SHAPES.items():
            found = arrays[name].shape
            if len(found) != len(shape) or any(want not in (-1, have) for want, have in zip(shape, found, strict=True)):
                raise ModelIntegrityError(f"{path}: {name} has the shape {found}")
        return cls(arrays)

    def say(self, word: str) -> str:
        """Letters other than a to z are unknown to the network. At most 20 phonemes, as in its training."""
        state = np.zeros(self._arrays["enc_w_hh"].shape[1], np.float32)
        numbers = [_FIRST_LETTER + _LETTERS.index(each) if each in _LETTERS else _UNKNOWN for each in word.lower()]
        for number in [*numbers, _END_OF_WORD]:
            state = self._step("enc", number, state)
        said, last = [], _START
        for _ in range(20):
            state = self._step("dec", last, state)
            last = int(np.argmax(self._arrays["fc_w"] @ state + self._arrays["fc_b"]))
            if last == _END:
                break
            if last >= _FIRST_PHONEME:
                said.append(_phoneme(_SYMBOLS[last - _FIRST_PHONEME]))
        return "".join(said)

    def _step(self, part: str, number: int, state: Float32Array) -> Float32Array:
        """One step of a GRU (Cho et al. 2014): reset, update, new."""
        of = self._arrays
        inputs = of[f"{part}_w_ih"] @ of[f"{part}_emb"][number] + of[f"{part}_b_ih"]
        states = of[f"{part}_w_hh"] @ state + of[f"{part}_b_hh"]
        reset, update, new = (slice(at * len(state), (at + 1) * len(state)) for at in range(3))
        r = 1 / (1 + np.exp(-inputs[reset] - states[reset]))
        z = 1 / (1 + np.exp(-inputs[update] - states[update]))
        n = np.tanh(inputs[new] + r * states[new])
        return np.asarray((1 - z) * n + z * state, np.float32)


def _phoneme(symbol: str) -> str:
    if symbol in _CONSONANTS:
        return _CONSONANTS[symbol]
    name, stress = (symbol[:-1], symbol[-1]) if symbol[-1].isdigit() else (symbol, "0")
    vowel = _UNSTRESSED.get(name, _VOWELS[name]) if stress == "0" else _VOWELS[name]
    return _STRESS[stress] + vowel

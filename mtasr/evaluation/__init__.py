"""Measuring a model on recordings with known words or speakers: error rates, translation scores, speed.

Needs the extra `evaluate`: jiwer aligns, sacrebleu scores translations, and whisper-normalizer makes texts comparable
as in Whisper's paper (appendix C). Unlike there, only diacritics are removed: marks that write vowels or tones stay.
"""

from mtasr.evaluation.diarization import DiarizationErrors, diarization_errors
from mtasr.evaluation.manifest import Clip, read_manifest
from mtasr.evaluation.page import write_page
from mtasr.evaluation.results import Evaluation, Result, rates_shown
from mtasr.evaluation.run import MEASURES, Measure, evaluate, needs_model
from mtasr.evaluation.scores import Figure, Scores, require_libraries, speaker_word_errors
from mtasr.formats.rttm import read_rttm, turns_of

__all__ = [
    "MEASURES",
    "Clip",
    "DiarizationErrors",
    "Evaluation",
    "Figure",
    "Measure",
    "Result",
    "Scores",
    "diarization_errors",
    "evaluate",
    "needs_model",
    "rates_shown",
    "read_manifest",
    "read_rttm",
    "require_libraries",
    "speaker_word_errors",
    "turns_of",
    "write_page",
]

"""Measuring a model on recordings with known words: error rates, translation scores, speed.

Needs the extra `evaluate`: jiwer aligns, sacrebleu scores translations, and whisper-normalizer makes texts comparable
as in Whisper's paper (appendix C). Unlike there, only diacritics are removed: marks that write vowels or tones stay.
"""

from mtasr.evaluation.manifest import Clip, read_manifest
from mtasr.evaluation.page import write_page
from mtasr.evaluation.run import Evaluation, Measure, Result, evaluate
from mtasr.evaluation.scores import Figure, Scores, require_libraries

__all__ = [
    "Clip",
    "Evaluation",
    "Figure",
    "Measure",
    "Result",
    "Scores",
    "evaluate",
    "read_manifest",
    "require_libraries",
    "write_page",
]

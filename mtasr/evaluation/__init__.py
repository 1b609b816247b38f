"""How good a model is on recordings whose words are known: error rates, translation scores, speed.

Needs the extra `evaluate`: jiwer aligns, sacrebleu scores translations, whisper-normalizer makes texts comparable as
Whisper's paper does (appendix C), but for marks: they are dropped where they are diacritics, and stay where they are
vowels or tones.
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

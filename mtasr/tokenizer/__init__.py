"""Whisper's vocabularies: tokens, special tokens, languages and words."""

from mtasr.tokenizer.languages import LANGUAGES, to_code
from mtasr.tokenizer.tokenizer import TIMESTAMP_STEP, Tokenizer

__all__ = ["LANGUAGES", "TIMESTAMP_STEP", "Tokenizer", "to_code"]

"""English text -> the phonemes of a voice.

`spoken_text` writes numbers, signs and abbreviations as words; `Dictionary` knows words; `LetterNetwork` spells out
the others; `EnglishPhonemes` puts the three together.
"""

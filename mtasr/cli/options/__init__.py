"""The options of the commands: how they behave, value types, groups of options, and what they mean.

Names follow openai-whisper and whisper-ctranslate2. Decoding defaults come from `DecodingOptions` alone.
"""

"""Text -> speech: voices by name, and the marks that say that speech is synthetic. Needs the extra `speak`, no torch.

from mtasr import load_voice

speech = load_voice().say("The train leaves at 10:30.")
"""

"""Encoders of speech by name, whatever network they are: `load_encoder`. Importing this loads no torch.

    with torch.inference_mode():
        states = load_encoder("facebook/hubert-base-ls960").states(audio)

`mtasr.networks.speech_encoder` has the interface of all of them.
"""

from mtasr.encoders.loading import load_encoder

__all__ = ["load_encoder"]

"""A recording and its transcript as one HTML page: to listen, to read, to find what was misheard."""

from mtasr.view.page import LEVELS, Sound, asset, write_page
from mtasr.view.waveform import Waveform, listen

__all__ = ["LEVELS", "Sound", "Waveform", "asset", "listen", "write_page"]

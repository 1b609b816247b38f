"""A recording and its transcript as one HTML page: to listen, to read, to find what was misheard."""

from mtasr.view.page import Sound, write_page
from mtasr.view.recording import Recording, listen

__all__ = ["Recording", "Sound", "listen", "write_page"]

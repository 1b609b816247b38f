"""The server: OpenAI's API for speech, and what else speaks to a Whisper server. Needs the extra `server`."""

from mtasr.server.app import create_app
from mtasr.server.process import run
from mtasr.server.settings import Settings

__all__ = ["Settings", "create_app", "run"]

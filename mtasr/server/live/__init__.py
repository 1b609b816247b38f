"""Live captions over WebSockets: OpenAI's realtime transcription, and a plain protocol for simple clients."""

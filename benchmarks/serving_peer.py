"""faster-whisper behind a plain handler: one model, one lock, what many people write for themselves.

    PEERS/bin/python benchmarks/serving_peer.py WEIGHTS PORT

Runs in an environment of its own (peers-requirements.txt), for `serving.py`.
"""

from __future__ import annotations

import sys
import threading

import uvicorn
from fastapi import FastAPI, Form, UploadFile
from faster_whisper import WhisperModel

app = FastAPI()
model = WhisperModel(sys.argv[1], device="cpu", compute_type="int8", cpu_threads=2)
lock = threading.Lock()


@app.post("/v1/audio/transcriptions")
def transcribe(file: UploadFile, language: str = Form("en")) -> dict[str, str]:
    """FastAPI runs it in a thread; the lock lets one at a time use the model."""
    with lock:
        segments, _ = model.transcribe(file.file, language=language)
        return {"text": "".join(each.text for each in segments).strip()}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")

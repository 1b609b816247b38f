"""The benchmark that trains from scratch, at a tiny scale: all of its way, and none of its results."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mtasr.cli import program
from mtasr.data.reading import read_records
from mtasr.training.run_log import read_log

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from grammar import LANGUAGES, sentence  # noqa: E402 - found through the line above


def test_held_out_sentences_are_no_others() -> None:
    rng = np.random.default_rng(0)
    learned, held_out = (
        [sentence(rng, held_out=choice) for _ in range(3000)] for choice in (False, True)
    )  # fmt: skip
    for language in LANGUAGES:
        assert not {each[language] for each in learned} & {each[language] for each in held_out}
        words = {word.strip(".?¿") for each in learned for word in each[language].split()}
        assert {word.strip(".?¿") for each in held_out for word in each[language].split()} <= words


@pytest.mark.slow
def test_the_way_from_a_grammar_to_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tokenizers")
    import from_scratch
    import made_speech

    size = from_scratch.Size(voices=("m1",), recordings=1, sentences=2, nothing=1)
    monkeypatch.setitem(from_scratch.SIZES, "small", size)
    monkeypatch.setattr(from_scratch, "UNSEEN_VOICES", ("f4",))
    monkeypatch.setattr(from_scratch, "mtasr", lambda *args: program([*map(str, args)], standalone_mode=False))
    monkeypatch.setattr(made_speech, "NOTHING_SECONDS", 6)
    sizes = "{n_audio_ctx: 300, n_audio_state: 32, n_audio_head: 2, n_audio_layer: 1, n_text_ctx: 128, " \
        "n_text_state: 32, n_text_head: 2, n_text_layer: 1}"  # fmt: skip
    settings = ["steps=12", f"scratch={sizes}", "optimizer.warmup=2", "data.batch_seconds=30", "export=float32"]
    from_scratch.main([str(tmp_path), "--small", *settings])
    losses = [entry["loss"] for entry in read_log(tmp_path / "run" / "log.jsonl") if "loss" in entry]
    assert len(losses) == 12
    assert min(losses) < losses[0] / 2
    assert (tmp_path / "run" / "model" / "model.bin").is_file()

    from_scratch.shuffle(tmp_path)
    for language in LANGUAGES:
        before, after = (list(read_records(tmp_path / f"{kind}-{language}.jsonl")) for kind in ("train", "shuffled"))
        for one, other in zip(before, after, strict=True):
            assert Counter(caption.text for caption in one.captions) == Counter(
                caption.text for caption in other.captions
            )

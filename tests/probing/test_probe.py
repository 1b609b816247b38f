"""Whole probes of a small encoder, of which one layer is noise and one hears everything."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layered_encoder import CLEAR, LayeredEncoder
from probing_corpora import Sounds, in_splits, tone, write_corpus
from speech import speak_phones

from mtasr.errors import InputError, UsageError
from mtasr.networks.log_mel import LogMelEncoder
from mtasr.probing.answers import answer_of, check_fit, logits_of
from mtasr.probing.fitting import FittedHead, ProbeSettings, fit
from mtasr.probing.labels import LabelledClip, read_labels
from mtasr.probing.run import Probed, check_recordings, probe, tasks_of
from mtasr.probing.states import StateStore
from mtasr.probing.tasks import task_class
from mtasr.probing.tasks.sequences import CharactersTask
from mtasr.probing.tasks.task import HeadReader

QUICK = ProbeSettings(steps=40, batch_size=8, learning_rates=(1e-2,), single_layers=False)


def probed(task: str, labels: Path, settings: ProbeSettings = QUICK, encoder: LayeredEncoder | None = None) -> Probed:
    tasks = tasks_of(task_class(task), read_labels(labels))
    return probe(tasks, encoder or LayeredEncoder(), settings, labels.parent / "states")


def test_a_keyword_is_heard_in_the_layer_that_hears(tones: Path) -> None:
    settings = ProbeSettings(steps=40, batch_size=8, learning_rates=(1e-6, 1e-2), sizes=(16,))
    told: list[str] = []
    heard: list[tuple[int, int]] = []
    tasks = tasks_of(task_class("KS"), read_labels(tones))
    encoder = LayeredEncoder()
    found = probe(
        tasks, encoder, settings, tones.parent / "states",
        tell=told.append, done=lambda count, total: heard.append((count, total)),
    )  # fmt: skip
    result = found.result
    assert result.figures == {"accuracy": 1.0, "majority": 0.5}
    assert (result.task, result.encoder, result.learning_rate) == ("keyword", "layered", 1e-2)
    assert result.clips == {"train": 8, "dev": 8, "test": 8}
    assert [layer.test == 1.0 for layer in result.layers] == [False, True, True]
    assert result.weights[CLEAR] == max(result.weights)
    assert sum(result.shares) == pytest.approx(1)
    assert [share / result.shares[1] for share in result.shares] == pytest.approx(
        [w * s / result.weights[1] / result.sizes[1] for w, s in zip(result.weights, result.sizes, strict=True)]
    )
    assert heard[-1] == (24, 24)
    assert len(told) == 2 + 3
    # Only means are kept, and the head of the means is right of whole recordings.
    assert {path.name.rpartition("-")[2] for path in (tones.parent / "states").iterdir()} == {"means.npy"}
    assert found.head is not None
    states = torch.from_numpy(StateStore(encoder, tones.parent / "other", 0).states(read_labels(tones)[-1]))
    (label, probability), _ = answer_of(found.head.config, logits_of(found.head, states)).choices["label"]
    assert label == "high"
    assert probability > 0.5


def test_a_probe_is_the_same_each_time(tones: Path) -> None:
    one, two, other = (
        probed("keyword", tones, ProbeSettings(steps=3, batch_size=4, learning_rates=(1e-2,), seed=seed))
        for seed in (0, 0, 1)
    )
    assert one.result == two.result
    assert one.result.weights != other.result.weights


def test_folds_are_averaged(tmp_path: Path) -> None:
    sounds: Sounds = [
        (tone(hertz + 11 * fold + 2 * turn), {"fold": fold, "label": label})
        for label, hertz in (("calm", 300), ("angry", 2000))
        for fold in range(2)
        for turn in range(6)
    ]
    result = probed("emotion", write_corpus(tmp_path, sounds)).result
    assert result.folds == 2
    assert result.figures["accuracy"] == 1.0
    assert sum(result.weights) == pytest.approx(1)


def spoken(texts: tuple[str, ...], voices: tuple[str, ...]) -> Sounds:
    def said(split: str, number: int) -> Sounds:
        rows = []
        for text in texts:
            sound, phones = speak_phones(text, voices[number], words_per_minute=140 + 10 * number)
            rows.append((sound, {"phones": phones, "text": text, "label": text.split()[0]}))
        return rows

    return in_splits(said)


TEXTS = (
    "stop the music",
    "turn on the light",
    "open the window",
    "play the radio",
    "close the door",
    "read me the news",
)


@pytest.fixture
def sentences(tmp_path: Path) -> Path:
    """Labels of sentences in one voice at three speeds. Times of phones are of the whole recording."""
    rows, begun = [], 0.0
    for sound, fields in spoken(TEXTS, ("en-us", "en-us", "en-us")):
        shifted = [[phone, start + begun, end + begun] for phone, start, end in fields["phones"]]
        rows.append((sound, {**fields, "phones": shifted}))
        begun += len(sound) / 16000
    return write_corpus(tmp_path / "said", rows)


def test_phones_are_heard_frame_by_frame(sentences: Path) -> None:
    figures = probed("phones", sentences).result.figures
    assert figures["accuracy"] > 0.6 > 3 * figures["majority"]


def test_phones_are_heard_in_order(sentences: Path) -> None:
    settings = ProbeSettings(steps=120, batch_size=6, learning_rates=(3e-2,), single_layers=False, sizes=(64,))
    assert probed("PR", sentences, settings).result.figures["PER"] < 0.75


def test_characters_are_learnt(tmp_path: Path) -> None:
    labels = read_labels(write_corpus(tmp_path, spoken(("stop", "go on"), ("en-us",) * 3)))
    (task,) = tasks_of(task_class("ASR"), labels)
    assert isinstance(task, CharactersTask)
    reader = HeadReader(StateStore(LayeredEncoder(), tmp_path / "states", 1e8), whole=True)
    losses = []
    for rate in (1e-9, 3e-2):
        settings = ProbeSettings(steps=20, batch_size=2, sizes=(12, 8))
        head = fit(task, reader, settings, torch.device("cpu"), rate).head
        losses.append(task.loss(head, task.batch(reader, "test", [0, 1], torch.device("cpu"))).item())
    assert losses[1] < 0.7 * losses[0]
    assert task.figures(head, reader, "test").keys() == {"WER", "CER"}


def test_a_word_is_found_by_an_example_of_it(tmp_path: Path) -> None:
    def said(text: str, speed: int) -> np.ndarray:
        return speak_phones(text, words_per_minute=speed)[0]

    words = ("window", "radio", "kitchen")
    rows: Sounds = [
        *((said(word, 140 + 20 * number), {"split": split, "query": word})
          for number, split in enumerate(("dev", "test")) for word in words),
        *((said(f"please look at the {' '.join(pair)} again", 150), {"contains": list(pair)})
          for pair in (("window",), ("radio", "kitchen"), ("kitchen",), ("radio",), ("window", "kitchen"), ())),
    ]  # fmt: skip
    found = probed("QbE", write_corpus(tmp_path, rows))
    assert found.head is None
    assert found.result.layer == CLEAR
    assert found.result.layers[0].dev == 0  # all recordings are alike in noise
    assert found.result.figures["MTWV"] > 0.6
    assert found.result.weights == found.result.shares == ()


def test_a_search_reads_recordings_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        (tone(300), {"split": "dev", "query": "a"}), (tone(300), {"split": "test", "query": "a"}),
        (tone(310, 0.5), {"contains": ["a"]}), (tone(2000, 0.5), {"contains": []}),
    ]  # fmt: skip
    read: list[float] = []
    states = StateStore.states

    def counted(store: StateStore, clip: LabelledClip) -> Any:
        read.append(clip.start)
        return states(store, clip)

    monkeypatch.setattr(StateStore, "states", counted)
    probed("search", write_corpus(tmp_path, rows))
    assert {start: read.count(start) for start in read} == {0.0: 1, 0.3: 1, 0.6: 4, 1.1: 4}


def test_a_cache_that_is_too_small_is_told(tmp_path: Path) -> None:
    sounds = in_splits(lambda *_: [(tone(300), {"phones": [["AH", 0, 9]]})])
    told: list[str] = []
    tasks = tasks_of(task_class("phones"), read_labels(write_corpus(tmp_path, sounds)))
    probe(tasks, LayeredEncoder(), replace(QUICK, steps=1), tmp_path / "states", most_bytes=4000, tell=told.append)
    assert told[0].startswith("no room on disk for the states of 3 clips")
    again: list[str] = []
    probe(tasks, LayeredEncoder(), replace(QUICK, steps=1), tmp_path / "states", most_bytes=1e8, tell=again.append)
    assert not [line for line in again if "no room" in line]


def test_voices_are_told_apart(tmp_path: Path) -> None:
    pitches = {name: 200 * 1.4**place for place, name in enumerate("abcdefgh")}
    train = [
        (tone(hertz + 3 * turn, 0.5), {"split": "train", "label": name})
        for name, hertz in pitches.items()
        for turn in range(3)
    ]
    names = list(pitches)
    path = write_corpus(tmp_path, [*train, *((tone(hertz + 4, 0.5), {}) for hertz in pitches.values())])
    (*lines,) = path.read_text().splitlines()
    trial = [line.removesuffix("}") for line in lines[len(train) :]]
    times = [[float(part.rpartition(" ")[2]) for part in line.split(",")[1:3]] for line in trial]
    rows = [
        f'{line}, "split": "test", "other": "all.wav", "other_start": {start}, "other_end": {end}, "same": {word}}}'
        for place, line in enumerate(trial)
        for (start, end), word in (
            ([0.5 * (3 * place), 0.5 * (3 * place) + 0.5], "true"), (times[(place + 3) % len(names)], "false"),
        )
    ]  # fmt: skip
    path.write_text("\n".join([*lines[: len(train)], *rows]) + "\n")
    settings = ProbeSettings(
        steps=40, batch_size=8, learning_rates=(1e-3,), single_layers=False, sizes=(16, 16, 16, 16, 16, 24, 16)
    )
    found = probed("ASV", path, settings)
    assert found.result.figures["EER"] <= 0.25
    assert found.head is not None
    assert found.head.config.labels == {}


def test_two_speakers_are_told_apart(tmp_path: Path) -> None:
    def talk(split: str, number: int) -> Sounds:
        rows = []
        for turn in range(4):
            first, both, second = 0.4 + 0.1 * turn, 0.2, 0.9 - 0.1 * turn
            low = tone(300 + 5 * number, first + both)
            high = tone(2000 + 5 * number, both + second)
            sound = np.zeros(round((first + both + second) * 16000), np.float32)
            sound[: len(low)] += low
            sound[len(sound) - len(high) :] += high
            rows.append((sound, {"times": (first, both, second)}))
        return rows

    rows, begun = [], 0.0
    for sound, fields in in_splits(talk):
        first, both, second = fields["times"]
        turns = [[begun, begun + first + both, "low"], [begun + first, begun + first + both + second, "high"]]
        rows.append((sound, {"split": fields["split"], "turns": turns}))
        begun += len(sound) / 16000
    settings = ProbeSettings(steps=60, batch_size=4, learning_rates=(1e-2,), single_layers=False, sizes=(16,))
    found = probed("SD", write_corpus(tmp_path, rows), settings)
    assert found.result.figures["DER"] < 0.15
    assert found.head is not None
    assert found.head.config.settings.keys() == {"threshold", "median"}


def test_a_rate_at_which_training_diverges_is_not_chosen(tones: Path) -> None:
    with pytest.raises(UsageError, match="diverges at every learning rate"):
        probed("keyword", tones, ProbeSettings(steps=20, batch_size=4, learning_rates=(1e30,), single_layers=False))


def test_a_layer_that_diverges_costs_nothing_else(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(task: Any, reader: HeadReader, settings: ProbeSettings, device: Any, rate: float) -> FittedHead:
        found = fit(task, reader, settings, device, rate)
        return FittedHead(found.head, rate, math.nan) if reader.layer == 0 else found

    monkeypatch.setattr("mtasr.probing.run.fit", diverging)
    found = probed("keyword", tones, replace(QUICK, single_layers=True))
    assert found.head is not None
    assert found.result.figures["accuracy"] == 1.0
    assert [math.isnan(layer.test) for layer in found.result.layers] == [True, False, False]


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch_size": 0}, {"learning_rates": ()}, {"learning_rates": (-1.0,)}]
)
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="positive"):
        ProbeSettings(**wrong)  # type: ignore[arg-type]


def test_sizes_must_fit_the_head(tones: Path) -> None:
    with pytest.raises(UsageError, match="task keyword: sizes of mean are 1 positive numbers"):
        probed("keyword", tones, ProbeSettings(steps=1, sizes=(3, 4)))


def test_a_recording_that_is_not_there_is_named_first(tones: Path) -> None:
    tasks = tasks_of(task_class("keyword"), read_labels(tones))
    check_recordings(tasks)
    (tones.parent / "all.wav").unlink()
    with pytest.raises(InputError, match=r"labels\.jsonl, line 1: .*all\.wav: no such file"):
        check_recordings(tasks)


def test_a_head_is_of_one_encoder(tones: Path) -> None:
    found = probed("keyword", tones, ProbeSettings(steps=1, learning_rates=(1e-3,), single_layers=False))
    assert found.head is not None
    check_fit(found.head.config, LayeredEncoder())
    with pytest.raises(UsageError, match="is for layered, and layered has other weights"):
        check_fit(found.head.config, LayeredEncoder(5))
    with pytest.raises(UsageError, match="its number of states is 3, that of log-mel 1"):
        check_fit(found.head.config, LogMelEncoder(12))


def test_a_recording_too_short_for_a_voice_is_named(tmp_path: Path) -> None:
    rows: Sounds = [(tone(300, 0.2), {"split": "train", "label": name}) for name in "abcdefghij" for _ in range(2)]
    labels = read_labels(write_corpus(tmp_path, rows))
    labels += [
        replace(labels[0], split="test", fields={"other": str(labels[0].audio), "other_end": 0.2, "same": same})
        for same in (True, False)
    ]
    with pytest.raises(InputError, match="too short to know a voice: 10 frames instead of 16"):
        probe(tasks_of(task_class("ASV"), labels), LayeredEncoder(), QUICK, tmp_path / "states")

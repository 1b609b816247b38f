"""Small folders in the layouts of SUPERB's corpora; no recording in them is opened."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from speech import write_wav

from mtasr.errors import ManifestError
from mtasr.probing.labels import LabelledClip, folds_of
from mtasr.probing.superb import emotion, fluent, keywords, librimix, librispeech, quesst, snips, voxceleb
from mtasr.probing.tasks import task_class


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def seen(clips: list[LabelledClip], root: Path) -> list[tuple[str | None, str, object]]:
    """Split, recording and fields of each clip."""
    return [(clip.split, str(clip.audio.relative_to(root)), dict(clip.fields)) for clip in clips]


@pytest.fixture
def librispeech_folder(tmp_path: Path) -> Path:
    files = {
        f"{part}/1/2/1-2.trans.txt": f"1-2-0000 HELLO {word}\n1-2-0001 {word}\n"
        for part, word in (("train-clean-100", "WORLD"), ("dev-clean", "WORLD"), ("test-clean", "XYZZY"))
    }
    lexicon = "HELLO\tHH AH0 L OW1\nHELLO HH EH0 L OW1\nWORLD  W ER1 L D\n"
    return put(tmp_path, files | {"librispeech-lexicon.txt": lexicon})


def test_librispeech(librispeech_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = seen(librispeech.characters([librispeech_folder]), librispeech_folder)
    assert found[0] == ("train", "train-clean-100/1/2/1-2-0000.flac", {"text": "HELLO WORLD"})
    assert Counter(split for split, _, _ in found) == {"train": 2, "dev": 2, "test": 2}
    put(librispeech_folder, {"test-clean/1/2/1-2.trans.txt": "1-2-0000 HELLO\n1-2-0001 HELLO XYZZY\n"})
    phones = seen(librispeech.phones([librispeech_folder]), librispeech_folder)
    assert phones[0][2] == {"phones": "HH AH0 L OW1 W ER1 L D"}
    assert Counter(split for split, _, _ in phones) == {"train": 2, "dev": 2, "test": 1}
    assert "1 recordings have words without a pronunciation" in caplog.text
    assert task_class("PR")(librispeech.phones([librispeech_folder])).clips["test"]
    (librispeech_folder / "librispeech-lexicon.txt").unlink()
    with pytest.raises(ManifestError, match=r"librispeech-lexicon\.txt of OpenSLR 11"):
        librispeech.phones([librispeech_folder])
    put(librispeech_folder, {"dev-clean/1/2/1-2.trans.txt": "../../x HELLO\n"})
    with pytest.raises(ManifestError, match=r"trans\.txt, line 1: .* is not the name of a recording"):
        librispeech.characters([librispeech_folder])


def test_speech_commands(tmp_path: Path) -> None:
    names = [f"{number:08x}_nohash_0.wav" for number in range(40)]
    words = ("yes", "bed")
    train = put(tmp_path / "train", {f"{word}/{name}": "" for word in words for name in names})
    (train / "_background_noise_").mkdir()
    write_wav(train / "_background_noise_" / "tap.wav", np.zeros(16000 * 11 + 5, np.float32))
    test = put(tmp_path / "test", {f"{word}/x.wav": "" for word in ("yes", "_silence_", "_unknown_")})
    clips = keywords.read([test, train])
    assert keywords.read([train, test]) == clips
    labels = Counter((clip.split, clip.fields["label"]) for clip in clips)
    assert labels["train", "_silence_"] == 9
    assert labels["dev", "_silence_"] == 2
    assert labels["train", "yes"] == labels["train", "_unknown_"] > labels["dev", "yes"] > 0
    assert labels["train", "yes"] + labels["dev", "yes"] < 40  # a tenth is left out
    assert {label for split, label in labels if split == "test"} == {"yes", "_silence_", "_unknown_"}
    assert {(clip.start, clip.end) for clip in clips if clip.audio.name == "tap.wav"} == {
        (float(second), second + 1.0) for second in range(11)
    }
    with pytest.raises(ManifestError, match="is two folders"):
        keywords.read([train])
    (train / "_background_noise_" / "tap.wav").write_bytes(b"RIFF")
    with pytest.raises(ManifestError, match="is not a WAV file"):
        keywords.read([train, test])


def test_the_split_of_speech_commands_is_the_published_one() -> None:
    # Percentages by the program in the README of the corpus.
    for name, percentage in (("0a7c2a8d_nohash_3.wav", 56.836387), ("0a9f9af7_nohash_0.wav", 98.058872)):
        assert keywords._percentage(name) == pytest.approx(percentage, abs=1e-6)


def test_quesst(tmp_path: Path) -> None:
    truth = "scoring/groundtruth_quesst14"
    root = put(
        tmp_path,
        {
            "scoring/language_key_utterances.lst": "db/Audio/u1.wav nnenglish\ndb/Audio/u2.wav nnenglish\n"
            "db/Audio/u3.wav czech\n",
            "scoring/language_key_dev.lst": "db/dev_queries/d1.wav nnenglish\ndb/dev_queries/d2.wav romanian\n",
            "scoring/language_key_eval.lst": "db/eval_queries/e1.wav nnenglish\n",
            f"{truth}_dev/quesst14_dev.rttm": "LEXEME u1 1 0.0 1.0 d1 lex 0.5\nLEXEME u3 1 0 1 d2\n",
            f"{truth}_eval/quesst14_eval.rttm": "SPEAKER x\nLEXEME u1 1 0 1 e1\nLEXEME u2 1 0 1 e1\n",
        },
    )
    assert seen(quesst.read([root]), root) == [
        ("dev", "dev_queries/d1.wav", {"query": "d1"}),
        ("test", "eval_queries/e1.wav", {"query": "e1"}),
        (None, "Audio/u1.wav", {"contains": ["d1", "e1"]}),
        (None, "Audio/u2.wav", {"contains": ["e1"]}),
    ]
    task = task_class("QbE")(quesst.read([root]))
    assert task.contained["dev"].tolist() == [[True, False]]  # type: ignore[attr-defined]
    assert len(task.needed) == 4
    put(root, {"scoring/language_key_dev.lst": "db/../../etc/passwd nnenglish\n"})
    with pytest.raises(ManifestError, match="is not a path in the corpus"):
        quesst.read([root])


def test_voxceleb(tmp_path: Path) -> None:
    root = put(
        tmp_path,
        {
            **{f"dev/wav/id{speaker}/a/{n}.wav": "" for speaker in range(4) for n in (1, 2)},
            **{f"test/wav/id9/a/{n}.wav": "" for n in (1, 2, 3)},
            "iden_split.txt": "1 id0/a/1.wav\n2 id9/a/1.wav\n3 id0/a/2.wav\n",
            "veri_test2.txt": "1 id9/a/1.wav id9/a/2.wav\n0 id9/a/1.wav id9/a/3.wav\n",
        },
    )
    assert seen(voxceleb.identification([root]), root) == [
        ("train", "dev/wav/id0/a/1.wav", {"label": "id0"}),
        ("dev", "test/wav/id9/a/1.wav", {"label": "id9"}),
        ("test", "dev/wav/id0/a/2.wav", {"label": "id0"}),
    ]
    found = voxceleb.verification([root])
    assert seen(found, root)[0] == ("train", "dev/wav/id0/a/1.wav", {"label": "id0"})
    assert seen(found, root)[-1] == (
        "test", "test/wav/id9/a/1.wav", {"other": str(root / "test/wav/id9/a/3.wav"), "same": False},
    )  # fmt: skip
    task = task_class("ASV")(found)
    assert len(task.trials["test"]) == 2  # type: ignore[attr-defined]
    put(root, {"iden_split.txt": "1 id7/a/1.wav\n"})
    with pytest.raises(ManifestError, match="is in neither"):
        voxceleb.identification([root])
    put(root, {"veri_test2.txt": "1 /etc/passwd id9/a/1.wav\n"})
    with pytest.raises(ManifestError, match="is not a path in the corpus"):
        voxceleb.verification([root])


def test_libri2mix(tmp_path: Path) -> None:
    files = {
        f"{split}/{name}": text
        for split in ("train", "dev", "test")
        for name, text in (
            ("wav.scp", "rec1 mix/rec1.wav\nrec2 /data/rec2.wav\n"),
            ("segments", "u1 rec1 0.0 1.5\nu2 rec1 1.2 3\nu3 rec2 0 1\n"),
            ("utt2spk", "u1 ada\nu2 bo\nu3 ada\n"),
        )
    }
    root = put(tmp_path, files)
    clips = librimix.read([root])
    assert clips[0].audio == root / "train/mix/rec1.wav"
    assert clips[1].audio == Path("/data/rec2.wav")
    assert clips[0].fields == {"turns": [(0.0, 1.5, "ada"), (1.2, 3.0, "bo")]}
    assert Counter(clip.split for clip in clips) == {"train": 2, "dev": 2, "test": 2}
    assert len(task_class("SD")(clips).targets["train"][0]) == 2  # type: ignore[attr-defined]
    put(root, {"dev/wav.scp": "rec1 rm -rf / |\n"})
    with pytest.raises(ManifestError, match="names a program"):
        librimix.read([root])
    put(root, {"dev/wav.scp": "rec1 a.wav\n", "dev/segments": "u9 rec1 0 1\n"})
    with pytest.raises(ManifestError, match="has no speaker"):
        librimix.read([root])
    put(root, {"dev/segments": "u1 rec1 0 x\n"})
    with pytest.raises(ManifestError, match="is not a time"):
        librimix.read([root])


def test_fluent_speech_commands(tmp_path: Path) -> None:
    head = ",path,speakerId,transcription,action,object,location\n"
    row = '0,wavs/speakers/a/1.wav,a,"Lights, on",activate,lights,none\n'
    root = put(tmp_path, {f"data/{name}_data.csv": head + row for name in ("train", "valid", "test")})
    label = {"action": "activate", "object": "lights", "location": "none"}
    assert seen(fluent.read([root]), root) == [
        (split, "wavs/speakers/a/1.wav", {"label": label}) for split in ("train", "dev", "test")
    ]
    put(root, {"data/valid_data.csv": "path,action\na,b\n"})
    with pytest.raises(ManifestError, match="has no column 'location'"):
        fluent.read([root])
    put(root, {"data/valid_data.csv": head + row.replace("wavs/", "../")})
    with pytest.raises(ManifestError, match="is not a path in the corpus"):
        fluent.read([root])


def test_snips(tmp_path: Path) -> None:
    texts = "".join(
        f"{voice}-1 BOS play ab & c , EOS\tO O artist artist artist O PlayMusic\n" for voice in ("Ivy", "Amy", "Emma")
    )
    recordings = {
        f"{folder}/{voice}-1.wav": "" for folder in ("train", "valid", "test") for voice in ("Ivy", "Amy", "Emma")
    }
    root = put(tmp_path, recordings | {"all.iob.snips.txt": texts, "train/Ivy-2.wav": ""})
    fields = {"words": ["play", "ab", "AND", "c"], "slots": ["O", "artist", "artist", "artist"]}
    assert seen(snips.read([root]), root) == [
        ("train", "train/Ivy-1.wav", fields), ("dev", "valid/Amy-1.wav", fields), ("test", "test/Emma-1.wav", fields),
    ]  # fmt: skip
    put(root, {"all.iob.snips.txt": "Ivy-1 BOS play EOS\tO O\n"})
    with pytest.raises(ManifestError, match="has 3 words and 2 slots"):
        snips.read([root])


def test_iemocap(tmp_path: Path) -> None:
    lines = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n" + "".join(
        f"[6.2 - 8.2]\tSes0{{n}}_{place}\t{name}\t[2.5, 2.5, 2.5]\n"
        for place, name in enumerate(("neu", "exc", "fru", "ang", "sad", "hap"))
    )
    files = {f"Session{n}/dialog/EmoEvaluation/Ses0{n}.txt": lines.replace("{n}", str(n)) for n in (1, 2)}
    sounds = {f"Session{n}/sentences/wav/Ses0{n}/Ses0{n}_{place}.wav": "" for n in (1, 2) for place in range(5)}
    root = put(tmp_path, files | sounds)
    clips = emotion.read([root])
    assert [(clip.fold, clip.fields["label"]) for clip in clips] == [
        (f"Session{n}", label) for n in (1, 2) for label in ("neu", "hap", "ang", "sad")
    ]
    assert len(folds_of(clips)) == 2
    with pytest.raises(ManifestError, match="has no folders Session1"):
        emotion.read([root / "Session1"])
